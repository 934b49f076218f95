"""How far all shards of a fleet are, from what it tells of its stages."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from raymu.service.shard.messages import FleetLoad, StageProgress


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardProgress:
    """A shard at work. done, stages: how many are done, and there are; 0 of 0 where nothing was heard of it yet"""

    shard: int
    remedy: str = ""
    done: int = 0
    stages: int = 0
    passes_per_s: float = 0.0
    """Sample passes, in its last stage."""

    @property
    def fraction(self) -> float:
        return self.done / self.stages if self.stages else 0.0

    def after(self, stage: StageProgress) -> "ShardProgress":
        return replace(
            self,
            remedy=(stage.remedy or "train").replace("_", " "),
            done=stage.stage - stage.first + 1,
            stages=stage.stages,
            passes_per_s=stage.passes / stage.seconds if stage.seconds > 0.0 else 0.0,
        )


class FleetProgress:
    """Listens to stages. Where nobody keeps account of the fleet's load, only shards that were heard of are known."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """clock: seconds, from any time on"""
        self._clock, self._began_s = clock, clock()
        self._given: dict[int, ShardProgress] = {}  # to workers, by number
        self._done = 0
        self.waiting = 0
        """Shards that no worker has come to yet."""

    def __call__(self, stage: StageProgress) -> None:
        load = stage.load or FleetLoad(at_work=(*self._given, stage.shard), waiting=0, done=0)
        if load.done < self._done:  # there was nothing to do in between
            self._began_s = self._clock()
        self._done, self.waiting = load.done, load.waiting
        known = self._given | {stage.shard: self._given.get(stage.shard, ShardProgress(shard=stage.shard)).after(stage)}
        self._given = {shard: known.get(shard, ShardProgress(shard=shard)) for shard in sorted(set(load.at_work))}

    @property
    def at_work(self) -> tuple[ShardProgress, ...]:
        return tuple(one for one in self._given.values() if one.fraction < 1.0)

    @property
    def done(self) -> int:
        return self._done + len(self._given) - len(self.at_work)

    @property
    def shards(self) -> int:
        """All that are done, at work or waiting."""
        return self._done + len(self._given) + self.waiting

    @property
    def fraction(self) -> float:
        """Of all of them, each counting the same."""
        return (self._done + sum(one.fraction for one in self._given.values())) / max(1, self.shards)

    @property
    def passes_per_s(self) -> float:
        """Sample passes of all workers together."""
        return sum(one.passes_per_s for one in self.at_work)

    @property
    def elapsed_s(self) -> float:
        return self._clock() - self._began_s

    @property
    def remaining_s(self) -> float | None:
        """None before the first stage is done."""
        return self.elapsed_s * (1.0 / self.fraction - 1.0) if self.fraction else None
