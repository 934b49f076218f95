"""The trials of a search that have ended, kept as JSON, so that an interrupted search goes on without repeating them.

Ray Tune's own state is pickles, which run code when they are read, so a search reads none of it from its folder.
"""

import hashlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from raymu.core.tuning import Choice, InterimScore, Score
from raymu.errors import FileCorrupt
from raymu.output_file import atomic_write
from raymu.store.codec import seal, to_json, unseal


@dataclass(frozen=True, kw_only=True, slots=True)
class FinishedTrial:
    """A trial that ran to its end."""

    choice: Choice
    interim: tuple[tuple[int, InterimScore], ...]
    """Requests accepted so far, and the score then, in order."""
    score: Score


class FinishedTrials:
    """The finished trials in the folder of a search, one file each, sealed: nobody else's scores choose a setting."""

    def __init__(self, folder: Path, key: bytes) -> None:
        """Name the folder of a search. key: `hash.key` of the run, which seals the trials"""
        self._folder, self._key = folder / "finished", key

    def find(self, choice: Choice) -> FinishedTrial | None:
        """Return the trial of a choice; None if none has ended, or if its file was changed."""
        with suppress(OSError, FileCorrupt):
            file = self._file(choice)
            trial: FinishedTrial = unseal(FinishedTrial, file.read_bytes(), self._key, source=str(file))
            return trial if trial.choice == choice else None
        return None

    def write(self, trial: FinishedTrial) -> None:
        """Keep a trial. Raises OSError."""
        self._folder.mkdir(exist_ok=True)
        with atomic_write(self._file(trial.choice)) as partial:
            partial.write_bytes(seal(trial, self._key))

    def _file(self, choice: Choice) -> Path:
        return self._folder / f"{hashlib.sha256(to_json(choice)).hexdigest()[:16]}.json"
