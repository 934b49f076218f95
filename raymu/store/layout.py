"""The layout of a run directory: every kind of file that raymu writes there, by its path."""

import re
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa

MANIFEST = "run.json"
TERM = "epoch"
"""The file of the term of the coordinator that may write, for workers that cannot read the journal."""
PRESENCE = "coordinator.json"
"""The file that says where the run's coordinator is up."""
UNFINISHED = "unfinished"
"""A file that exists while a run is being created. Without it raymu never touches files that it did not write."""

_DIGEST = r"-[0-9a-f]{16}\."
_COMMAND = r"(repair-\d{4,}-[0-9a-f]{16}|train-\d{4,})"
KINDS: Mapping[str, re.Pattern[str]] = {
    kind: re.compile(pattern)
    for kind, pattern in {
        "manifest": r"run\.json",
        "epoch": r"epoch",
        "coordinator": r"coordinator\.json",
        "verdict": r"verdict-(verify|audit)\.json",
        "key": r"(hash|signing)\.key|signing\.pub",
        "journal": r"journal\.sqlite",
        "journal's log": r"journal\.sqlite-(wal|shm|journal)",
        "journal's seal": r"journal\.seal",
        "generation": r"generations/\d{8,}\.json",
        "samples": rf"samples/\d{{4,}}(-pyarrow(?P<writer>[\w.]+))?{_DIGEST}parquet",
        "sample index": rf"samples/\d{{4,}}-index{_DIGEST}arrow",
        "routes": rf"routes-(?P<part>\d{{4,}})-(?P<parts>\d{{4,}}){_DIGEST}arrow",
        "held-out samples": rf"held-out{_DIGEST}parquet",
        "checkpoint": rf"shards/\d{{4,}}/stage-\d+{_DIGEST}safetensors",
        "updates": rf"shards/\d{{4,}}/updates-\d+{_DIGEST}safetensors",
        "patched state": rf"shards/\d{{4,}}/patched{_DIGEST}safetensors",
        "base weights": rf"base{_DIGEST}safetensors",
        "report": rf"reports/{_COMMAND}\.json",
        "partial report": rf"reports/{_COMMAND}\.interim\.json",
        "mark of an unfinished run": UNFINISHED,
    }.items()
}
"""Kinds of files, each with the pattern of its paths within the run directory."""


def is_run(folder: Path) -> bool:
    """Return whether a folder on disk contains a run, or the remains of an interrupted creation. Raises OSError."""
    return any((folder / mark).is_file() for mark in (MANIFEST, UNFINISHED))


def verdict_path(check: str) -> str:
    """Return the path of the last verdict of a check."""
    return f"verdict-{check}.json"


def shard_folder(shard: int) -> str:
    """Return the folder of a shard's checkpoints and recorded updates."""
    return f"shards/{shard:04d}/"


def samples_stem(shard: int) -> str:
    """Return the beginning of the paths of a shard's tables."""
    return f"samples/{shard:04d}"


def index_stem(shard: int) -> str:
    """Return the beginning of the path of the index of a shard's table."""
    return f"{samples_stem(shard)}-index"


def table_stem(shard: int) -> str:
    """Return the beginning of the path of a new table. Equal samples are equal bytes in one version of pyarrow only."""
    return f"{samples_stem(shard)}-pyarrow{pyarrow_version()}"


def routes_stem(part: int, parts: int) -> str:
    """Return the beginning of the path of one part of some routes."""
    return f"routes-{part:04d}-{parts:04d}"


def routes_part(path: str) -> tuple[int, int]:
    """Return which part of some routes a file has, and into how many they are divided."""
    match = KINDS["routes"].fullmatch(path)
    return (int(match["part"]), int(match["parts"])) if match else (0, 1)


def pyarrow_version() -> str:
    """Return the installed version of pyarrow, without a local suffix."""
    return str(pa.__version__).partition("+")[0]


def pyarrow_version_of(path: str) -> str | None:
    """Return the version of pyarrow that wrote a table; None if its name does not contain one."""
    match = KINDS["samples"].fullmatch(path)
    return match["writer"] if match else None


_PARTIAL = re.compile(r"((samples|generations|reports|shards/\d{4,})/)?\.([\w.-]+\.)?[0-9a-f]+\.partial")


def is_partial(path: str) -> bool:
    """Return whether a path is one under which raymu writes a file before it renames it."""
    return _PARTIAL.fullmatch(path) is not None


def kind_of(path: str) -> str | None:
    """Return the kind of a file by its path; None if raymu writes no such file."""
    return next((kind for kind, pattern in KINDS.items() if pattern.fullmatch(path)), None)
