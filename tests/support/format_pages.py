"""The names that the pages in docs/formats explain."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PAGES = Path(__file__).parents[2] / "docs" / "formats"


def documented(*pages: str) -> set[str]:
    """Return the names in code style on these pages."""
    text = "".join((PAGES / f"{page}.md").read_text(encoding="utf-8") for page in pages)
    return set(re.findall(r"`([\w.]+)`", text))


def field_names(tree: Any) -> Iterator[str]:
    """Yield the keys of nested JSON objects, without those that are numbers of shards or slices."""
    if isinstance(tree, dict):
        for name, value in tree.items():
            yield name
            yield from field_names(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from field_names(value)


def undocumented(tree: Any, *pages: str) -> set[str]:
    return {name for name in field_names(tree) if not name.isdigit()} - documented(*pages)
