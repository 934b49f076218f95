"""After a purge, nothing that a command prints or keeps names a revoked sample, its owner, its row or a request's key."""

import io
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from pypdf import PdfReader

from raymu.cli import run_command
from tests.support.examples import write_samples

ROWS = (1109, 1213, 1321)
"""Rows of the training file whose samples are revoked."""
OWNER = "owner-1777"
KEY = "ticket-of-a-person"


@dataclass(frozen=True, kw_only=True)
class Everything:
    """What a whole run printed after its purge, and where it keeps its files."""

    printed: Mapping[str, str]
    """Command -> standard output and standard error."""
    folder: Path


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Everything:
    """Train, revoke with everything switched on, and settle; then call every command that shows something."""
    folder = tmp_path_factory.mktemp("everything")
    table = write_samples(folder / "all.parquet", samples=1400, text_ids=True, owners=100)
    owners = [OWNER if row in (1409, 1051, 1153) else owner for row, owner in enumerate(table["owner"].to_pylist())]
    table = table.set_column(table.column_names.index("owner"), "owner", pa.array(owners))
    pq.write_table(table, folder / "all.parquet")
    settings = {
        "data": {"train": "all.parquet", "test": "all.parquet", "owner": "owner", "classes": 3, "track_accuracy": True},
        "model": {"name": "logistic"},
        "training": {"epochs": 1, "batch_size": 64},
        "partition": {"shards": 3, "slices": 2, "seed": 3},
        "cluster": {"fleet": "local"},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    lines = [f"sample-{row},,{KEY}-{row}" for row in ROWS]
    (folder / "requests.csv").write_text("\n".join(["id,owner,key", *lines, f",{OWNER},{KEY}-owner"]))
    setting_up = (
        "train config.yaml run --json",
        "plan run --id sample-1109",
        "revoke run --requests requests.csv --strategy dpus",
        "settle run",
    )
    for line in setting_up:
        assert _run(folder, line)[0] == 0, line
    showing = (
        "status run",
        "status run --json",
        "receipts run",
        "receipts run --json",
        "verify run --replay",
        "verify run --replay --json",
        "audit run --shadow-models 4 --repetitions 0",
        "audit run --shadow-models 4 --repetitions 3 --json",
        "report run --verify --test-data all.parquet --audit-file audit.json --out report.html",
        "receipts run --html receipts.html --pdf receipts.pdf",
        "bom run model.cdx.json --json",
        "rebuild run",
        "settle run --json",
    )
    printed = {}
    for line in showing:
        code, out, err = _run(folder, line)
        assert code in (0, 1, 3), f"{line}: {out}{err}"
        printed[line] = out + err
        if line.startswith("audit") and "--json" in line:
            (folder / "audit.json").write_text(out)
    printed |= {name: (folder / name).read_text() for name in ("report.html", "receipts.html", "model.cdx.json")}
    printed["receipts.pdf"] = "\n".join(page.extract_text() for page in PdfReader(folder / "receipts.pdf").pages)
    return Everything(printed=printed, folder=folder)


def _run(folder: Path, line: str) -> tuple[int, str, str]:
    """Run a command with every log event."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.chdir(folder)
        patch.setenv("RAYMU_ANCHORS", str(folder / "anchors"))
        code, error = run_command(["--log", "json", *line.split()])
    return code, out.getvalue(), f"{err.getvalue()}{error}"


def _names() -> Iterator[re.Pattern[str]]:
    for word in (*(f"sample-{row}" for row in ROWS), "sample-1409", OWNER, KEY):
        yield re.compile(rf"{re.escape(word)}(?!\d)")
    for row in ROWS:
        yield re.compile(rf"(?<![\w.]){row}(?![\w.])")  # not within a hash


NAMES = tuple(_names())


def test_the_search_finds_what_is_there(everything: Everything) -> None:
    request = (everything.folder / "requests.csv").read_text()
    assert sum(bool(name.search(request)) for name in NAMES) >= len(NAMES) - 1


def test_nothing_that_is_printed_names_a_sample(everything: Everything) -> None:
    naming = {
        command: name.pattern for command, text in everything.printed.items() for name in NAMES if name.search(text)
    }
    assert naming == {}


def test_no_file_that_is_kept_names_a_sample(everything: Everything) -> None:
    kept = [path for part in ("run", "anchors") for path in (everything.folder / part).rglob("*") if path.is_file()]
    assert kept
    words = NAMES[: -len(ROWS)]  # a number can be any byte
    named = []
    for path in kept:
        texts = [path.read_bytes().decode("latin-1")]
        if path.suffix == ".parquet":
            texts.append(json.dumps(pq.read_table(path).to_pydict(), default=str))
        named += [(path.name, word.pattern) for word in words if any(word.search(text) for text in texts)]
    assert named == []
