"""The base class of callbacks, and the records that they are called with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from raymu.config import Config
from raymu.core.stage_measures import StageReport
from raymu.service.coordinator.calls import TrainingResult

if TYPE_CHECKING:
    from raymu.service.export import Export


class WatchedRun(Protocol):
    """What a callback sees of a run. A `raymu.Run` is one."""

    location: str

    @property
    def config(self) -> Config: ...

    @property
    def run_id(self) -> str:
        """Id of the run, which stays as long as the run exists."""
        ...

    @property
    def generation(self) -> int | None:
        """Number of the generation that is served; None before the run is trained."""
        ...

    def export(self, out: str | Path, *, formats: Sequence[str] = ("pt2",)) -> "Export":
        """Write the served generation into a folder."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class GenerationReport:
    """One published generation."""

    number: int
    cause: str
    """`train`, `rewind`, `repair`, `settle` or `rebuild`."""
    published_at: datetime
    manifest_sha256: str
    """SHA-256 of the generation's file, in hex."""
    requests: int
    """Requests that it was published for."""
    is_current: bool
    """Whether it is served now. Others were superseded by the same call."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PurgeReport:
    """One purge."""

    purged_at: datetime
    generation: int
    """The generation that is served. All earlier ones are destroyed, and copies of them should be too."""
    requests: int
    """Requests whose samples were purged."""
    files: int
    """Files that were destroyed."""


class Callback:
    """What is called with the stages, generations and receipts of a run. A subclass has the methods that it needs.

    The methods run in the process that called the run, and in the thread that did. One that raises stops no request: its
    first error is logged, and it is called again the next time. No argument names a sample or an owner.
    """

    def on_begin(self, run: WatchedRun) -> None:
        """Get to know the run, once, before the first call that changes it."""

    def on_stage_end(self, stage: StageReport) -> None:
        """Take up a trained stage, in any order of the shards. Interrupted work may report its stages again."""

    def on_generation(self, generation: GenerationReport) -> None:
        """Take up a published generation."""

    def on_receipt(self, receipt: Mapping[str, Any]) -> None:
        """Take up a receipt that was issued, as its signed document."""

    def on_purge(self, purge: PurgeReport) -> None:
        """Take up a purge: destroy copies of the generations that it superseded."""

    def on_training_end(self, result: TrainingResult) -> None:
        """Take up the end of the run's training."""
