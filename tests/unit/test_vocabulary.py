"""One word, one meaning (docs/glossary.md): words that the glossary has replaced do not come back."""

import ast
import re
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "raymu"
TESTS = Path(__file__).parents[1]
FOLDERS = pytest.mark.parametrize("folder", [PACKAGE, TESTS], ids=["raymu", "tests"])
REPLACED = frozenset(
    [
        "foreseen",
        "fate",
        "fates",
        "prospect",
        "prospects",
        "outlook",
        "outlooks",
        "survey",
        "surveys",
        "pace",
        "paces",
        "telling",
        "told",
        "desk",
        "salvage",
        "bench",
        "parcel",
        "parcels",
        "handover",
        "aims",
        "worklist",
        "backlog",
        "sweeper",
        "succession",
        "lone",
        "odds",
    ]
)
"""Parts of names, of files and of identifiers, and words of docstring titles."""
IN_PROSE = frozenset({"aims", "lone"})
"""Those of them that are good in a sentence: what a calibration aims at, lone surrogates."""
KEPT = frozenset({"odds", "log_odds", "paces"})
"""Whole names that are allowed: terms of statistics, and a field of `raymu status --json`, which stays."""
MODULES = frozenset(
    {"settling", "sweeping", "standing", "observing", "tracking", "publishing", "mounts", "at_rest", "entry"}
)
"""Names that modules and packages may not have; their words are good elsewhere."""
PLACEHOLDERS = frozenset({"one", "found", "asked", "told", "wanted", "given"})
"""Names of variables and parameters that say nothing of the record that they hold."""


def parts(name: str) -> set[str]:
    """Return the words of a snake_case or CamelCase name, in lower case."""
    if name.strip("_") in KEPT or "log_odds" in name:
        return set()
    return {word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)}


def defined_names(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield the line and the name of everything that a module defines, binds or takes as a parameter."""
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield node.lineno, name
            case ast.Name(id=name, ctx=ast.Store()):
                yield node.lineno, name
            case ast.arg(arg=name):
                yield node.lineno, name
            case ast.Attribute(attr=name, ctx=ast.Store()):
                yield node.lineno, name
            case _:
                pass


def titles(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield the line and the first line of every docstring."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            title, _, _ = (ast.get_docstring(node) or "").partition("\n")
            yield getattr(node, "lineno", 1), title


@cache
def modules(folder: Path) -> Sequence[tuple[str, ast.AST]]:
    return [
        (str(path.relative_to(folder.parent)), ast.parse(path.read_text(encoding="utf-8")))
        for path in sorted(folder.rglob("*.py"))
    ]


def test_no_file_has_a_replaced_word_in_its_name() -> None:
    named = {path.relative_to(PACKAGE) for path in PACKAGE.rglob("*") if path.suffix in (".py", ".html", ".css")}
    assert [str(path) for path in sorted(named) if parts(path.stem) & REPLACED or path.stem in MODULES] == []


@FOLDERS
def test_no_identifier_has_a_replaced_word(folder: Path) -> None:
    names = [
        f"{path}:{line} {name}"
        for path, tree in modules(folder)
        for line, name in defined_names(tree)
        if parts(name) & REPLACED
    ]
    assert not names, f"{len(names)} names:\n" + "\n".join(names)


@FOLDERS
def test_no_docstring_has_a_replaced_word_in_its_first_line(folder: Path) -> None:
    lines = [
        f"{path}:{line} {title}"
        for path, tree in modules(folder)
        for line, title in titles(tree)
        if set(re.findall(r"[a-z]+", title.replace("log odds", "").lower())) & (REPLACED - IN_PROSE)
    ]
    assert not lines, f"{len(lines)} docstrings:\n" + "\n".join(lines)


@FOLDERS
def test_no_variable_is_a_placeholder(folder: Path) -> None:
    names = [
        f"{path}:{line} {name}"
        for path, tree in modules(folder)
        for line, name in defined_names(tree)
        if name.strip("_") in PLACEHOLDERS
    ]
    assert not names, f"{len(names)} variables:\n" + "\n".join(names)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("ShardOdds", {"shard", "odds"}),
        ("_lone_shard", {"lone", "shard"}),
        ("log_odds", set()),
        ("HTTPDesk", {"http", "desk"}),
    ],
)
def test_a_name_is_split_into_its_words(name: str, words: set[str]) -> None:
    assert parts(name) == words
