"""Kills by process id, at chosen moments of a run's life on a real cluster."""

import os
import re
import signal
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

import psutil
import ray
from ray.cluster_utils import Cluster

from raymu.api import Run
from raymu.config import Config
from raymu.core.events import RevocationsAccepted
from raymu.core.verdict import Verdict
from raymu.errors import CoordinatorLost, ShardRepairFailed, WorkerLost
from raymu.service.ingest import create_run
from raymu.service.requests import Revocation
from raymu.service.verify.verification import verify
from raymu.store.run import RunStore
from tests.examples import make_config, silent, write_samples
from tests.integration.watching import watched
from tests.unit.service.runs import ids_at, journal_events

MOST_SECONDS = 120
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
            run.train()
        else:
            run.settle()

    def moments(self, generation: int) -> dict[str, str]:
        """Moment -> the file events that show it. generation: the one that was served before the step"""
        rewound = rf"\.?{generation + 1:08d}"
        asked = {"accept": r"grows journal\.sqlite-wal", "rewind": rf"appears generations/{rewound}"}
        rows = {"rows": r"appears samples/"}
        return {
            "open": r"appears \.?epoch",
            **(asked if self.asked else {}),
            self.kind: r"appears shards/",
            **(rows if self.asked else {}),
            "report": r"appears reports/",
            "publish": rf"appears generations/(?!{rewound})" if self.asked else r"appears generations/",
            **({} if self.kind == "train" else {"purge": r"goes (shards|samples|generations)/[^.]"}),
        }


class Course:
    """Train, retrain for some requests and patch for others, settle, and retrain once more."""

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
    """A kill that is planned. nth: which file event of its moment it follows, from 1; victim: coordinator, shard, node"""

    step: int
    moment: str
    nth: int
    victim: str


class Victims(Protocol):
    """The processes of a cluster that may be killed."""

    def find(self, victim: str) -> list[int]:
        """Ids of the processes that are killed together; none where there is no such victim now."""
        ...

    def recover(self) -> None:
        """After a step: what was killed and does not come back by itself is started again."""
        ...


def own_processes(name: str) -> list[psutil.Process]:
    """Those of clusters that this process started; other people's run on the same machine."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if name in process.name():
                found.append(process)
    return found


class Actors:
    """The actors of this process's clusters."""

    def find(self, victim: str) -> list[int]:
        if victim == "coordinator":
            return [one.pid for one in own_processes("ray::CoordinatorSe")]
        shards = own_processes("ray::ShardWorker")
        at_work = [one for one in shards if one.name().endswith(".run")]
        return [one.pid for one in (at_work or shards)[-1:]]

    def recover(self) -> None:
        pass


class TwoNodes(Actors):
    """A second node beside the one that `ray.init` started here; a new one is started where it was killed."""

    def __init__(self, **resources: float) -> None:
        self._resources = resources
        self._cluster = Cluster()  # it would leave its address to every other program here, had it started the head
        self._cluster.head_node = ray._private.worker._global_node
        self._node = self._cluster.add_node(**resources)

    def find(self, victim: str) -> list[int]:
        if victim not in ("node", "raylet"):
            return super().find(victim)
        [raylet] = self._node.all_processes["raylet"]
        if raylet.process.poll() is not None:
            return []
        children = psutil.Process(raylet.process.pid).children(recursive=True) if victim == "node" else []
        return [raylet.process.pid, *(one.pid for one in children)]

    def recover(self) -> None:
        if not self.find("raylet"):
            self.close()
            self._node = self._cluster.add_node(**self._resources)

    def close(self) -> None:
        self._cluster.remove_node(self._node, allow_graceful=False)


class Ordeal:
    """Carries a course out, whatever is killed on the way."""

    def __init__(self, course: Course, location: Path, strikes: Sequence[Strike] = (), victims: Victims | None = None):
        self._course, self._location = course, location
        self._victims = victims or Actors()
        self._strikes = strikes
        self._armed: list[Strike] = []
        self._moments: dict[str, str] = {}
        self._step = 0
        self._run = Run(location)
        self.seen: Counter[tuple[int, str]] = Counter()
        """(step, moment) -> file events"""
        self.struck: list[Strike] = []
        self.accepted: set[str] = set()

    def go_through(self) -> None:
        create_run(self._course.config, str(self._location))
        with watched(self._location, self._see):
            for number, step in enumerate(self._course.steps):
                self._step = number
                self._moments = step.moments(self._generation())
                self._armed, self._counts = self._strikes_of(number), Counter()
                with within(MOST_SECONDS):
                    self._carry_out(step)
                self._armed = []
                self._victims.recover()
            self._run.close()

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
        accepted = [event for event in journal_events(self._location) if isinstance(event, RevocationsAccepted)]
        now = {request.request_id for event in accepted for request in event.requests}
        assert now >= self.accepted, "a request that was accepted is gone"
        self.accepted = now
        found = verify(RunStore(str(self._location)), silent)
        assert found.verdict is not Verdict.FAIL, [check for check in found.checks if check.findings]

    def _strikes_of(self, number: int) -> list[Strike]:
        """In the order in which their moments come about."""
        order = list(self._moments)
        return sorted((one for one in self._strikes if one.step == number), key=lambda one: order.index(one.moment))

    def _generation(self) -> int:
        return self._run.status().generation if self._step else 0

    def _see(self, event: str) -> None:
        for moment, pattern in self._moments.items():
            if re.match(pattern, event):
                self.seen[self._step, moment] += 1
                self._counts[moment] += 1
        if self._armed and self._counts[self._armed[0].moment] >= self._armed[0].nth:
            self._strike(self._armed[0])

    def _strike(self, strike: Strike) -> None:
        """Where the victim is not there yet, or not any more, the next event is waited for."""
        pids = self._victims.find(strike.victim)
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if pids:
            self.struck.append(strike)
            self._armed.pop(0)
            self._counts.clear()


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
