"""Calls the callbacks of a run: with stages as they come, and with what a call has added to the journal."""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from threading import Lock

from raymu.callbacks.callback import Callback, GenerationReport, PurgeReport, WatchedRun
from raymu.core.events import DamageFound, Event, GenerationPublished, RequestsPurged, RunExtended
from raymu.errors import RaymuError
from raymu.service.coordinator.calls import TrainingResult
from raymu.service.shard.messages import Progress, StageProgress
from raymu.store.codec import parse_json
from raymu.store.run import RunStore
from raymu.text import one_line

_log = logging.getLogger(__name__)


class Watcher:
    """The callbacks of one `Run`. They see what was committed, whichever process the coordinator is in."""

    def __init__(self, run: WatchedRun, store: RunStore, callbacks: Callable[[], Sequence[Callback]]) -> None:
        """Watch a run.

        Args:
            run: What the callbacks see of it.
            store: Its files.
            callbacks: Makes the callbacks, when they are first needed.
        """
        self._run, self._store, self._make = run, store, callbacks
        self._callbacks: tuple[Callback, ...] | None = None
        self._failed: set[tuple[int, str]] = set()
        self._events = self._receipts = 0  # how many of the journal were taken up
        self._taking_up = Lock()

    @contextmanager
    def watching(self, progress: Progress) -> Iterator[Progress]:
        """Call the callbacks with what happens meanwhile, also if it ends in an error.

        Yields:
            The progress to give to the call.
        """
        if not self._begun():
            yield progress
            return

        def report(stage: StageProgress) -> None:
            self._call_all(lambda callback: callback.on_stage_end(stage.report))
            progress(stage)

        try:
            yield report
        finally:
            self._take_up()

    def end_training(self, result: TrainingResult) -> None:
        """Say that the run is trained."""
        self._call_all(lambda callback: callback.on_training_end(result))

    def _begun(self) -> bool:
        """Make the callbacks, and let them get to know the run, once. Returns whether there are any."""
        with self._taking_up:
            if self._callbacks is None:
                callbacks = tuple(self._make())
                if callbacks:
                    self._events, self._receipts = self._position()
                self._callbacks = callbacks
                self._call_all(lambda callback: callback.on_begin(self._run))
            return bool(self._callbacks)

    def _position(self) -> tuple[int, int]:
        with closing(self._store.journal(is_read_only=True)) as journal:
            rows = journal.receipt_rows()
            return journal.head().sequence, rows[-1].number if rows else 0

    def _take_up(self) -> None:
        """Read what was added to the journal, and call the callbacks with it."""
        with self._taking_up:
            try:
                with closing(self._store.journal(is_read_only=True)) as journal:
                    events, rows = list(journal.events()), journal.receipt_rows()
            except RaymuError as error:  # the call has its own error, or is done
                _log.warning("raymu: callbacks miss what was done: %s", one_line(error))
                return
            receipts = [parse_json(row.document, source=row.name) for row in rows if row.number > self._receipts]
            new, self._events, self._receipts = events[self._events :], len(events), self._receipts + len(receipts)
            current = max((event.number for event in events if isinstance(event, GenerationPublished)), default=0)
            causes = causes_of(events)
            for event in new:
                self._call_with(event, current, causes)
            for receipt in receipts:
                self._call_all(lambda callback, receipt=receipt: callback.on_receipt(receipt))  # type: ignore[misc]
            for event in new:
                if isinstance(event, RequestsPurged):
                    self._call_with_purge(event, current)

    def _call_with(self, event: Event, current: int, causes: Mapping[int, str]) -> None:
        if isinstance(event, GenerationPublished):
            report = GenerationReport(
                number=event.number,
                cause=causes[event.number],
                published_at=event.at,
                manifest_sha256=event.manifest_sha256,
                requests=len({*event.rewound, *event.repaired, *event.settled}),
                is_current=event.number == current,
            )
            self._call_all(lambda callback: callback.on_generation(report))

    def _call_with_purge(self, event: RequestsPurged, current: int) -> None:
        report = PurgeReport(
            purged_at=event.at, generation=current, requests=len(event.request_ids), files=len(event.files)
        )
        self._call_all(lambda callback: callback.on_purge(report))

    def _call_all(self, call: Callable[[Callback], None]) -> None:
        """Call each callback. A failure of one is logged once, and stops nothing."""
        for number, callback in enumerate(self._callbacks or ()):
            try:
                call(callback)
            except Exception as error:  # whatever a library or the user's code raises
                failure = (number, type(error).__name__)
                if failure not in self._failed:
                    self._failed.add(failure)
                    name = type(callback).__name__
                    _log.warning("raymu: callback %s failed, and work went on: %s", name, one_line(error))


def causes_of(events: Iterable[Event]) -> dict[int, str]:
    """Return why each generation was published, as its file says it. events: all of a run, in their order"""
    causes: dict[int, str] = {}
    occasion = "train"  # of a generation that is published for no request
    for event in events:
        match event:
            case RunExtended():
                occasion = "extend"
            case DamageFound():
                occasion = "rebuild"
            case GenerationPublished():
                by_requests = {"settle": event.settled, "repair": event.repaired, "rewind": event.rewound}
                causes[event.number] = next((cause for cause, requests in by_requests.items() if requests), occasion)
    return causes
