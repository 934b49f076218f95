"""The command line: exit codes, one-line refusals and JSON."""

import io
import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

import raymu
from raymu.cli import main
from raymu.config import Config
from raymu.core.verdict import LastVerdict, Verdict
from raymu.store.codec import seal
from raymu.store.run import RunStore
from tests.support.examples import write_samples

Cli = Callable[..., tuple[int, str, str]]

TRAIN = ["train", "run.yaml", "--run", "r"]


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Cli:
    """Return a function that runs a command in an empty folder and returns exit code, standard output and standard error."""
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["raymu", *words])
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


def write_config(folder: Path, **branches: dict[str, Any]) -> None:
    tree: dict[str, dict[str, Any]] = {
        "data": {"train": "all.parquet", "test": "all.parquet", "owner": "owner"},
        "model": {"name": "mlp", "hidden": [8]},
        "training": {"epochs": 4, "batch_size": 16, "learning_rate": 0.05},
        "partition": {"shards": 3, "slices": 3, "seed": 3},
        "cluster": {"fleet": "local"},
    }
    for branch, settings in branches.items():
        tree[branch] = {**tree.get(branch, {}), **settings}
    (folder / "run.yaml").write_text(yaml.safe_dump(tree))


def write_bad_files(folder: Path, table: pa.Table) -> None:
    """Write files that commands refuse. `table` has good samples."""
    (folder / "empty.txt").write_text("\n")
    (folder / "empty.csv").write_text("id\n")
    (folder / "wrong.txt").write_text("5\n")
    (folder / "wide.txt").write_text("1000\n", encoding="utf-16")
    (folder / "short.csv").write_text("name,id\nanna,1000\nzoe\n")
    (folder / "full.csv").symlink_to("/dev/full")
    pq.write_table(table.select(["id", "features"]), folder / "bare.parquet")
    pq.write_table(
        table.set_column(0, "id", pa.compute.add(table["id"].cast(pa.float64()), 0.5)), folder / "fractions.parquet"
    )
    pq.write_table(table.set_column(1, "label", pa.array([3] * len(table))), folder / "beyond.parquet")
    pq.write_table(
        pa.table({"features": pa.FixedSizeListArray.from_arrays(pa.array([1.0, 2.0]), 2)}), folder / "narrow.parquet"
    )
    whole = (folder / "all.parquet").read_bytes()
    (folder / "torn.parquet").write_bytes(whole[: len(whole) // 2])
    runs = {"foreign": "{}", "newer": '{"kind": "raymu run", "format": 99}', "nested": "[" * 100_000}
    for name, manifest in runs.items():
        (folder / name).mkdir()
        (folder / name / "run.json").write_text(manifest)
    (folder / "folder" / "run.json").mkdir(parents=True)


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with samples, their configuration, and a trained run, for tests to copy."""
    folder = tmp_path_factory.mktemp("template")
    table = write_samples(folder / "all.parquet")
    write_config(folder)
    write_bad_files(folder, table)
    config = Config.load(folder / "run.yaml")
    raymu.train(
        replace(config, data=replace(config.data, train=str(folder / "all.parquet"))), folder / "runs/run"
    ).close()
    return folder


@pytest.fixture
def trained(template: Path, tmp_path: Path) -> list[int]:
    """Copy a trained run to `runs/run`. Returns its sample ids."""
    shutil.copytree(template, tmp_path, dirs_exist_ok=True, symlinks=True)
    ids: list[int] = pq.read_table(tmp_path / "all.parquet")["id"].to_pylist()
    return ids


def contents(folder: Path) -> dict[str, bytes | None]:
    """Return the bytes of every file, and None for a folder, except the files that SQLite's readers create."""
    paths = [path for path in folder.rglob("*") if not path.name.endswith(("-shm", "-wal"))]
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in paths}


def test_a_run_from_training_to_settlement(cli: Cli, trained: list[int], tmp_path: Path) -> None:
    (tmp_path / "ids.txt").write_text("\n".join(str(sample_id) for sample_id in trained[:3]))
    code, out, err = cli("plan", "runs/run", "--ids-file", "ids.txt", "--strategy", "dpus", "--json")
    assert (code, err) == (0, "")
    forecast = json.loads(out)
    assert set(forecast["strategies"]) == {"sisa", "dpus", "hs", "ohs"}
    assert {"shard", "samples", "earliest_slice", "remedy", "retrain_fraction", "retrain_passes", "retrain_seconds",
            "patch_seconds"} <= set(forecast["shards"][0])  # fmt: skip

    code, out, _ = cli("revoke", "runs/run", "--ids-file", "ids.txt", "--strategy", "dpus", "--json")
    receipt = json.loads(out)
    assert (code, receipt["exactness"], receipt["samples"]) == (0, "approximate", 3)

    status = json.loads(cli("status", "runs/run", "--json")[1])
    assert {shard["state"] for shard in status["shards"]} >= {"approximate"}
    assert status["requests"] == {"accepted": 1, "published": 1, "purged": 1, "settled": 0, "missed": 0, "overdue": 0}
    assert status["debt"]["shards"] == len(receipt["shards"])

    assert cli("settle", "runs/run", "--json")[0] == 0
    status = json.loads(cli("status", "runs/run", "--json")[1])
    assert {shard["state"] for shard in status["shards"]} == {"exact"}
    assert status["debt"] == {"shards": 0, "retrain_passes": 0}

    evaluation = json.loads(cli("evaluate", "runs/run", "--test-data", "all.parquet", "--json")[1])
    assert evaluation["accuracy"] > 0.8
    assert set(evaluation) >= {"accuracy", "constituent_accuracy", "samples"}


def test_plan_changes_nothing(cli: Cli, trained: list[int], tmp_path: Path) -> None:
    before = contents(tmp_path)
    assert cli("plan", "runs/run", "--id", str(trained[0]))[0] == 0
    assert contents(tmp_path) == before


def test_the_forecast_passes_of_a_retraining_are_the_actual_ones(cli: Cli, trained: list[int]) -> None:
    ids = [word for sample_id in trained[:5] for word in ("--id", str(sample_id))]
    forecast = json.loads(cli("plan", "runs/run", *ids, "--strategy", "sisa", "--json")[1])
    receipt = json.loads(cli("revoke", "runs/run", *ids, "--strategy", "sisa", "--json")[1])
    assert [shard["retrain_passes"] for shard in forecast["shards"]] == [shard["passes"] for shard in receipt["shards"]]


def test_an_owner_is_revoked_with_all_samples(cli: Cli, trained: list[int], tmp_path: Path) -> None:
    table = pq.read_table(tmp_path / "all.parquet")
    owned = [
        sample_id for sample_id, owner in zip(trained, table["owner"].to_pylist(), strict=True) if owner == "owner-3"
    ]
    receipt = json.loads(cli("revoke", "runs/run", "--owner", "owner-3", "--json")[1])
    assert receipt["samples"] == len(owned)
    code, _, err = cli("revoke", "runs/run", "--owner", "owner-3")
    assert code == 2
    assert receipt["request_id"] in err


def test_the_status_after_sisa_equals_training_with_exclude(cli: Cli, trained: list[int], tmp_path: Path) -> None:
    (tmp_path / "ids.csv").write_text("id\n" + "\n".join(str(sample_id) for sample_id in trained[:4]))
    cli("revoke", "runs/run", "--ids-file", "ids.csv", "--strategy", "sisa")
    assert cli("train", "run.yaml", "--run", "other", "--exclude-file", "ids.csv")[0] == 0
    run, other = (json.loads(cli("status", place, "--json")[1])["shards"] for place in ("runs/run", "other"))
    assert run == other


def test_predictions_have_the_requested_columns(cli: Cli, trained: list[int], tmp_path: Path) -> None:
    assert cli("predict", "runs/run", "--data", "all.parquet", "--out", "all.csv", "--labels-only")[0] == 0
    assert (tmp_path / "all.csv").read_text().splitlines()[0] == '"id","label","certain"'
    assert cli("predict", "runs/run", "--data", "all.parquet", "--out", "out.parquet")[0] == 0
    table = pq.read_table(tmp_path / "out.parquet")
    probabilities = np.stack([table[f"probability_{number}"].to_numpy() for number in range(3)], axis=1)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, atol=1e-5)
    assert table["id"].to_pylist() == trained


def test_the_same_key_gives_the_same_receipt(cli: Cli, trained: list[int]) -> None:
    words = ["revoke", "runs/run", "--id", str(trained[0]), "--idempotency-key", "order-7", "--json"]
    first = cli(*words)
    assert first[0] == 0
    code, again, _err = cli(*words)
    assert (code, _without_times(again)) == (0, _without_times(first[1]))
    code, _, err = cli("revoke", "runs/run", "--id", str(trained[1]), "--idempotency-key", "order-7")
    assert code == 2
    assert "another payload" in err


def test_a_table_of_requests_is_answered_row_by_row(cli: Cli, trained: list[int], tmp_path: Path) -> None:
    rows = [(trained[0], "a"), (trained[1], ""), (5, ""), (trained[1], ""), (trained[0], "a")]
    (tmp_path / "requests.csv").write_text("id,key\n" + "".join(f"{sample_id},{key}\n" for sample_id, key in rows))
    code, out, err = cli("revoke", "runs/run", "--requests-file", "requests.csv", "--json")
    answers = json.loads(out)["requests"]
    assert (code, err) == (1, "")
    assert [answer["row"] for answer in answers] == [1, 2, 3, 4, 5]
    assert [answer["request_id"] is None for answer in answers] == [False, False, True, True, False]
    assert answers[2]["refusal"] == "1 unknown sample id (5): the run never held them; nothing was changed"
    assert answers[1]["request_id"] in answers[3]["refusal"]
    assert answers[4]["request_id"] == answers[0]["request_id"]
    assert json.loads(cli("status", "runs/run", "--json")[1])["requests"]["purged"] == 2

    (tmp_path / "again.csv").write_text(f"id,key\n{trained[0]},a\n")
    code, out, _ = cli("revoke", "runs/run", "--requests-file", "again.csv", "--json")
    assert (code, json.loads(out)["requests"]) == (0, [answers[0]])
    code, out, err = cli("revoke", "runs/run", "--requests-file", "requests.csv")
    assert (code, err) == (1, "")
    assert "2 of 5 requests accepted, 3 refused" in out


def test_tables_are_drawn_for_people(cli: Cli, trained: list[int]) -> None:
    out = cli("revoke", "runs/run", "--id", str(trained[0]), "--strategy", "ohs")[1]
    assert "rewound after" in out
    assert "generation 3" in cli("status", "runs/run")[1]
    assert "makespan" in cli("plan", "runs/run", "--id", str(trained[1]))[1]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["revoke", "runs/run", "--id", "1"], "1 unknown sample id (1)"),
        (["revoke", "runs/run", "--id", "1000", "--id", "1000"], "names 1 id twice"),
        (["revoke", "runs/run"], "name samples by id, or an owner"),
        (["revoke", "runs/run", "--ids-file", "empty.txt"], "names no samples"),
        (["revoke", "runs/run", "--ids-file", "absent.txt"], "cannot be read"),
        (["revoke", "runs/run", "--id", "x7"], "whose ids are integers"),
        (["revoke", "runs/run", "--requests-file", "absent.csv"], "cannot be read"),
        (["revoke", "runs/run", "--requests-file", "empty.csv"], "holds no requests"),
        (["revoke", "runs/run", "--requests-file", "empty.csv", "--id", "1000"], "not both"),
        (["revoke", "runs/run", "--owner", "nobody"], "no sample of owner 'nobody'"),
        (["revoke", "runs/run", "--id", "1000", "--boundary", "2"], "boundary 2.0 is over 1"),
        (["revoke", "runs/run", "--id", "1000", "--boundary", "soon"], "is not of the form 0.35, 30s or deadline:60s"),
        (["revoke", "runs/run", "--id", "1000", "--strategy", "magic"], "'magic' is not one of"),
        (["status", "nowhere"], "is not a run"),
        (["train", "absent.yaml"], "cannot be read"),
        (["train", "run.yaml"], "holds a run already"),
        ([*TRAIN, "training.epochs=1"], "use 2 or more"),
        ([*TRAIN, "training.speed=1"], "no such setting"),
        ([*TRAIN, "partition.slices=200", "training.epochs=200"], "for 200 slices"),
        ([*TRAIN, "partition.shards=500"], "would hold"),
        ([*TRAIN, "data.id=name"], "has no column name"),
        ([*TRAIN, "data.id=owner", "data.owner=null"], "not unique"),
        ([*TRAIN, "data.classes=2"], "data.classes is 2"),
        ([*TRAIN, "model={factory: nowhere.at:all}"], "nowhere.at cannot be imported"),
        ([*TRAIN, "training.device=cuda"], "CUDA"),
        ([*TRAIN, "--exclude-file", "wrong.txt"], "unknown sample id"),
        (["predict", "runs/run", "--data", "all.parquet", "--out", "all.xls"], "no known format"),
        (["evaluate", "runs/run", "--test-data", "absent.parquet"], "cannot be read"),
        (["evaluate", "runs/run", "--test-data", "bare.parquet"], "evaluation needs labels"),
        (["report", "nowhere"], "is not a run"),
        (["report", "runs/run", "--audit-file", "empty.txt"], "is not JSON"),
        (["report", "runs/run", "--test-data", "bare.parquet"], "evaluation needs labels"),
        (["report", "runs/run", "--out", "absent/page.html"], "cannot be written"),
        (["train", "run.yaml", "--run", "r", "data.test=null", "data.track_accuracy=true"], "needs data.test"),
        (["predict", "runs/run", "--data", "narrow.parquet", "--out", "out.csv"], "have shape (2,)"),
        (["frobnicate"], "No such command"),
        (["revoke", "runs/run", "--id", "1000", "--boundary", "infs"], "is not a finite number"),
        (["revoke", "runs/run", "--id", "1000", "--due", "yesterday"], "is not a time; write 2030-01-31 or"),
        (["revoke", "runs/run", "--id", "1000", "--due", "0001-01-01"], "is not a time"),
        (
            ["revoke", "runs/run", "--id", "1000", "--due", "03.04.2020"],
            "may be 3 April or 4 March: give --date-format",
        ),
        (["revoke", "runs/run", "--id", "1000", "--due", "infinity"], "infinity has no end"),
        (["revoke", "runs/run", "--id", "1000", "--date-format", "best"], "'best' is not a form of dates"),
        (["revoke", "runs/run", "--owner", "owner-1", "--owner-file", "empty.txt"], "not both"),
        (["revoke", "runs/run", "--owner-file", "empty.txt"], "names 0 owners, and a request has one"),
        (["revoke", "runs/run", "--id", "1000", "--idempotency-key", ""], "a key of 0 letters"),
        (["revoke", "runs/run", "--id", "9" * 5000], "99... is not an id of this run"),
        (["revoke", "runs/run", "--id", "\x1b[2J"], "'\\x1b[2J' is not an id of this run"),
        (["revoke", "runs/run", "--id", "\udcff"], "is not UTF-8 text"),
        (["revoke", "runs/run", "--owner", "\udcff"], "is not UTF-8 text"),
        (["revoke", "runs/run", "--ids-file", ""], "cannot be read"),
        (["revoke", "runs/run", "--ids-file", "runs"], "cannot be read"),
        (["revoke", "runs/run", "--ids-file", "short.csv"], "line 3 has 1 values for 2 columns"),
        (["revoke", "runs/run", "--ids-file", "wide.txt", "--id", "1"], "not both"),
        (["revoke", "runs/run", "--ids-file", "fractions.parquet"], "has a fraction"),
        (["plan", "runs/run", "--id", "1000", "--workers", "0"], "'--workers'"),
        (["settle", "runs/run", "--due-within", "9" * 30 + "d"], "is not a duration"),
        (["status", "run.yaml"], "is not a run"),
        (["status", "\0"], "is not a location for a run"),
        (["status", "foreign"], "its run.json belongs to something else"),
        (["status", "newer"], "was written by a newer raymu (format 99); update raymu"),
        (["status", "nested"], "JSON that is nested more than 100 deep"),
        (["status", "folder"], "run.json cannot be read"),
        ([*TRAIN, "training.epochs=[1"], "training.epochs: not YAML (line 1: "),
        ([*TRAIN, ".epochs=1"], "is not a setting"),
        ([*TRAIN, "training.learning_rate=1e300"], "training.learning_rate: must be at most"),
        ([*TRAIN, "training.learning_rate=1e25"], "became infinite or NaN; lower training.learning_rate"),
        ([*TRAIN, "cluster.threads=1000000"], "cluster.threads: must be at most 256"),
        ([*TRAIN, "model.args=3"], "model.args: must be settings"),
        ([*TRAIN, "model.hidden=[0]"], "model.hidden.0: must be at least 1"),
        ([*TRAIN, "model.batch_norm=maybe"], "model.batch_norm: must be true or false"),
        ([*TRAIN, "data.features=[]"], "data.features: must not be empty"),
        ([*TRAIN, "data.features=[features,risk]"], "columns features, risk differ in shape"),
        ([*TRAIN, "data.features=risk"], "list such columns: data.features: [risk]"),
        ([*TRAIN, "data.label=id", "data.id=label"], "not unique"),
        ([*TRAIN, "data.train=runs"], "is of no known format"),
        ([*TRAIN, "data.train=torn.parquet"], "cannot be read"),
        ([*TRAIN, "data.train=fractions.parquet"], "ids in column id"),
        ([*TRAIN, "cluster.journal=sqlite:////nowhere/journal.sqlite"], "the journal cannot be read"),
        ([*TRAIN, "cluster.journal=nowhere"], "cluster.journal"),
        (["train", "run.yaml", "--run", "run.yaml"], "run.yaml is not a directory; name another"),
        (["train", "run.yaml", "--run", "run.yaml/r"], "run.yaml is not a directory; name another"),
        (["train", "run.yaml", "--run", "runs"], "is not empty"),
        (["train", "run.yaml", "--run", "/proc/r"], "the storage failed"),
        (["train", "runs"], "cannot be read"),
        (["predict", "runs/run", "--data", "all.parquet", "--out", "none/out.csv"], "none is not a directory"),
        (["predict", "runs/run", "--data", "all.parquet", "--out", "full.csv"], "is not a file; name another"),
        (["predict", "runs/run", "--data", "all.parquet", "--out", "all.parquet"], "is the table to predict"),
        (
            ["predict", "runs/run", "--data", "all.parquet", "--out", "runs/run/samples/new.csv"],
            "in the run's directory",
        ),
        (["evaluate", "runs/run", "--test-data", "beyond.parquet"], "a label is 3, but data.classes is 3"),
        (["rebuild", "runs/run", "--training-data"], "requires an argument"),
        (["tune", "runs/run", "--traffic", "uniform:2", "--batch-window", "nan"], "'nan' is not a number of 0 or more"),
        (
            ["tune", "runs/run", "--traffic", "uniform:2", "--max-accuracy-loss", "-1"],
            "'-1' is not a number of 0 or more",
        ),
        (["tune", "runs/run", "--traffic", "uniform:2", "--max-p95", "soon"], "'soon' is not a number of 0 or more"),
        (["tune", "runs/run", "--traffic", "uniform:2", "--seed", "-1"], "'--seed'"),
        (["tune", "runs/run", "--traffic", "uniform:2", "--oracles", "2"], "'--oracles'"),
        (["tune", "runs/run", "--traffic", "uniform:2", "--contributions", "noise"], "'--contributions'"),
        (
            ["tune", "runs/run", "--traffic", "uniform:2", "--max-forgetting-error", "-1"],
            "'-1' is not a number of 0 or more",
        ),
        (["receipts", "runs/run", "--request", "none"], "'none' is not a request of this run"),
        (["start", "runs/run"], "this run has no cluster"),
        (["stop", "runs/run"], "this run has no cluster"),
    ],
)
def test_bad_input_gets_one_line_and_changes_nothing(
    cli: Cli, trained: list[int], tmp_path: Path, words: list[str], complaint: str
) -> None:
    if "training.device=cuda" in words:
        import torch

        if torch.cuda.is_available():
            pytest.skip("there is a CUDA device here")
    assert trained[0] == 1000
    before = contents(tmp_path)
    code, out, err = cli(*words)
    assert (code, out) == (2, "")
    assert complaint in err
    assert len(err.strip().splitlines()) == 1
    assert len(err) < 1100
    assert contents(tmp_path) == before


def test_an_earlier_receipt_answers_a_request_for_the_same_samples(cli: Cli, trained: list[int]) -> None:
    receipt = _without_times(cli("revoke", "runs/run", "--id", str(trained[0]), "--json")[1])
    assert receipt.pop("outcome")["status"] == "accepted"
    code, out, err = cli("revoke", "runs/run", "--id", str(trained[0]), "--json")
    assert (code, json.loads(out)["exit_code"]) == (2, 2)
    outcome = json.loads(out)["outcome"]
    assert (outcome["status"], outcome["revoked"]) == (
        "refused",
        [{"id": str(trained[0]), "request_id": receipt["request_id"]}],
    )
    [earlier] = json.loads(out)["receipts"]
    assert {"schema": "raymu.revoke", "version": 1, "fleet": None, **earlier} == receipt
    assert "revoked already" in err
    assert json.loads(out)["error"] in err
    other = json.loads(cli("revoke", "runs/run", "--id", str(trained[1]), "--json")[1])
    code, out, _ = cli("revoke", "runs/run", "--id", str(trained[0]), "--id", str(trained[1]), "--json")
    assert code == 2
    receipts = json.loads(out)["receipts"]
    assert [earlier["request_id"] for earlier in receipts] == [receipt["request_id"], other["request_id"]]


def test_a_run_is_verified_and_every_receipt_is_signed(cli: Cli, trained: list[int]) -> None:
    for strategy, sample_id in (("sisa", trained[0]), ("dpus", trained[1])):
        assert cli("revoke", "runs/run", "--id", str(sample_id), "--strategy", strategy)[0] == 0
    code, out, _ = cli("verify", "runs/run", "--json")
    assert (code, json.loads(out)["verdict"]) == (3, "inconclusive")
    anchor = json.loads(out)["anchor"]
    assert cli("settle", "runs/run", "--due-within", "7d")[0] == 0
    assert json.loads(cli("status", "runs/run", "--json")[1])["debt"]["shards"] == 1
    assert cli("settle", "runs/run", "--due-within", "31d")[0] == 0
    code, out, _ = cli("verify", "runs/run", "--replay", "--anchor", anchor)
    assert code == 0
    assert "verdict: pass" in out
    receipts = json.loads(cli("receipts", "runs/run", "--json")[1])["receipts"]
    assert [(receipt["exactness"], len(receipt["signature"])) for receipt in receipts] == [("exact", 128)] * 2
    settled = cli("receipts", "runs/run", "--request", receipts[1]["request_id"])[1]
    assert settled.count("sample, exact") == 1
    assert "patch, settled by retraining" in settled  # a patch alone is never called exact
    code, out, err = cli("receipts", "runs/run", receipts[0]["request_id"])  # as in version 0.1
    assert (code, receipts[0]["request_id"] in out, receipts[1]["request_id"] in out) == (0, True, False)
    assert err.count("\n") == 1


def test_a_damaged_run_fails_until_it_is_rebuilt(cli: Cli, trained: list[int], tmp_path: Path) -> None:
    assert trained
    [table] = (tmp_path / "runs" / "run" / "samples").glob("0001-pyarrow*")
    table.write_bytes(b"")
    next((tmp_path / "runs" / "run" / "shards" / "0002").glob("stage-1-*")).unlink()
    assert cli("verify", "runs/run")[0] == 1
    code, out, err = cli("rebuild", "runs/run")
    assert (code, out) == (2, "")
    assert "--training-data FILE" in err
    report = json.loads(cli("rebuild", "runs/run", "--training-data", "all.parquet", "--json")[1])
    assert (len(report["files"]), report["shards"]) == (2, [2])
    assert cli("verify", "runs/run", "--shard", "2")[0] == 0


def test_the_status_shows_due_and_late_requests(cli: Cli, trained: list[int]) -> None:
    words = ["revoke", "runs/run", "--strategy", "dpus"]
    assert cli(*words, "--id", str(trained[0]), "--due", "2100-01-01")[0] == 0
    deadline, *_ = json.loads(cli("status", "runs/run", "--json")[1])["deadlines"]
    assert (deadline["due_at"][:4], deadline["is_late"]) in {("2100", False), ("2099", False)}
    assert deadline["exact_after_s"] > 0
    assert "in time" in cli("status", "runs/run")[1]


def test_a_report_is_one_page_and_exits_with_the_verdict(cli: Cli, trained: list[int], tmp_path: Path) -> None:
    receipt = json.loads(cli("revoke", "runs/run", "--id", str(trained[0]), "--strategy", "dpus", "--json")[1])
    code, out, err = cli("report", "runs/run", "--test-data", "all.parquet", "--verify", "--json")
    assert (code, err) == (3, "")
    assert json.loads(out) == {
        "schema": "raymu.report",
        "version": 1,
        "out": "run-report.html",
        "generation": 3,
        "requests": 1,
        "late": 0,
        "verdict": "inconclusive",
    }
    assert receipt["request_id"] in (tmp_path / "run-report.html").read_text()
    assert cli("settle", "runs/run")[0] == 0
    code, out, _ = cli("report", "runs/run", "--out", "page.html", "--verify")
    assert (code, out) == (0, "wrote page.html: generation 4, 1 request; verdict: pass\n")
    assert (tmp_path / "page.html").read_text().startswith("<!DOCTYPE html>")


@pytest.mark.usefixtures("trained")
@pytest.mark.parametrize("other", ["run", "key"])
def test_a_verdict_of_another_run_or_key_is_not_shown_and_stays_until_it_is_removed(
    cli: Cli, tmp_path: Path, other: str
) -> None:
    store = RunStore(str(tmp_path / "runs" / "run"))
    run_id = store.manifest.run_id
    passed = LastVerdict(run=run_id, check="verify", verdict=Verdict.PASS, generation=1, at=datetime.now(UTC))
    passed, key = (
        (replace(passed, run="0" * 32), store.keys.hash_key)
        if other == "run"
        else (passed, b"k" * len(store.keys.hash_key))
    )
    foreign = seal(passed, key)
    path = tmp_path / "runs" / "run" / "verdict-verify.json"
    path.write_bytes(foreign)
    for _ in range(2):  # the first verification hides nothing from the second
        code, out, err = cli("verify", "runs/run")
        assert (code, path.read_bytes()) == (1, foreign)
        assert "verdict-verify.json is not what `raymu verify` or `raymu audit` wrote" in " ".join(out.split())
        assert err.count("\n") == 1
        assert err.endswith("verdict-verify.json: is not what `raymu verify` wrote, and stays as it is; remove it\n")
        assert cli("report", "runs/run", "--out", "page.html")[0] == 0
        assert "That is how" not in (tmp_path / "page.html").read_text()
    path.unlink()
    assert cli("verify", "runs/run")[::2] == (0, "")
    assert store.verdicts.all(run=run_id)[0].verdict is Verdict.PASS
    assert cli("report", "runs/run", "--out", "page.html")[0] == 0
    assert "That is how" in (tmp_path / "page.html").read_text()


def give_input(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))


def test_requests_are_found_by_what_they_revoked(
    cli: Cli, trained: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    give_input(monkeypatch, "\ufeffOwner\r\nowner-3\r\n".encode("utf-16-le"))
    by_owner = json.loads(cli("revoke", "runs/run", "--owner-file", "-", "--idempotency-key", "DSR-7", "--json")[1])
    table = pq.read_table(tmp_path / "all.parquet")
    owned, other = (
        next(
            sample_id
            for sample_id, owner in zip(trained, table["owner"].to_pylist(), strict=True)
            if (owner == "owner-3") is is_owned
        )
        for is_owned in (True, False)
    )
    give_input(monkeypatch, f"{other}\n".encode())
    by_id = json.loads(cli("revoke", "runs/run", "--ids-file", "-", "--json")[1])
    give_input(monkeypatch, f"id;note\n{owned};x\n{other};y\n5;z\n".encode())
    code, out, _ = cli("receipts", "runs/run", "--ids-file", "-", "--json")
    answer = json.loads(out)
    request_ids = [by_owner["request_id"], by_id["request_id"]]
    assert [receipt["request_id"] for receipt in answer["receipts"]] == request_ids
    assert [request["request_id"] for request in answer["requests"]] == [*request_ids, None]
    for words in (["--owner", "owner-3"], ["--key", "DSR-7"], ["--id", f"{owned}.0"]):
        code, out, err = cli("receipts", "runs/run", *words)
        assert (code, err) == (0, "")
        assert (request_ids[0] in out, request_ids[1] in out) == (True, False)
    code, out, err = cli("receipts", "runs/run", "--id", "5", "--owner", "owner-1", "--key", "none")
    assert (code, out) == (2, "")
    assert "no request of this run has any of the 3 names given here" in err


def test_a_table_of_a_spreadsheet_leaves_out_what_is_unknown_and_takes_what_is_overdue(
    cli: Cli, trained: list[int], tmp_path: Path
) -> None:
    rows = [
        f"{trained[0]};31.01.2020;offen",
        "5;28.02.2099;neu",
        f"{trained[0]};;doppelt",
        f"{trained[1]};01.12.2099;neu",
    ]
    text = "ID;Due Date;Größe\r\n" + "\r\n".join(rows) + "\r\n;;\r\n"
    (tmp_path / "Anfragen.CSV").write_text(text, encoding="cp1252")
    words = ["revoke", "runs/run", "--requests-file", "Anfragen.CSV", "--ignore-unknown"]
    code, out, err = cli(*words, "--json")
    answers = json.loads(out)["requests"]
    assert code == 0
    assert [answer["status"] for answer in answers] == ["accepted", "left out", "left out", "accepted"]
    assert [answer["line"] for answer in answers] == [2, 3, 4, 5]
    assert [answer["came_overdue"] for answer in answers] == [True, False, False, False]
    assert answers[2]["earlier_requests"] == [answers[0]["request_id"]]
    assert err.splitlines() == [
        "raymu: Anfragen.CSV: is not UTF-8, and was read as Windows-1252, as spreadsheets write",
        "raymu: Anfragen.CSV: column Due Date: the day is read first in all dates, as 31.01.2020 shows",
        "raymu: Anfragen.CSV: column Größe is not used",
    ]
    out = cli("receipts", "runs/run", "--request", answers[0]["request_id"])[1]
    assert "due 2020-01-31 23:59" in out
    assert "overdue when it came" in out
    code, out, _ = cli(*words)
    assert (code, "0 of 4 requests accepted, 0 refused, 4 left out" in out) == (0, True)


def test_a_request_leaves_out_what_is_unknown_and_says_which_request_revoked_the_rest(
    cli: Cli, trained: list[int]
) -> None:
    earlier = json.loads(cli("revoke", "runs/run", "--id", str(trained[0]), "--json")[1])["request_id"]
    words = [word for each in (trained[0], 5, trained[1]) for word in ("--id", str(each))]
    code, out, err = cli("revoke", "runs/run", *words, "--json")
    refusal = json.loads(out)
    assert (code, refusal["schema"], len(err.splitlines())) == (2, "raymu.error", 1)
    assert f"request {earlier}; see its receipt, and leave these out; 1 unknown sample id (5)" in err
    assert "add --ignore-unknown" in err
    assert refusal["outcome"]["revoked"] == [{"id": str(trained[0]), "request_id": earlier}]
    code, out, _ = cli("plan", "runs/run", *words, "--ignore-unknown", "--json")
    assert (code, sum(shard["samples"] for shard in json.loads(out)["shards"])) == (0, 1)
    code, out, _ = cli("revoke", "runs/run", *words, "--ignore-unknown", "--json")
    receipt = json.loads(out)
    assert (code, receipt["samples"]) == (0, 1)
    assert receipt["outcome"]["left_out"] == {"revoked": 1, "unknown": 1, "unknown_shown": ["5"], "repeated": 0}
    assert receipt["outcome"].keys() == refusal["outcome"].keys()
    assert receipt["outcome"]["revoked"] == refusal["outcome"]["revoked"]


def _without_times(printed: str) -> dict[str, Any]:
    """Return the document of a command without the seconds of its phases, which differ each time."""
    document: dict[str, Any] = json.loads(printed)
    assert all(seconds >= 0.0 for seconds in document.pop("phases").values())
    return document
