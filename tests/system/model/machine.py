"""The laws of a run on disk, in whatever order requests, work, faults, crashes, takeovers and tampering come."""

from collections.abc import Callable, Mapping
from pathlib import Path

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from raymu.config.unlearning import Strategy
from raymu.core.records import Exactness
from raymu.core.verdict import Verdict
from raymu.errors import CoordinatorSuperseded, IdempotencyConflict, RequestInvalid, SamplesRevoked, UnknownSamples
from raymu.service.shard.messages import no_progress
from tests.support.faults import FaultyDisk, fail, run_full
from tests.system.model.observed_run import read_files
from tests.system.model.process import die
from tests.system.model.scenario import Asked, Course
from tests.system.model.steered_fleet import SteeredFleet
from tests.system.model.tampered_run import GOINGS_ON, check_tampered, verified
from tests.system.model.tampering import TAMPERINGS, tamper
from tests.system.model.templates import SAMPLES, SHARDS, Setting
from tests.system.model.traced_training import traced

REFUSALS = (RequestInvalid, UnknownSamples, SamplesRevoked, IdempotencyConflict)
FAULTS: Mapping[str, Callable[[FaultyDisk, int], None]] = {
    "an error": lambda disk, at: disk.arm(at, fail),
    "a full disk": lambda disk, at: disk.arm(at, run_full, is_torn=True, is_lasting=True),
    "a kill": lambda disk, at: disk.arm(at, die, is_lasting=True),
    "a kill in a write": lambda disk, at: disk.arm(at, die, is_torn=True, is_lasting=True),
}

AskedFor = tuple[int, set[int], Strategy, str, str | None, bool]
Fault = tuple[str, int] | None

shards = st.integers(0, SHARDS)
"""The last one stands for all of them."""
picks = st.sets(st.integers(0, SAMPLES - 1), min_size=1, max_size=3)
strategies = st.sampled_from([Strategy.DPUS, Strategy.OHS, Strategy.HS, Strategy.SISA])
boundaries = st.sampled_from(["0", "0.5", "1", "deadline:1s"])
keys = st.sampled_from([None, None, "a key", "another key"])
is_rare, is_usual = st.sampled_from([False] * 4 + [True]), st.sampled_from([True, True, False])
requests = st.lists(st.tuples(shards, picks, strategies, boundaries, keys, is_rare), min_size=1, max_size=3)
faults = st.none() | st.tuples(st.sampled_from(sorted(FAULTS)), st.integers(1, 80))
which_one = st.integers(0, 999)


class CourseOfARun(RuleBasedStateMachine):
    workshop: Path
    course: Course

    @initialize(
        on_accept=st.sampled_from(["rewind", "abstain", "keep"]),
        remedy=st.sampled_from(["fine_tune", "replay"]),
        contributions=st.sampled_from(["gradient", "group"]),
        is_trained=is_usual,
        asked=requests,
        fault=faults,
        is_seen_through=st.booleans(),
    )
    def begin(
        self,
        on_accept: str,
        remedy: str,
        contributions: str,
        is_trained: bool,
        asked: list[AskedFor],
        fault: Fault,
        is_seen_through: bool,
    ) -> None:
        setting = Setting(on_accept=on_accept, remedy=remedy, contributions=contributions, is_trained=is_trained)
        self.course = Course(setting, self.workshop)
        self.asked: list[Asked] = []
        self.course.open()
        self.submit(asked, is_fresh=True, fault=fault, is_seen_through=is_seen_through)

    @precondition(lambda self: self.course.process)
    @rule(asked=requests, is_fresh=is_rare.map(lambda it: not it), fault=faults, is_seen_through=is_usual)
    def submit(self, asked: list[AskedFor], is_fresh: bool, fault: Fault, is_seen_through: bool) -> None:
        """is_fresh: only samples that nothing has revoked, each in one request, and none that is unknown"""
        taken = set(self.course.run.revoked)
        made = []
        for shard, chosen, strategy, boundary, key, is_unknown in asked:
            own = [one for one in self.course.template.subjects if shard in (SHARDS, one.shard)]
            samples = frozenset(own[number % len(own)] for number in chosen)
            if is_fresh:
                samples -= taken
                taken |= samples
            if samples:
                unknown = ("nobody",) if is_unknown and not is_fresh else ()
                made.append(Asked(samples=samples, strategy=strategy, boundary=boundary, key=key, unknown=unknown))
        if made:
            self._strike_soon(fault)
            self._submit(made)
            if is_seen_through:
                self.course.see_through()

    @precondition(lambda self: self.course.process and self.asked)
    @rule(which=which_one)
    def submit_again(self, which: int) -> None:
        """Under its key it is the same request; without one its samples are revoked, if it was accepted."""
        self._submit([self.asked[which % len(self.asked)]])

    def _submit(self, asked: list[Asked]) -> None:
        self.asked.extend(one for one in asked if one not in self.asked)
        is_refused, before = self.course.is_refused(asked), self.course.run.files
        reply = self.course.submit(asked).reply
        error = reply.exception() if reply.done() and not reply.cancelled() else None
        assert isinstance(error, REFUSALS) == is_refused, error
        if is_refused:
            assert self.course.run.files == before

    @precondition(lambda self: self.course.process and self.course.process.fleet.running)
    @rule(which=which_one, steps=st.sampled_from([1, 2, 99]), is_reply_lost=is_rare, fault=faults)
    def work(self, which: int, steps: int, is_reply_lost: bool, fault: Fault) -> None:
        shard = self._at_work(which)
        self._strike_soon(fault)
        self.course.steer(lambda fleet: fleet.go_on(shard, steps=steps, is_reply_lost=is_reply_lost))

    @precondition(lambda self: self.course.process and self.course.process.fleet.running)
    @rule(which=which_one)
    def lose_a_worker(self, which: int) -> None:
        shard = self._at_work(which)
        self.course.steer(lambda fleet: fleet.break_off(shard))

    @precondition(lambda self: self.course.process)
    @rule(fault=faults, is_seen_through=is_usual)
    def settle(self, fault: Fault, is_seen_through: bool) -> None:
        self._strike_soon(fault)
        self.course.settle()
        if is_seen_through:
            self.course.see_through()

    @precondition(lambda self: self.course.process and self.course.disk.has_struck)
    @rule()
    def mend_the_disk(self) -> None:
        self.course.disk.arm(0, fail)

    @precondition(lambda self: not self.course.process)
    @rule(fault=faults)
    def open(self, fault: Fault) -> None:
        self._strike_soon(fault)
        self.course.open()

    @precondition(lambda self: self.course.process)
    @rule(how=st.sampled_from(["closed", "killed", "taken over from"]), fault=faults)
    def end(self, how: str, fault: Fault) -> None:
        if how == "killed":
            self.course.kill()
        elif how == "closed":
            self._strike_soon(fault)
            self.course.close()
        elif not self.course.zombie:
            self.course.open_beside()

    def _strike_soon(self, fault: Fault) -> None:
        if fault and not self.course.disk.is_armed:
            name, at = fault
            FAULTS[name](self.course.disk, at)

    @precondition(lambda self: self.course.zombie)
    @rule()
    def wake_the_zombie(self) -> None:
        """It writes nothing, whatever it is at."""
        zombie, before = self.course.zombie, read_files(self.course.location)
        assert zombie
        zombie.steer(SteeredFleet.finish)
        reply = zombie.start(zombie.coordinator.settle(no_progress))
        assert isinstance(reply.exception(), CoordinatorSuperseded)
        assert read_files(self.course.location) == before
        self.course.bury_zombie()

    @precondition(lambda self: not self.course.zombie and (self.course.process or self.course.matches_seal))
    @rule(
        how=st.sampled_from(sorted(TAMPERINGS)),
        which=which_one,
        chance=st.integers(0, 2**20),
        then=st.sampled_from(sorted(GOINGS_ON)),
    )
    def tamper(self, how: str, which: int, chance: int, then: str) -> None:
        """A run that is at rest: while a coordinator has it open, it never passes."""
        if self.course.process:
            self.course.close()
        files = self.course.files_at_rest
        changed = tamper(files, self.course.past, how=how, which=which, chance=chance)
        if changed != files and self.course.matches_seal:
            check_tampered(self.course, changed, then=then)

    @rule()
    def verify(self) -> None:
        """A sound run never fails, and passes when it is left with nothing to do and nothing patched."""
        course, run = self.course, self.course.run
        verdict, findings = verified(course)
        assert verdict is not Verdict.FAIL, findings
        is_exact = run.is_idle and not any(lineage.debts for lineage in run.board.lineages)
        if course.matches_seal and course.is_calm:
            assert (verdict is Verdict.PASS) == is_exact, findings

    @invariant()
    def requests_are_carried_out_once(self) -> None:
        self.course.run.check_requests()

    @invariant()
    def the_served_generation_is_whole_and_holds_nothing_revoked(self) -> None:
        self.course.run.check_served()

    @invariant()
    def shards_have_what_training_from_scratch_gives(self) -> None:
        self.course.run.check_lineages()

    @invariant()
    def nothing_of_what_is_purged_can_be_read(self) -> None:
        self.course.run.check_purged()
        if self.course.is_calm:
            self.course.run.check_raw_ids()
            if self.course.run.is_idle:
                self.course.run.check_leftovers()

    def teardown(self) -> None:
        """In the end every request is served, every debt settled, and only what is needed is left."""
        if hasattr(self, "course"):
            self.course.disk.arm(0, fail)
            if not self.course.process:
                self.course.open()
            self.course.finish()
            self.course.close()
            self._check_end()
            self.course.remove()

    def _check_end(self) -> None:
        run = self.course.run
        assert run.purged == set(run.accepted)
        assert not any(lineage.debts for lineage in run.board.lineages)
        for check in (run.check_served, run.check_lineages, run.check_purged, run.check_raw_ids, run.check_leftovers):
            check()
        for receipt in run.book.receipts():
            assert receipt.exactness is Exactness.EXACT
            assert receipt.settled_at
        assert verified(self.course) == (Verdict.PASS, ())

    def _at_work(self, which: int) -> int:
        assert self.course.process
        working = self.course.process.fleet.running
        return working[which % len(working)]


def check_laws(*, part: int, examples: int, workshop: Path) -> None:
    """Try so many courses of events; another part tries others. workshop: an empty folder"""
    CourseOfARun.workshop = workshop
    with traced():
        run_state_machine_as_test(
            seed(part)(CourseOfARun),
            settings=settings(
                max_examples=examples,
                stateful_step_count=9,
                deadline=None,
                database=None,
                phases=[Phase.generate, Phase.shrink],
                suppress_health_check=list(HealthCheck),
            ),
        )
