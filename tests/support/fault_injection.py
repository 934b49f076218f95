"""Kills by process id, at chosen moments of a run's life on a real cluster."""

import random
import re
import signal
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from raymu.api import Run
from raymu.config import Config
from raymu.core.events import Event, RevocationsAccepted, ShardRepaired
from raymu.core.verdict import Verdict
from raymu.errors import CoordinatorLost, ShardRepairFailed, WorkerLost
from raymu.service.coordinator.calls import Train
from raymu.service.ingest import prepare_run
from raymu.service.requests.revocation import Revocation
from raymu.service.shard.messages import no_progress
from raymu.service.verify.verify import verify
from raymu.store.run import RunStore
from tests.support.coordinated_run import ids_at
from tests.support.examples import make_config, write_samples
from tests.support.file_events import watched
from tests.support.processes import Actors, kill
from tests.support.request_scenarios import outcome

STEP_TIMEOUT_S = 240
"""For one step of a scenario with all its kills. A step that takes longer hangs."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One call of a user, which may be repeated at any point."""

    kind: str
    """train, retrain, patch or settle."""
    revocation: Revocation | None = None

    def carry_out(self, run: Run, *, is_again: bool) -> None:
        if self.revocation:
            run.revoke_together([self.revocation])
        elif self.kind == "train" and not is_again:
            run.coordinator().call(Train())
        else:
            run.settle()

    def moments(self, generation: int) -> dict[str, str]:
        """Return the file events that show each moment of the step, in the order of time.

        Args:
            generation: The one that is served before the step.
        """
        opening, rewound = {"open": r"appears \.?epoch"}, rf"\.?{generation + 1:08d}"
        work, report = {self.kind: r"appears shards/"}, {"report": r"appears reports/\.?[^.]+\.json"}
        number = r"\.?\d{8}\.json"  # not the file with which a coordinator tries whether it can write
        published = {"publish": rf"appears generations/{number}"}
        purge = {"purge": r"goes (shards|samples|generations)/[^.]"}
        if self.kind == "train":
            return opening | work | report | published
        if self.revocation is None:
            return opening | work | report | published | purge
        accepted = {"accept": r"grows journal\.sqlite-wal", "rewind": rf"appears generations/{rewound}"}
        rows, published = {"rows": r"appears samples/"}, {"publish": rf"appears generations/(?!{rewound}){number}"}
        return opening | accepted | work | rows | report | published | purge


class Scenario:
    """Train, retrain for some requests and patch for others, and settle what was patched."""

    def __init__(self, folder: Path, **branches: dict[str, Any]) -> None:
        write_samples(folder / "all.parquet", samples=400)
        self.config: Config = make_config(
            folder / "all.parquet",
            model={"name": "mlp", "hidden": [64]},
            training={"epochs": 12, "momentum": 0.9},
            partition={"shards": 4, "slices": 3},
            unlearning={"boundary": 0.0, "ohs": {"remedy": "fine_tune"}},
            **{"cluster": {"fleet": "ray", "live_actors": 2}} | branches,
        )
        ids = [[ids_at(self.config, shard=shard, slice_index=at) for at in range(3)] for shard in range(4)]
        self.steps = (
            Step(kind="train"),
            _revoke("retrain", "first", ids[0][0][:2] + ids[1][2][:3], "sisa"),
            _revoke("patch", "second", ids[1][1][:2] + ids[2][0][:2], "dpus"),
            _revoke("patch", "third", ids[2][2][:3] + ids[3][1][:2], "ohs"),
            _revoke("retrain", "fourth", ids[1][1][2:4] + ids[3][2][:2], "sisa"),
            Step(kind="settle"),
        )


def _revoke(kind: str, key: str, ids: Sequence[Any], strategy: str) -> Step:
    return Step(kind=kind, revocation=Revocation(ids=tuple(ids), strategy=strategy, key=key))


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedKill:
    """A process to kill at one moment of a step."""

    step: int
    moment: str
    nth: int
    """The file event of the moment that triggers the kill, counted from 1."""
    victim: str
    """As `Actors.find` takes it."""


Seen = Mapping[tuple[int, str], int]
"""(step, moment) -> how many file events"""


def plan_kills(seen: Seen, shares: Mapping[str, float], *, per_step: int, seed: int) -> list[PlannedKill]:
    """Plan kills at moments that an undisturbed scenario had.

    Args:
        seen: What the undisturbed scenario showed.
        shares: How often each kind of victim is chosen, relative to the others.
        per_step: Kills in each step.
        seed: Of the choices.
    """
    chance = random.Random(seed)
    kills: list[PlannedKill] = []
    for step in sorted({step for step, _ in seen}):
        moments = [moment for seen_step, moment in seen if seen_step == step]
        for moment in chance.sample(moments, min(per_step, len(moments))):
            [victim] = chance.choices(list(shares), list(shares.values()))
            # The journal grows all through a step; only its first growth is the acceptance.
            nth = chance.randint(1, 3 if moment == "accept" else seen[step, moment])
            kills.append(PlannedKill(step=step, moment=moment, nth=nth, victim=victim))
    return kills


class FaultRun:
    """Executes a scenario while processes are killed."""

    def __init__(
        self, scenario: Scenario, location: Path, kills: Sequence[PlannedKill] = (), victims: Actors | None = None
    ):
        self._scenario, self._location = scenario, location
        self._kills, self._victims = kills, victims or Actors()
        self._run = Run(location)
        self._step = 0
        self._moments: dict[str, str] = {}
        self._armed: list[PlannedKill] = []
        self._counts: Counter[str] = Counter()  # file events of each moment, since the last kill
        self.seen: Counter[tuple[int, str]] = Counter()
        self.executed: list[PlannedKill] = []
        self.accepted: set[str] = set()

    def execute(self) -> None:
        prepare_run(self._scenario.config, str(self._location)).write()
        with watched(self._location, self._see):
            for number, step in enumerate(self._scenario.steps):
                self._step = number
                self._moments = step.moments(self._run.status().generation if number else 0)
                self._armed, self._counts = self._planned(), Counter()
                with within(STEP_TIMEOUT_S):
                    self._carry_out(step)
                self._armed = []
                self._victims.recover()
            self._run.close()
        self._check()

    def _carry_out(self, step: Step) -> None:
        is_again = False
        while True:
            try:
                return step.carry_out(self._run, is_again=is_again)
            except (CoordinatorLost, ShardRepairFailed, WorkerLost):
                is_again = True
                self._run.close()
                self._check()
                self._run = Run(self._location)

    def _check(self) -> None:
        """Check what is true at any moment: accepted requests stay accepted, and the run verifies."""
        now = {request_id for request_id, _ in accepted(self._location)}
        assert now >= self.accepted, "a request that was accepted is gone"
        self.accepted = now
        verification = verify(RunStore(str(self._location)), no_progress)
        assert verification.verdict is not Verdict.FAIL, [check for check in verification.checks if check.findings]

    def _planned(self) -> list[PlannedKill]:
        order = list(self._moments)
        of_step = (kill for kill in self._kills if kill.step == self._step)
        return sorted(of_step, key=lambda kill: order.index(kill.moment))

    def _see(self, event: str) -> None:
        for moment, pattern in self._moments.items():
            if re.match(pattern, event):
                self.seen[self._step, moment] += 1
                self._counts[moment] += 1
        if self._armed and self._counts[self._armed[0].moment] >= self._armed[0].nth:
            self._execute_kill(self._armed[0])

    def _execute_kill(self, planned: PlannedKill) -> None:
        """Kill the victim, or wait for the next event if there is no such process now."""
        if pids := self._victims.find(planned.victim):
            kill(pids)
            self.executed.append(planned)
            self._armed.pop(0)
            self._counts.clear()


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What a fault run did to the requests of its scenario."""

    acknowledged: int
    """Requests that were accepted at any time."""
    lost: int
    accepted_twice: int
    repaired_twice: int
    """Pairs of a request and a shard."""
    is_outcome_equal: bool
    """Whether the run equals an undisturbed one."""
    verdict: Verdict


def compare_with_undisturbed(fault_run: FaultRun, location: Path, undisturbed: Path) -> Outcome:
    """Compare a fault run with an undisturbed one, and replay every shard's training."""
    store = RunStore(str(location))
    purged = {receipt.request_id for receipt in Run(location).receipts() if receipt.purged_at and receipt.settled_at}
    keys = Counter(key for _, key in accepted(location))
    reports = (event.report for event in events_of(location) if isinstance(event, ShardRepaired))
    repairs = Counter((request_id, report.shard) for report in reports for request_id in report.request_ids)
    return Outcome(
        acknowledged=len(fault_run.accepted),
        lost=len(fault_run.accepted - purged),
        accepted_twice=sum(count > 1 for count in keys.values()),
        repaired_twice=sum(count > 1 for count in repairs.values()),
        is_outcome_equal=outcome(location) == outcome(undisturbed),
        verdict=verify(store, no_progress, replay=range(store.config.partition.shards)).verdict,
    )


def accepted(location: Path) -> list[tuple[str, str | None]]:
    """Return the id and the key of every request in the journal."""
    events = [event for event in events_of(location) if isinstance(event, RevocationsAccepted)]
    return [(request.request_id, request.key) for event in events for request in event.requests]


def events_of(location: Path) -> list[Event]:
    with closing(RunStore(str(location)).journal(is_read_only=True)) as journal:
        return list(journal.events())


@contextmanager
def within(seconds: int) -> Iterator[None]:
    """Raise TimeoutError after this many seconds."""

    def end(_number: int, _frame: FrameType | None) -> None:
        raise TimeoutError(f"not done in {seconds} s")

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
