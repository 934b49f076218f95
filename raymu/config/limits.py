"""Limits of settings: of a file, of the tree that it holds, and of every number and text in that tree.

Whatever is beyond them is refused with the limit in the message, before anything is computed from it.
"""

import math
import re
from collections.abc import Iterator
from typing import Any

from raymu.errors import ConfigInvalid
from raymu.text import one_line

MAX_FILE_BYTES = 1_000_000
"""Bytes of a file of settings."""
MAX_DEPTH = 50
"""Branches within branches."""
MAX_VALUES = 100_000
"""Values of a file, each as often as anchors repeat it."""

MAX_COUNT = 1_000_000_000
"""Every count that has no limit of its own: samples, steps, actors."""
MAX_SHARDS = 100_000
MAX_SLICES = 10_000
MAX_EPOCHS = 1_000_000
MAX_CLASSES = 1_000_000
MAX_LAYERS = 1_000
MAX_WIDTH = 1_000_000
"""Units of a layer."""
MAX_THREADS = 256
MAX_MODELS = 100_000
"""Models that an audit or a search trains beside those of the run."""
MAX_RANKS = 64
MAX_LANE = 1_024
"""Shards that one worker trains side by side."""
"""Processes that share a shard."""

_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
"""Control characters but tab and line ends, and halves of characters, which UTF-8 does not have."""


def check_tree(tree: Any) -> None:
    """Raise ConfigInvalid if a tree of settings is too deep or too large, or holds a value that no setting can have."""
    values = 0
    pending: list[tuple[tuple[str, ...], Any]] = [((), tree)]
    while pending:
        path, value = pending.pop()
        values += 1
        if values > MAX_VALUES:
            raise ConfigInvalid(f"the settings have more than {MAX_VALUES:,} values, anchors included; use fewer")
        if problem := _problem(value):
            raise ConfigInvalid(f"{_shown(path)}{problem}")
        members = list(_members(path, value))
        if members and len(path) >= MAX_DEPTH:
            raise ConfigInvalid(f"{_shown(path[:3])}is nested more than {MAX_DEPTH} deep; use fewer branches")
        pending += reversed(members)


def _members(path: tuple[str, ...], value: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(value, dict):
        for name, member in value.items():
            if not isinstance(name, str):
                raise ConfigInvalid(f"{_shown(path)}the name {one_line(repr(name))} is not text; put it in quotes")
            if _UNPRINTABLE.search(name):
                raise ConfigInvalid(f"{_shown(path)}the name {one_line(repr(name))} has control characters")
            yield (*path, name), member
    elif isinstance(value, list | tuple):
        for index, member in enumerate(value):
            yield (*path, str(index)), member


def _problem(value: Any) -> str | None:
    """Return what is wrong with a single value."""
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return "does not fit in 64 bits; give a smaller number"
    if isinstance(value, float) and not math.isfinite(value):
        return f"must be a finite number, not {value}"
    if isinstance(value, str) and _UNPRINTABLE.search(value):
        return "has control characters, or text that is not UTF-8; write it without them"
    return None


def _shown(path: tuple[str, ...]) -> str:
    return f"{one_line('.'.join(path), longest=100)}: " if path else ""
