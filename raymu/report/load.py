"""Everything that a page tells of a run, read at one time. Nothing is written."""

from contextlib import closing, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from raymu.core.events import Event, GenerationEvaluated
from raymu.core.receipt import Receipt
from raymu.core.records import Generation
from raymu.core.uri import basename
from raymu.errors import FileCorrupt, FileMissing, FileUnreadable
from raymu.service.history import replay
from raymu.service.prediction import Evaluation
from raymu.service.status import RunStatus, status_of
from raymu.service.verify.verify import Verification
from raymu.store.manifest import RunManifest
from raymu.store.run import RunStore
from raymu.training.checkpoint_format import read_metadata


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """The current generation's accuracy, measured for the page. evaluation: None where no shard votes"""

    file: str
    evaluation: Evaluation | None


@dataclass(frozen=True, kw_only=True, slots=True)
class RunRecord:
    """name: of the run directory; determinism: the class that a served state was made in, as JSON; audit: any JSON"""

    name: str
    read_at: datetime
    manifest: RunManifest
    generation: Generation
    status: RunStatus
    receipts: tuple[Receipt, ...]
    events: tuple[Event, ...]
    evaluations: tuple[GenerationEvaluated, ...]
    determinism: str | None
    measured: Measured | None = None
    verification: Verification | None = None
    audit: Any = None


def read_run(
    store: RunStore,
    *,
    now: datetime,
    measured: Measured | None = None,
    verification: Verification | None = None,
    audit: Any = None,
) -> RunRecord:
    """Raises RunInvalid where the run is not trained, FileMissing, FileCorrupt."""
    generation = store.current()
    with closing(store.journal(is_read_only=True)) as journal:
        history, events = replay(journal, store.manifest), tuple(journal.events())
    return RunRecord(
        name=basename(store.location),
        read_at=now,
        manifest=store.manifest,
        generation=generation,
        status=status_of(generation, history, now=now),
        receipts=tuple(receipt.at(now) for receipt in history.receipts.receipts()),
        events=events,
        evaluations=history.evaluations,
        determinism=_determinism(store, generation),
        measured=measured,
        verification=verification and _without_place(verification, f"{store.files.display_location}/"),
        audit=audit,
    )


def _without_place(found: Verification, place: str) -> Verification:
    """Where a run lies on a disk is not for its page."""
    return replace(
        found,
        checks=tuple(
            replace(check, findings=tuple(replace(one, what=one.what.replace(place, "")) for one in check.findings))
            for check in found.checks
        ),
    )


def _determinism(store: RunStore, generation: Generation) -> str | None:
    """Of the first shard's state, where it can be read: what is wrong with it is for verification to say."""
    with suppress(FileMissing, FileCorrupt, FileUnreadable):
        found = read_metadata(store.files.read_checked(generation.lineages[0].serving.file)).get("determinism")
        return None if found is None else str(found)
    return None
