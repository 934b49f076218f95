"""The laws of a run on disk, for any order of requests, work, faults, crashes, takeovers and tampering."""

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
from raymu.errors import (
    CoordinatorSuperseded,
    IdempotencyConflict,
    RequestInvalid,
    SamplesRevoked,
    SeveralFaults,
    UnknownSamples,
)
from raymu.service.shard.messages import no_progress
from tests.support.faults import FaultyDisk, fail, run_full
from tests.system.model.observed_run import read_files
from tests.system.model.process import die
from tests.system.model.scenario import Scenario, SentRequest
from tests.system.model.steered_fleet import SteeredFleet
from tests.system.model.tampered_run import CONTINUATIONS, check_tampered, verified
from tests.system.model.tampering import TAMPERINGS, tamper
from tests.system.model.templates import SAMPLES, SHARDS, Setting
from tests.system.model.traced_training import traced

REFUSALS = (RequestInvalid, UnknownSamples, SamplesRevoked, SeveralFaults, IdempotencyConflict)
FAULTS: Mapping[str, Callable[[FaultyDisk, int], None]] = {
    "an error": lambda disk, at: disk.arm(at, fail),
    "a full disk": lambda disk, at: disk.arm(at, run_full, is_torn=True, is_lasting=True),
    "a kill": lambda disk, at: disk.arm(at, die, is_lasting=True),
    "a kill in a write": lambda disk, at: disk.arm(at, die, is_torn=True, is_lasting=True),
}

RequestDraw = tuple[int, set[int], Strategy, str, str | None, bool]
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


class ScenarioMachine(RuleBasedStateMachine):
    work_folder: Path
    scenario: Scenario

    @initialize(
        on_accept=st.sampled_from(["rewind", "abstain", "keep"]),
        remedy=st.sampled_from(["fine_tune", "replay"]),
        contributions=st.sampled_from(["gradient", "group"]),
        is_trained=is_usual,
        is_grouped=st.booleans(),
        draws=requests,
        fault=faults,
        is_run_to_completion=st.booleans(),
    )
    def begin(
        self,
        on_accept: str,
        remedy: str,
        contributions: str,
        is_trained: bool,
        is_grouped: bool,
        draws: list[RequestDraw],
        fault: Fault,
        is_run_to_completion: bool,
    ) -> None:
        setting = Setting(
            on_accept=on_accept,
            remedy=remedy,
            contributions=contributions,
            is_trained=is_trained,
            is_grouped=is_grouped and on_accept != "keep",
        )
        self.scenario = Scenario(setting, self.work_folder)
        self.sent: list[SentRequest] = []
        self.scenario.open()
        self.submit(draws, is_fresh=True, fault=fault, is_run_to_completion=is_run_to_completion)

    @precondition(lambda self: self.scenario.process)
    @rule(draws=requests, is_fresh=is_rare.map(lambda it: not it), fault=faults, is_run_to_completion=is_usual)
    def submit(self, draws: list[RequestDraw], is_fresh: bool, fault: Fault, is_run_to_completion: bool) -> None:
        """Submit requests. If `is_fresh`, they name only known samples that no request has revoked, each once."""
        taken = set(self.scenario.run.revoked)
        made = []
        for shard, chosen, strategy, boundary, key, is_unknown in draws:
            own = [sample for sample in self.scenario.template.samples if shard in (SHARDS, sample.shard)]
            samples = frozenset(own[number % len(own)] for number in chosen)
            if is_fresh:
                samples -= taken
                taken |= samples
            if samples:
                unknown = ("nobody",) if is_unknown and not is_fresh else ()
                made.append(
                    SentRequest(samples=samples, strategy=strategy, boundary=boundary, key=key, unknown=unknown)
                )
        if made:
            self._plan_fault(fault)
            self._submit(made)
            if is_run_to_completion:
                self.scenario.run_to_completion()

    @precondition(lambda self: self.scenario.process and self.sent)
    @rule(which=which_one)
    def submit_again(self, which: int) -> None:
        """With a key it is the same request. Without one, its samples are revoked already if it was accepted."""
        self._submit([self.sent[which % len(self.sent)]])

    def _submit(self, requests: list[SentRequest]) -> None:
        self.sent.extend(request for request in requests if request not in self.sent)
        is_refused, before = self.scenario.is_refused(requests), self.scenario.run.files
        reply = self.scenario.submit(requests).reply
        error = reply.exception() if reply.done() and not reply.cancelled() else None
        assert isinstance(error, REFUSALS) == is_refused, error
        if is_refused:
            assert self.scenario.run.files == before

    @precondition(lambda self: self.scenario.process and self.scenario.process.fleet.running)
    @rule(which=which_one, steps=st.sampled_from([1, 2, 99]), is_reply_lost=is_rare, fault=faults)
    def work(self, which: int, steps: int, is_reply_lost: bool, fault: Fault) -> None:
        shard = self._at_work(which)
        self._plan_fault(fault)
        self.scenario.steer(lambda fleet: fleet.advance(shard, steps=steps, is_reply_lost=is_reply_lost))

    @precondition(lambda self: self.scenario.process and self.scenario.process.fleet.running)
    @rule(which=which_one)
    def lose_a_worker(self, which: int) -> None:
        shard = self._at_work(which)
        self.scenario.steer(lambda fleet: fleet.lose_worker(shard))

    @precondition(lambda self: self.scenario.process)
    @rule(fault=faults, is_run_to_completion=is_usual)
    def settle(self, fault: Fault, is_run_to_completion: bool) -> None:
        self._plan_fault(fault)
        self.scenario.settle()
        if is_run_to_completion:
            self.scenario.run_to_completion()

    @precondition(lambda self: self.scenario.process and self.scenario.disk.has_struck)
    @rule()
    def mend_the_disk(self) -> None:
        self.scenario.disk.arm(0, fail)

    @precondition(lambda self: not self.scenario.process)
    @rule(fault=faults)
    def open(self, fault: Fault) -> None:
        self._plan_fault(fault)
        self.scenario.open()

    @precondition(lambda self: self.scenario.process)
    @rule(how=st.sampled_from(["closed", "killed", "taken over from"]), fault=faults)
    def end(self, how: str, fault: Fault) -> None:
        if how == "killed":
            self.scenario.kill()
        elif how == "closed":
            self._plan_fault(fault)
            self.scenario.close()
        elif not self.scenario.zombie:
            self.scenario.open_beside()

    def _plan_fault(self, fault: Fault) -> None:
        if fault and not self.scenario.disk.is_armed:
            name, at = fault
            FAULTS[name](self.scenario.disk, at)

    @precondition(lambda self: self.scenario.zombie)
    @rule()
    def wake_the_zombie(self) -> None:
        """A superseded coordinator continues, and writes nothing."""
        zombie, before = self.scenario.zombie, read_files(self.scenario.location)
        assert zombie
        zombie.steer(SteeredFleet.finish)
        reply = zombie.start(zombie.coordinator.settle(no_progress))
        assert isinstance(reply.exception(), CoordinatorSuperseded)
        assert read_files(self.scenario.location) == before
        self.scenario.abandon_zombie()

    @precondition(lambda self: not self.scenario.zombie and (self.scenario.process or self.scenario.matches_seal))
    @rule(
        how=st.sampled_from(sorted(TAMPERINGS)),
        which=which_one,
        chance=st.integers(0, 2**20),
        then=st.sampled_from(sorted(CONTINUATIONS)),
    )
    def tamper(self, how: str, which: int, chance: int, then: str) -> None:
        """Tamper with an idle run. A run that a coordinator has open never passes."""
        if self.scenario.process:
            self.scenario.close()
        files = self.scenario.files_at_rest
        changed = tamper(files, self.scenario.past, how=how, which=which, chance=chance)
        if changed != files and self.scenario.matches_seal:
            check_tampered(self.scenario, changed, then=then)

    @rule()
    def verify(self) -> None:
        """A sound run never fails, and passes once no work is left and no shard is patched."""
        scenario, run = self.scenario, self.scenario.run
        verdict, findings = verified(scenario)
        assert verdict is not Verdict.FAIL, findings
        is_exact = run.is_idle and not any(lineage.debts for lineage in run.board.lineages)
        if scenario.matches_seal and scenario.is_calm:
            assert (verdict is Verdict.PASS) == is_exact, findings

    @invariant()
    def requests_are_carried_out_once(self) -> None:
        self.scenario.run.check_requests()

    @invariant()
    def the_served_generation_is_whole_and_holds_nothing_revoked(self) -> None:
        self.scenario.run.check_served()

    @invariant()
    def shards_have_what_training_from_scratch_gives(self) -> None:
        self.scenario.run.check_lineages()

    @invariant()
    def nothing_of_what_is_purged_can_be_read(self) -> None:
        self.scenario.run.check_purged()
        if self.scenario.is_calm:
            self.scenario.run.check_raw_ids()
            if self.scenario.run.is_idle:
                self.scenario.run.check_leftovers()

    def teardown(self) -> None:
        """In the end every request is repaired, every debt settled, and only needed files are left."""
        if hasattr(self, "scenario"):
            self.scenario.disk.arm(0, fail)
            if not self.scenario.process:
                self.scenario.open()
            self.scenario.finish()
            self.scenario.close()
            self._check_end()
            self.scenario.remove()

    def _check_end(self) -> None:
        run = self.scenario.run
        assert run.purged == set(run.accepted)
        assert not run.board.group.shards
        assert not any(lineage.debts for lineage in run.board.lineages)
        for check in (run.check_served, run.check_lineages, run.check_purged, run.check_raw_ids, run.check_leftovers):
            check()
        for receipt in run.book.receipts():
            assert receipt.exactness is Exactness.EXACT
            assert receipt.settled_at
        assert verified(self.scenario) == (Verdict.PASS, ())

    def _at_work(self, which: int) -> int:
        assert self.scenario.process
        working = self.scenario.process.fleet.running
        return working[which % len(working)]


def check_laws(*, part: int, examples: int, work_folder: Path) -> None:
    """Try some sequences of events; each part tries others. `work_folder` is an empty folder."""
    ScenarioMachine.work_folder = work_folder
    with traced():
        run_state_machine_as_test(
            seed(part)(ScenarioMachine),
            settings=settings(
                max_examples=examples,
                stateful_step_count=9,
                deadline=None,
                database=None,
                phases=[Phase.generate, Phase.shrink],
                suppress_health_check=list(HealthCheck),
            ),
        )
