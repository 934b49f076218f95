"""The progress of all shards of a fleet, computed from the stages that it reports."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta

from raymu.core.stage_measures import StageReport
from raymu.service.shard.messages import FleetLoad, StageProgress
from raymu.text import words


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardProgress:
    """The progress of one running shard."""

    shard: int
    remedy: str = ""
    done: int = 0
    """Stages that are trained."""
    stages: int = 0
    """All stages of the command; 0 before the first report."""
    passes_per_s: float = 0.0
    """Sample passes per second in the last stage."""
    measured: str = ""
    """The loss of the last stage, and what was measured on held-out samples."""

    @property
    def fraction(self) -> float:
        """Return the share of stages that are trained."""
        return self.done / self.stages if self.stages else 0.0

    def after(self, stage: StageProgress) -> "ShardProgress":
        """Return the progress after a stage."""
        return replace(
            self,
            remedy=words(stage.remedy or "train"),
            done=stage.stage - stage.first + 1,
            stages=stage.stages,
            passes_per_s=stage.passes / stage.seconds if stage.seconds > 0.0 else 0.0,
            measured=measured_text(stage.report),
        )


def measured_text(stage: StageReport) -> str:
    """Return what was measured in a stage, in short: `loss 0.412, held-out 0.455, score 0.881`."""
    parts = {"loss": stage.loss, "held-out": stage.validation_loss, "score": stage.validation_score}
    return ", ".join(f"{name} {value:.3g}" for name, value in parts.items() if value is not None)


class FleetProgress:
    """Listen to phases and stages, and keep the progress of the fleet.

    Its clock starts with the first stage of work: start-up is no work, and says nothing about how long the rest takes. A
    fleet that does not report its load is known only by the shards that have reported a stage.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        """Begin with the phase of starting.

        Args:
            clock: Returns seconds since any fixed time.
        """
        self._clock = clock
        self._shards: dict[int, ShardProgress] = {}  # those that workers have or had, in order
        self._done = 0
        self._began_s: float | None = None
        self._first_fraction = 0.0  # of the work that was done before the clock started
        self.phase = "starting"
        """What is done before the first stage."""
        self._phase_began_s = clock()
        self.waiting = 0
        """Shards that no worker has begun yet."""

    def begin_phase(self, name: str) -> None:
        """Take up a phase that begins, or goes on with another count after its colon."""
        if name.partition(":")[0] != self.phase.partition(":")[0]:
            self._phase_began_s = self._clock()
        self.phase = name

    def __call__(self, stage: StageProgress) -> None:
        """Take up a stage that a shard has trained."""
        load = stage.load or FleetLoad(running=(*self._shards, stage.shard), waiting=0, done=0)
        is_first = self._began_s is None or load.done < self._done  # or the fleet had nothing to do in between
        self._done, self.waiting = load.done, load.waiting
        before = self._shards.get(stage.shard, ShardProgress(shard=stage.shard))
        known = {**self._shards, stage.shard: before.after(stage)}
        self._shards = {shard: known.get(shard, ShardProgress(shard=shard)) for shard in sorted(set(load.running))}
        if is_first:
            self._began_s = self._clock() - stage.seconds
            self._first_fraction = max(0.0, self.fraction - 1.0 / (stage.stages * max(1, self.shards)))

    @property
    def running(self) -> tuple[ShardProgress, ...]:
        """Return the shards that have stages left to train."""
        return tuple(shard for shard in self._shards.values() if shard.fraction < 1.0)

    @property
    def done(self) -> int:
        """Return the number of shards that are trained."""
        return self._done + len(self._shards) - len(self.running)

    @property
    def shards(self) -> int:
        """Return the number of shards that are done, running or waiting."""
        return self._done + len(self._shards) + self.waiting

    @property
    def fraction(self) -> float:
        """Return the share of the work that is done, if all shards have the same work."""
        return (self._done + sum(shard.fraction for shard in self._shards.values())) / max(1, self.shards)

    @property
    def passes_per_s(self) -> float:
        """Return the sample passes per second of all workers together."""
        return sum(shard.passes_per_s for shard in self.running)

    @property
    def phase_s(self) -> float:
        """Return the seconds since the phase began."""
        return self._clock() - self._phase_began_s

    @property
    def elapsed_s(self) -> float:
        """Return the seconds since the first stage of work began; 0 before."""
        return 0.0 if self._began_s is None else self._clock() - self._began_s

    @property
    def remaining_s(self) -> float | None:
        """Return the expected seconds until all shards are done; None before the first stage."""
        trained = self.fraction - self._first_fraction
        return self.elapsed_s * (1.0 - self.fraction) / trained if trained > 0.0 else None


def counts_line(progress: FleetProgress) -> str:
    """Return the remaining time and the counts, the most important first: a narrow terminal cuts the rest."""
    remaining_s = progress.remaining_s
    left = f"about {clock_text(remaining_s)} left after" if remaining_s else "after"
    running = len(progress.running)
    elapsed = clock_text(progress.elapsed_s)
    return f"{left} {elapsed}: {running} running, {progress.waiting} waiting, {progress.done} done"


def clock_text(seconds: float) -> str:
    """Return seconds as on a clock: 0:02:15."""
    return str(timedelta(seconds=round(seconds)))
