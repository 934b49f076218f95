"""`raymu audit --two-snapshots`: its table, its signed document, and the options that do not go with it."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

import raymu
from raymu.cli import run_command
from raymu.console.snapshot_tables import show_two_snapshots
from raymu.core.audit.two_snapshots import PAIR_FEATURES
from raymu.errors import RequestInvalid
from raymu.service.audit.snapshot_report import SNAPSHOT_ROWS, SnapshotScope
from tests.support.examples import make_config, write_samples
from tests.support.format_pages import documented, undocumented
from tests.support.snapshot_reports import snapshot_report
from tests.support.terminal import faults, rendered

OPTIONS = ["--two-snapshots", "--changes", "8", "--at-least", "3"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("command")
    write_samples(folder / "all.parquet", samples=120, text_ids=True)
    raymu.train(make_config(folder / "all.parquet"), folder / "run").close()
    return folder / "run"


@pytest.fixture(scope="module")
def tree(run: Path) -> Any:
    """The document of a run, as Python gives it."""
    opened = raymu.open_run(run)
    return opened.audit_document(opened.audit_two_snapshots(SnapshotScope(changes=8, at_least=3)))


def test_the_command_prints_the_document_that_python_returns_and_ends_with_0(
    run: Path, tree: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["audit", str(run), *OPTIONS, "--json"])[0] == 0
    printed = json.loads(capsys.readouterr().out)
    own = {"audited_at", "seconds", "signature"}
    assert {name: value for name, value in printed.items() if name not in own} == {
        name: value for name, value in tree.items() if name not in own
    }
    assert (printed["schema"], printed["version"], printed["generation"]) == ("raymu.two_snapshots", 1, 1)


def test_its_fields_are_documented_and_so_are_their_words(tree: Any) -> None:
    assert not undocumented(tree, "audit")
    assert {*PAIR_FEATURES, *SNAPSHOT_ROWS} <= documented("audit")
    assert "raymu.two_snapshots" in documented("json")


def test_its_signature_is_checked_as_that_of_any_audit(run: Path, tree: Any, tmp_path: Path) -> None:
    file = tmp_path / "measured.json"
    file.write_text(json.dumps(tree))
    document = raymu.open_run(run).read_audit(file)
    assert (document.verdict, document.is_signed) == (None, True)
    assert str(document) == "audit with two snapshots of generation 1; signed by the run's key"
    assert run_command(["audit", str(run), "--check", str(file)])[0] == 0
    for changed, problem in (
        ({"changes": 4}, "was changed"),
        ({"run": "other"}, "is an audit of run other"),
        ({"generation": 7, "signature": None}, "a state that the run never had"),
        ({"rows": None, "signature": None}, "run `raymu audit` again"),
    ):
        file.write_text(json.dumps({**tree, **changed}))
        with pytest.raises(RequestInvalid, match=problem):
            raymu.open_run(run).read_audit(file)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--two-snapshots", "--request", "r"], "--request is not for --two-snapshots"),
        (["--two-snapshots", "--shadow-models", "4"], "--shadow-models is not for --two-snapshots"),
        (["--changes", "8"], "--changes is only for --two-snapshots; give that too"),
        (["--two-snapshots", "--changes", "9"], "9 changes: give an even number, 8 or more"),
        (["--two-snapshots", "--at-least", "500"], r"--at-least \d+ is the most"),
    ],
)
def test_what_does_not_go_together_is_refused_in_one_line(run: Path, options: list[str], problem: str) -> None:
    code, line = run_command(["audit", str(run), *options])
    assert code == 2
    assert re.search(problem, line)


def test_the_table_says_how_to_read_it_and_calls_nothing_a_pass() -> None:
    text = " ".join(" ".join(rendered(lambda screen: show_two_snapshots(screen, snapshot_report()), 100)).split())
    assert "retrained 16 0.67 (0.61 to 0.73) 0.51 (0.45 to 0.57) 1.2%" in text
    assert "one guess among 500 samples" in text
    assert "verdict" not in text
    assert "shards that were retrained instead of patched: 2" in text
    assert "patched: by patch, as the strategy hs does beyond its boundary" in text


@pytest.mark.parametrize("width", [40, 80, 100, 160])
def test_nothing_is_broken_at_any_width(width: int) -> None:
    assert list(faults(lambda screen: show_two_snapshots(screen, snapshot_report()), width)) == []
