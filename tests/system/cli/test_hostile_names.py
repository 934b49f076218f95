"""Names of runs, files, columns and classes reach the terminal escaped: they move no cursor and turn no text around."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from raymu.cli import run_command
from raymu.text import printable
from tests.support.examples import write_samples

HOSTILE = "a\x1bc\x07\u202eb\nverdict: pass\r\x9b31m"
"""Clears the screen, rings, turns the direction of text, begins lines of its own, and colours."""
FILE = HOSTILE.replace("\n", "").replace("\r", "")
"""The same as the name of a file: libraries refuse line breaks in paths."""
SETTING = "a\u202eb verdict: pass"
"""The same as a setting, which has no control characters."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of a hostile name, with a table whose columns and classes have such names too."""
    folder = tmp_path_factory.mktemp("hostile") / SETTING
    folder.mkdir()
    table = write_samples(folder / "plain.parquet", samples=80)
    labels = pa.array([f"{label} {HOSTILE}" for label in table["label"].to_pylist()])
    table = table.set_column(table.column_names.index("label"), SETTING, labels)
    pq.write_table(table, folder / f"{SETTING}.parquet")
    tree = {
        "data": {"train": str(folder / f"{SETTING}.parquet"), "label": SETTING},
        "model": {"name": "mlp", "hidden": [8]},
        "training": {"epochs": 2, "batch_size": 16},
        "partition": {"shards": 2, "slices": 2},
        "cluster": {"fleet": "local"},
    }
    (folder / f"{FILE}.yaml").write_text(yaml.safe_dump(tree))
    assert run_command(["train", str(folder / f"{FILE}.yaml"), "--run", str(folder / FILE)]) == (0, "")
    return folder


def shown(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Return all that a command prints."""
    _, line = run_command(words)
    printed = capsys.readouterr()
    return f"{printed.out}{printed.err}{line}"


def test_no_command_prints_what_a_name_has_the_terminal_do(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, table, out = (str(folder / name) for name in (FILE, f"{SETTING}.parquet", f"{FILE}.csv"))
    commands = [
        ["train", str(folder / f"{FILE}.yaml"), "--run", str(folder / f"{FILE} too")],
        ["train", str(folder / f"{FILE}.yaml"), "--run", run],  # exists already
        ["train", str(folder / f"{FILE}.yaml"), "--run", str(folder / "x"), f"data.{HOSTILE}=1"],
        ["status", run],
        ["plan", run, "--id", "7"],
        ["revoke", run, "--id", "7"],
        ["revoke", run, "--id", HOSTILE],
        ["revoke", run, "--ids-file", out],
        ["receipts", run],
        ["receipts", run, "--request", HOSTILE],
        ["verify", run],
        ["settle", run],
        ["rebuild", run, "--training-data", out],
        ["evaluate", run, "--test-data", table],
        ["predict", run, "--data", table, "--out", out],
        ["report", run, "--out", str(folder / f"{FILE}.html")],
        ["report", run, "--audit-file", table],
        ["audit", run, "--request", HOSTILE],
        ["import", out, "--out", table],
        ["simulate", str(folder / f"{FILE}.yaml"), "--requests", HOSTILE],
        ["status", f"{run}/{HOSTILE}"],
        [HOSTILE],
        ["status", f"--{HOSTILE}"],
    ]
    for words in commands:
        text = shown(words, capsys)
        assert text.strip(), words
        assert printable(text.replace("\n", "")) == text.replace("\n", ""), words
        assert "\nverdict: pass\n" not in text.replace("\nverdict: pass\n", "", words[0] == "verify"), words


def test_a_page_of_hostile_names_has_none_of_them(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_command(["report", str(folder / FILE), "--verify", "--out", str(tmp_path / "page.html")])
    page = (tmp_path / "page.html").read_text()
    assert "verdict: pass" in page
    assert printable(page.replace("\n", "")) == page.replace("\n", "")
    capsys.readouterr()
