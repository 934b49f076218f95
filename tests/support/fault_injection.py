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

MOST_SECONDS = 240
"""For one step of a course with all its kills: beyond it something hangs."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One call of a user, which may be made again at any point. kind: train, retrain, patch or settle"""

    kind: str
    asked: Revocation | None = None

    def carry_out(self, run: Run, *, is_again: bool) -> None:
        if self.asked:
            run.revoke_together([self.asked])
        elif self.kind == "train" and not is_again:
            run.coordinator().call(Train())
        else:
            run.settle()

    def moments(self, generation: int) -> dict[str, str]:
        """Moment -> the file events that show it, in the order of time. generation: the one served before the step"""
        opening, rewound = {"open": r"appears \.?epoch"}, rf"\.?{generation + 1:08d}"
        work, report = {self.kind: r"appears shards/"}, {"report": r"appears reports/\.?[^.]+\.json"}
        published, purge = {"publish": r"appears generations/"}, {"purge": r"goes (shards|samples|generations)/[^.]"}
        if self.kind == "train":
            return opening | work | report | published
        if self.asked is None:
            return opening | work | report | published | purge
        accepted = {"accept": r"grows journal\.sqlite-wal", "rewind": rf"appears generations/{rewound}"}
        rows, published = {"rows": r"appears samples/"}, {"publish": rf"appears generations/(?!{rewound})"}
        return opening | accepted | work | rows | report | published | purge


class Course:
    """Train, retrain for some requests and patch for others, and settle what was patched."""

    def __init__(self, folder: Path, **branches: dict[str, Any]) -> None:
        write_samples(folder / "all.parquet", samples=400)
        self.config: Config = make_config(
            folder / "all.parquet",
            model={"name": "mlp", "hidden": [64]},
            training={"epochs": 12, "momentum": 0.9},
            partition={"shards": 4, "slices": 3},
            unlearning={"boundary": 0.0},
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
    return Step(kind=kind, asked=Revocation(ids=tuple(ids), strategy=strategy, key=key))


@dataclass(frozen=True, kw_only=True, slots=True)
class Strike:
    """A kill that is planned. nth: which file event of its moment it follows, from 1; victim: see `victims`"""

    step: int
    moment: str
    nth: int
    victim: str


Seen = Mapping[tuple[int, str], int]
"""(step, moment) -> how many file events"""


def plan_strikes(seen: Seen, shares: Mapping[str, float], *, per_step: int, seed: int) -> list[Strike]:
    """Strikes at moments that an undisturbed course had. shares: victim -> its share of them"""
    chance = random.Random(seed)
    strikes: list[Strike] = []
    for step in sorted({step for step, _ in seen}):
        moments = [moment for one, moment in seen if one == step]
        for moment in chance.sample(moments, min(per_step, len(moments))):
            [victim] = chance.choices(list(shares), list(shares.values()))
            # The journal grows all through a step; only its first growth is the acceptance.
            nth = chance.randint(1, 3 if moment == "accept" else seen[step, moment])
            strikes.append(Strike(step=step, moment=moment, nth=nth, victim=victim))
    return strikes


class Ordeal:
    """Carries a course out, whatever is killed on the way."""

    def __init__(self, course: Course, location: Path, strikes: Sequence[Strike] = (), victims: Actors | None = None):
        self._course, self._location = course, location
        self._strikes, self._victims = strikes, victims or Actors()
        self._run = Run(location)
        self._step = 0
        self._moments: dict[str, str] = {}
        self._armed: list[Strike] = []
        self._counts: Counter[str] = Counter()  # file events of each moment, since the last kill
        self.seen: Counter[tuple[int, str]] = Counter()
        self.struck: list[Strike] = []
        self.accepted: set[str] = set()

    def go_through(self) -> None:
        prepare_run(self._course.config, str(self._location)).write()
        with watched(self._location, self._see):
            for number, step in enumerate(self._course.steps):
                self._step = number
                self._moments = step.moments(self._run.status().generation if number else 0)
                self._armed, self._counts = self._planned(), Counter()
                with within(MOST_SECONDS):
                    self._carry_out(step)
                self._armed = []
                self._victims.recover()
            self._run.close()
        self._look()

    def _carry_out(self, step: Step) -> None:
        is_again = False
        while True:
            try:
                return step.carry_out(self._run, is_again=is_again)
            except (CoordinatorLost, ShardRepairFailed, WorkerLost):
                is_again = True
                self._run.close()
                self._look()
                self._run = Run(self._location)

    def _look(self) -> None:
        """What must hold at any moment: what was accepted stays so, and nothing speaks against what is there."""
        now = {request_id for request_id, _ in accepted(self._location)}
        assert now >= self.accepted, "a request that was accepted is gone"
        self.accepted = now
        found = verify(RunStore(str(self._location)), no_progress)
        assert found.verdict is not Verdict.FAIL, [check for check in found.checks if check.findings]

    def _planned(self) -> list[Strike]:
        order = list(self._moments)
        own = (strike for strike in self._strikes if strike.step == self._step)
        return sorted(own, key=lambda strike: order.index(strike.moment))

    def _see(self, event: str) -> None:
        for moment, pattern in self._moments.items():
            if re.match(pattern, event):
                self.seen[self._step, moment] += 1
                self._counts[moment] += 1
        if self._armed and self._counts[self._armed[0].moment] >= self._armed[0].nth:
            self._strike(self._armed[0])

    def _strike(self, strike: Strike) -> None:
        """Where the victim is not there yet, or not any more, the next event is waited for."""
        if pids := self._victims.find(strike.victim):
            kill(pids)
            self.struck.append(strike)
            self._armed.pop(0)
            self._counts.clear()


@dataclass(frozen=True, kw_only=True, slots=True)
class Account:
    """What became of a course's requests. acknowledged: at any time; repaired_twice: pairs of a request and a shard"""

    acknowledged: int
    lost: int
    accepted_twice: int
    repaired_twice: int
    is_outcome_equal: bool
    verdict: Verdict


def account(ordeal: Ordeal, location: Path, undisturbed: Path) -> Account:
    """Compare with a course in which nothing was killed, and train every shard again from scratch."""
    store = RunStore(str(location))
    purged = {receipt.request_id for receipt in Run(location).receipts() if receipt.purged_at and receipt.settled_at}
    keys = Counter(key for _, key in accepted(location))
    reports = (event.report for event in events_of(location) if isinstance(event, ShardRepaired))
    repairs = Counter((request_id, report.shard) for report in reports for request_id in report.request_ids)
    return Account(
        acknowledged=len(ordeal.accepted),
        lost=len(ordeal.accepted - purged),
        accepted_twice=sum(count > 1 for count in keys.values()),
        repaired_twice=sum(count > 1 for count in repairs.values()),
        is_outcome_equal=outcome(location) == outcome(undisturbed),
        verdict=verify(store, no_progress, replay=range(store.config.partition.shards)).verdict,
    )


def accepted(location: Path) -> list[tuple[str, str | None]]:
    """Id and key of every request that the journal has."""
    taken = [event for event in events_of(location) if isinstance(event, RevocationsAccepted)]
    return [(request.request_id, request.key) for event in taken for request in event.requests]


def events_of(location: Path) -> list[Event]:
    with closing(RunStore(str(location)).journal(is_read_only=True)) as journal:
        return list(journal.events())


@contextmanager
def within(seconds: int) -> Iterator[None]:
    """Raises TimeoutError."""

    def end(_number: int, _frame: FrameType | None) -> None:
        raise TimeoutError(f"not done in {seconds} s")

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
