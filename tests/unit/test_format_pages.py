"""The pages in docs/formats name every field and every file that version 0.1 stored."""

import json
import re
import sqlite3
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from raymu.core.commands import RepairReport
from raymu.core.prediction_change import PredictionChange
from raymu.core.receipt import Receipt, ShardReceipt
from raymu.store.layout import kind_of
from tests.support.format_pages import PAGES, documented, field_names, undocumented

ROOT = Path(__file__).parents[2]
GOLDEN_RUNS = sorted(folder for folder in (ROOT / "tests" / "golden_runs" / "0.1").iterdir() if folder.is_dir())


def rows(folder: Path, query: str) -> list[Any]:
    connection = sqlite3.connect(f"file:{folder / 'journal.sqlite'}?immutable=1", uri=True)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


@pytest.fixture(params=GOLDEN_RUNS, ids=lambda folder: folder.name)
def folder(request: pytest.FixtureRequest) -> Path:
    run: Path = request.param
    return run


def test_every_field_of_the_manifest_and_of_the_seal_is_documented(folder: Path) -> None:
    manifest = json.loads((folder / "run.json").read_text()) | {"config": {}}
    seal = json.loads((folder / "journal.seal").read_text())
    assert undocumented([manifest, seal], "run-directory") <= {"path", "sha256", "byte_size"}


def test_every_field_of_a_generation_is_documented(folder: Path) -> None:
    [file] = (folder / "generations").iterdir()
    assert undocumented(json.loads(file.read_text()), "generation") <= {"path", "sha256", "byte_size"}


def test_every_field_of_every_event_is_documented(folder: Path) -> None:
    events = [json.loads(payload) for (payload,) in rows(folder, "SELECT payload FROM events")]
    unlearning = {
        name for event in events if event["kind"] == "configured" for name in field_names(event["unlearning"])
    }
    names = {name for event in events for name in (event["kind"], *field_names(event)) if not name.isdigit()}
    assert names - unlearning - documented("journal", "generation") <= {"path", "sha256", "byte_size"}


def test_every_field_of_a_receipt_is_documented(folder: Path) -> None:
    receipts = [json.loads(document) for (document,) in rows(folder, "SELECT document FROM ledger")]
    assert receipts
    assert undocumented(receipts, "receipt") == set()


@pytest.mark.parametrize(
    ("record", "pages"),
    [
        (RepairReport, ("journal", "generation")),
        (PredictionChange, ("journal",)),
        (Receipt, ("receipt",)),
        (ShardReceipt, ("receipt",)),
        (PredictionChange, ("receipt",)),
    ],
)
def test_every_field_that_this_version_stores_is_documented(record: Any, pages: tuple[str, ...]) -> None:
    assert {field.name for field in fields(record)} - documented(*pages) == set()


def test_every_table_and_column_is_documented(folder: Path) -> None:
    tables = {name for (name,) in rows(folder, "SELECT name FROM sqlite_master WHERE type = 'table'")}
    columns = {row[1] for table in tables for row in rows(folder, f"PRAGMA table_info({table})")}
    assert (tables | columns) - documented("journal") == set()


def test_every_path_on_the_page_is_one_of_a_run() -> None:
    page = (PAGES / "run-directory.md").read_text(encoding="utf-8")
    tree = page.split("```text")[1].split("```")[0]
    paths = [word for line in tree.splitlines()[2:] for word in line.split("  ") if re.match(r"\s*[\w./-]+$", word)]
    assert paths
    assert [path for path in map(str.strip, paths) if kind_of(path) is None] == []
