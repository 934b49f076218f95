"""The anchors that a user keeps outside of runs: the last event of each run that their commands saw.

Nothing in a run shows that the whole of it was put back to an older copy. So each command compares the run with a small
file of the user's, one for each run, and writes it when the run has gone on. Without a home that can be written, nothing
is kept and nothing is said.
"""

import logging
import os
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from raymu.core.uri import is_uri, redacted
from raymu.errors import ConfigInvalid, FileCorrupt, FileMissing, FileUnreadable, RaymuError, RunInvalid, StorageFailed
from raymu.store.codec import canonical_json, parse_json
from raymu.store.files.run_files import RunFiles
from raymu.store.journal.event_chain import BEGINNING, ChainHead
from raymu.store.journal.journal_reader import JournalReader
from raymu.store.run import RunStore
from raymu.text import one_line

_log = logging.getLogger(__name__)

VARIABLE = "RAYMU_ANCHORS"
"""`off`, where no anchors are to be kept; or another folder for them, as a path or a URI."""
OFF = "off"
_MOST_PLACES = 100
"""Places of one run that are kept beside the latest, as one that is copied for every test has many."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MissingEvent:
    """An event that this user's commands saw, and that the run does not contain."""

    sequence: int
    place: str
    """Where the run was when they saw it."""
    is_here: bool
    """Whether that is where the run is now: an older copy was put in its place. Otherwise this is a copy of it that is
    older, or that went on by itself."""


class KeptAnchors:
    """The anchors of one run that this user keeps, one for each place where they used it."""

    def __init__(self, store: RunStore) -> None:
        """Name the run. Nothing is read."""
        self._store = store
        self._place = place_of(store)

    def missing_event(self) -> MissingEvent | None:
        """Compare the run with what is kept, and keep its last event if nothing is missing.

        A copy is compared with the places that it may be a copy of: it has to contain all that one of them had.

        Returns:
            What is missing; None if nothing is, or if nothing is kept of this run.

        Raises:
            ConfigInvalid: The file of the anchors is not one.
            RaymuError: What reading the journal raises.
        """
        kept = self._read()
        if kept is None:
            return None
        with closing(self._store.journal(is_read_only=True)) as journal:
            missing = self._missing_event(kept, journal)
            if missing is None:
                self._keep(kept, journal)
        return missing

    def remember(self) -> None:
        """Keep the last event of a run that this user has just used. What cannot be read or written is left out."""
        with suppress(RaymuError):
            self.missing_event()

    def accept(self) -> None:
        """Keep the last event of the run as it is now, although events are missing. Raises as `missing_event`."""
        kept = self._read()
        if kept is not None:
            others = {place: head for place, head in kept.items() if place != self._place}
            with closing(self._store.journal(is_read_only=True)) as journal:
                self._write(others)
                self._keep(others, journal)

    def _missing_event(self, kept: dict[str, ChainHead], journal: JournalReader) -> MissingEvent | None:
        if here := kept.get(self._place):
            if journal.contains(here):
                return None
            return MissingEvent(sequence=here.sequence, place=self._place, is_here=True)
        if not kept or any(journal.contains(head) for head in kept.values()):
            return None
        place, latest = max(kept.items(), key=lambda item: item[1].sequence)
        return MissingEvent(sequence=latest.sequence, place=place, is_here=False)

    def _keep(self, kept: dict[str, ChainHead], journal: JournalReader) -> None:
        head, before = journal.checked_head(), kept.get(self._place)
        if head is None or head == BEGINNING or (before and before.sequence >= head.sequence):
            return
        others = sorted(kept.items(), key=lambda item: item[1].sequence)[-_MOST_PLACES:]
        self._write({**dict(others), self._place: head})

    def _write(self, kept: dict[str, ChainHead]) -> None:
        files = self._files()
        anchors = {place: head.anchor for place, head in kept.items()}
        if files is None:
            return
        tree = {"run": self._store.manifest.run_id, "anchors": anchors}
        try:
            files.write(self._name, canonical_json(tree), mode=0o600)
        except RaymuError as error:
            _say_unless_home(error)

    def _read(self) -> dict[str, ChainHead] | None:
        """Return what is kept: place -> last event. None if no anchors are kept. Raises ConfigInvalid."""
        files = self._files()
        if files is None:
            return None
        try:
            tree = parse_json(files.read(self._name), source=self._name)
            return {str(place): ChainHead.parse(anchor) for place, anchor in tree["anchors"].items()}
        except FileMissing:
            return {}
        except (FileUnreadable, StorageFailed) as error:
            _say_unless_home(error)
            return None
        except (FileCorrupt, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ConfigInvalid(
                f"{files.display_path(self._name)}: is not the file of a run's anchors; restore or delete it"
            ) from error

    def _files(self) -> RunFiles | None:
        folder = anchors_folder()
        if folder is None:
            return None
        try:
            return RunFiles(folder)
        except RunInvalid as error:
            if os.environ.get(VARIABLE):
                raise ConfigInvalid(f"{VARIABLE}: {error}; name a folder or a URI, or off") from error
            return None

    @property
    def _name(self) -> str:
        return f"{self._store.manifest.run_id}.json"


def older_copy(missing: MissingEvent) -> str:
    """Say what a copy of a run is that lacks an event."""
    place = one_line(missing.place)
    return (
        f"an older copy, or one that went on by itself: it lacks event {missing.sequence}, which {place} has or had, and may "
        "serve samples that were revoked since"
    )


def _say_unless_home(error: RaymuError) -> None:
    """Say that no anchor is compared or kept where the user has named a place for them. A home may be read-only."""
    if os.environ.get(VARIABLE):
        _log.warning("raymu: no anchor is compared or kept in %s: %s", VARIABLE, one_line(error))


def anchors_folder() -> str | None:
    """Return the folder of the anchors; None if none are kept, or if this user has no home."""
    if chosen := os.environ.get(VARIABLE):
        return None if chosen == OFF else chosen
    if configured := os.environ.get("XDG_STATE_HOME"):
        return str(Path(configured) / "raymu" / "anchors")
    with suppress(RuntimeError):
        return str(Path.home() / ".local" / "state" / "raymu" / "anchors")
    return None


def place_of(store: RunStore) -> str:
    """Return where a run is, under whatever name it was opened."""
    return redacted(store.location) if is_uri(store.location) else os.path.realpath(store.location)
