"""The last verdict of each command that checks a run, in small files of the run: for metrics and pages of a service.

A file is sealed, so that nobody without the key of the run can write a pass. It is no proof of the past: a file that is
missing, or whose seal is broken, counts as no verdict. A file of anybody else is not replaced.
"""

from contextlib import suppress

from raymu.core.verdict import CHECKS, CheckName, LastVerdict
from raymu.errors import FileCorrupt, FileMissing, FileUnreadable, RunInvalid
from raymu.store.codec import seal, unseal
from raymu.store.files.run_files import RunFiles
from raymu.store.keys import RunKeys
from raymu.store.layout import verdict_path


class VerdictFiles:
    """The files of a run that say how checks of it ended last."""

    def __init__(self, files: RunFiles, keys: RunKeys) -> None:
        self._files, self._keys = files, keys

    def keep(self, verdict: LastVerdict) -> None:
        """Write how a check ended, in the place of the one before it.

        Raises:
            RunInvalid: A file is there that no command wrote. It stays as it is, so that each verification reports it.
            RaymuError: FileMissing, FileCorrupt, StorageFailed.
        """
        if self._is_foreign(verdict.check, run=verdict.run):
            path = self._files.display_path(verdict_path(verdict.check))
            raise RunInvalid(path, f"is not what `raymu {verdict.check}` wrote, and stays as it is; remove it")
        self._files.write(verdict_path(verdict.check), seal(verdict, self._keys.hash_key))

    def read(self, check: CheckName, *, run: str) -> LastVerdict | None:
        """Return how a check ended last; None if nobody has checked, or if the file is not what a command wrote.

        Args:
            check: Which check.
            run: Id of the run: a copy of its keys may belong to another one.
        """
        with suppress(FileMissing, FileUnreadable):
            return self._own(check, run=run)
        return None

    def all(self, *, run: str) -> tuple[LastVerdict, ...]:
        """Return how each check ended last, of those that were made."""
        verdicts = (self.read(check, run=run) for check in CHECKS)
        return tuple(verdict for verdict in verdicts if verdict is not None)

    def foreign(self, *, run: str) -> list[str]:
        """Return the paths of files in these places that no command wrote. A file that cannot be read now is not judged."""
        return [verdict_path(check) for check in CHECKS if self._is_foreign(check, run=run)]

    def _is_foreign(self, check: CheckName, *, run: str) -> bool:
        with suppress(FileMissing, FileUnreadable):
            return self._own(check, run=run) is None
        return False

    def _own(self, check: CheckName, *, run: str) -> LastVerdict | None:
        """Return what a command wrote; None if the file is of anybody else. Raises FileMissing, FileUnreadable."""
        path = verdict_path(check)
        payload, source = self._files.read(path), self._files.display_path(path)
        try:
            verdict: LastVerdict = unseal(LastVerdict, payload, self._keys.hash_key, source=source)
        except (FileCorrupt, RecursionError):
            return None
        return verdict if (verdict.run, verdict.check) == (run, check) else None
