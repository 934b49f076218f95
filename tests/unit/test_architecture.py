"""docs/architecture.md lists every module of raymu, and names no file that does not exist."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
MODULES = {str(path.relative_to(ROOT)) for path in (ROOT / "raymu").rglob("*.py") if path.name != "__init__.py"}


def test_every_module_has_a_line() -> None:
    listed = set(re.findall(r"^\| `(raymu/[\w/]+\.py)` \| \S", PAGE, flags=re.MULTILINE))
    assert MODULES - listed == set(), "run docs/file_table.py"
    assert listed - MODULES == set(), "run docs/file_table.py"


def test_every_file_that_is_named_exists() -> None:
    named = re.findall(r"`((?:raymu|tests|experiments|docs)/[\w/.]*)`", PAGE)
    assert named
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_every_link_leads_to_a_file() -> None:
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]:
        links = re.findall(r"\]\(([^)#:]+?)(?:#[\w-]+)?\)", page.read_text(encoding="utf-8"))
        assert [link for link in links if not (page.parent / link).exists()] == [], page.name
