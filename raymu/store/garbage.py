"""The garbage of a run: samples and states that nothing needs, partly written files, and reports of ended commands."""

import re
from collections.abc import Collection

from raymu.core.records import FileRef
from raymu.store.files.run_files import RunFiles
from raymu.store.layout import UNFINISHED, is_partial, kind_of, samples_stem, shard_folder
from raymu.store.reports import WorkReports

_CONTENT = frozenset({"samples", "sample index", "routes", "checkpoint", "updates", "patched state"})
"""Kinds of files that are named by their content, and that generations refer to."""


class GarbageFiles:
    """Finds and destroys the garbage of a run."""

    def __init__(self, files: RunFiles, reports: WorkReports) -> None:
        """Name the files of a run, and the reports among them."""
        self._files, self._reports = files, reports

    def paths(self, needed: Collection[FileRef], *, shard: int | None = None) -> list[str]:
        """Return the paths of samples and states that nothing needs, and of partly written files.

        Args:
            needed: The files that something refers to.
            shard: Shard whose files are examined. None examines all files of the run.
        """
        kept = {ref.path for ref in needed}
        if shard is None:
            paths = self._files.walk()
        else:
            paths = [path for path in self._files.walk("samples") if path.startswith(f"{samples_stem(shard)}-")]
            paths += self._files.walk(shard_folder(shard))
        return [path for path in paths if _can_be_garbage(path) and path not in kept]

    def delete(self, needed: Collection[FileRef], reports: Collection[str]) -> None:
        """Destroy garbage, and the reports of all commands but these. Only while no repair is running."""
        # Partly written files first: afterwards a superseded worker can no longer rename one.
        self._files.delete(*filter(is_partial, self._files.partial_writes()))
        self._files.delete(*self.paths(needed))
        self._reports.delete_except(reports)

    def delete_of_shard(self, needed: Collection[FileRef], reports: Collection[str], shard: int) -> None:
        """Destroy the garbage of one shard, and its reports of all commands but these, while no repair of it is running."""
        self.delete_partial_writes(shard)
        self._files.delete(*self.paths(needed, shard=shard))
        self._reports.delete_except(reports, shard=shard)

    def delete_partial_writes(self, shard: int) -> None:
        """Destroy files that a lost worker did not finish writing, while no repair of the shard is running."""
        of_shard = re.compile(rf"{shard_folder(shard)}|(samples|reports)/\.([a-z]+-)?{shard:04d}\b")
        folders = (shard_folder(shard), "samples", "reports")
        partial_writes = (path for folder in folders for path in self._files.partial_writes(folder))
        self._files.delete(*(path for path in partial_writes if of_shard.match(path) and is_partial(path)))


def _can_be_garbage(path: str) -> bool:
    """Return whether a file can be deleted where nothing needs it. A file that raymu never writes is the user's."""
    return kind_of(path) in _CONTENT or is_partial(path) or path == UNFINISHED
