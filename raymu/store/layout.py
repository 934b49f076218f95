"""What lies where in a run directory: every kind of file that raymu writes there."""

import re
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa

MANIFEST = "run.json"
TERM = "epoch"
"""The term of the coordinator that may write, for those who cannot see the journal."""
UNFINISHED = "unfinished"
"""There while a run is being created: without it, files that raymu did not write are never touched."""

_DIGEST = r"-[0-9a-f]{16}\."
_COMMAND = r"(repair-\d{4,}-[0-9a-f]{16}|train-\d{4,})"
KINDS: Mapping[str, re.Pattern[str]] = {
    kind: re.compile(pattern)
    for kind, pattern in {
        "manifest": r"run\.json",
        "epoch": r"epoch",
        "key": r"(hash|signing)\.key|signing\.pub",
        "journal": r"journal\.sqlite",
        "journal's log": r"journal\.sqlite-(wal|shm|journal)",
        "journal's seal": r"journal\.seal",
        "generation": r"generations/\d{8,}\.json",
        "samples": rf"samples/\d{{4,}}(-pyarrow(?P<writer>[\w.]+))?{_DIGEST}parquet",
        "checkpoint": rf"shards/\d{{4,}}/stage-\d+{_DIGEST}safetensors",
        "updates": rf"shards/\d{{4,}}/updates-\d+{_DIGEST}safetensors",
        "patched state": rf"shards/\d{{4,}}/patched{_DIGEST}safetensors",
        "report": rf"reports/{_COMMAND}\.json",
        "partial report": rf"reports/{_COMMAND}\.interim\.json",
        "mark of an unfinished run": UNFINISHED,
    }.items()
}
"""By the path within the run directory."""


def is_run(folder: Path) -> bool:
    """Whether a run lies in a folder on disk, or what is left of one whose creation broke off. Raises OSError."""
    return any((folder / mark).is_file() for mark in (MANIFEST, UNFINISHED))


def shard_folder(shard: int) -> str:
    """Where a shard's checkpoints and recorded updates lie."""
    return f"shards/{shard:04d}/"


def samples_stem(shard: int) -> str:
    """What the names of a shard's tables begin with."""
    return f"samples/{shard:04d}"


def table_stem(shard: int) -> str:
    """The same for one that is written now. The same samples are the same bytes in one version of pyarrow only."""
    return f"{samples_stem(shard)}-pyarrow{pyarrow_version()}"


def pyarrow_version() -> str:
    return str(pa.__version__).partition("+")[0]


def pyarrow_version_of(path: str) -> str | None:
    """The version of pyarrow that wrote a table; None where its name does not say."""
    found = KINDS["samples"].fullmatch(path)
    return found["writer"] if found else None


def kind_of(path: str) -> str | None:
    """None for what is no file of a run."""
    return next((kind for kind, pattern in KINDS.items() if pattern.fullmatch(path)), None)
