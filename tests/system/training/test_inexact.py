"""Training that cannot be repeated, by a model's own state or by code that changed, is never called exact."""

import sys
from pathlib import Path

import pytest

import raymu
from raymu.api import Run
from raymu.config import Config
from raymu.core.records import Exactness, ShardState
from raymu.core.verdict import Check, Verdict
from raymu.errors import ConfigInvalid
from raymu.training import code_record
from tests.support.examples import make_config, write_samples

CODE = """
from torch import nn

from {helper} import WIDTH


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner, self.outer, self.steps = nn.Linear(6, WIDTH), nn.Linear(WIDTH, 3), 0

    def forward(self, inputs):
        self.steps += {counted}
        return self.outer(self.inner(inputs) / (1 + self.steps))


def build(note):
    return Model()
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Config:
    """Of a model whose code, a module that it imports, and a file that its arguments name lie in `tmp_path`."""
    model, helper = f"model_{request.node.name[5:15]}", f"helper_{request.node.name[5:15]}"
    counted = int("counts" in request.node.name)
    (tmp_path / f"{model}.py").write_text(CODE.format(helper=helper, counted=counted))
    (tmp_path / f"{helper}.py").write_text("WIDTH = 4\n")
    (tmp_path / "note.txt").write_text("as it was")
    monkeypatch.syspath_prepend(str(tmp_path))
    write_samples(tmp_path / "all.parquet", samples=80)
    return make_config(
        tmp_path / "all.parquet",
        model={"factory": f"{model}:build", "args": {"note": str(tmp_path / "note.txt")}},
        partition={"slices": 2},
    )


def restart(config: Config) -> None:
    """Forget the code that this process has loaded, as a new process does."""
    name = str(config.model.factory).partition(":")[0]
    for each in (name, name.replace("model", "helper")):
        sys.modules.pop(each, None)
    code_record._records.clear()


def replay_of(run: Run) -> Check:
    [check] = [check for check in run.verify(replay=None).checks if check.name == "replay"]
    return check


def test_counts_of_its_own_are_named_before_training_or_make_all_results_inconclusive(
    config: Config, tmp_path: Path
) -> None:
    with pytest.raises(ConfigInvalid, match=r"model\.steps is \d+ after a stage, and 0 in a model that is restored"):
        raymu.train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    with raymu.train(config, tmp_path / "run", inexact=True) as run:
        receipt = run.revoke([1000, 1007], strategy="sisa")
        assert receipt.exactness is Exactness.INCONCLUSIVE
        assert all("model.steps" in part.inexact[0] and "model.steps" in part.reason for part in receipt.shards)
        [finding, *others] = replay_of(run).findings
        assert "model.steps" in finding.what
        assert (finding.verdict, others) == (Verdict.INCONCLUSIVE, [])
        assert "model.steps" in run.status().inexact[0]
        assert run.settle().shards == ()  # it would be no more exact


def test_changed_code_is_named_and_settled_once_it_is_restored(
    config: Config, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    raymu.train(config, tmp_path / "run").close()
    name = str(config.model.factory).partition(":")[0].replace("model", "helper")
    code = tmp_path / f"{name}.py"
    before = code.read_text()
    code.write_text("WIDTH = 2 + 2\n")
    (tmp_path / "note.txt").write_text("changed")
    restart(config)
    with raymu.open_run(tmp_path / "run") as run:
        [finding] = replay_of(run).findings
        assert f"{name} (its code changed)" in finding.what
        assert "note.txt (the file changed)" in finding.what
        assert finding.verdict is Verdict.INCONCLUSIVE
        receipt = run.revoke([1000, 1007], strategy="sisa")
        assert f"{name} (its code changed)" in caplog.text
        assert receipt.exactness is Exactness.INCONCLUSIVE
        assert run.settle().shards == ()
    code.write_text(before)
    (tmp_path / "note.txt").write_text("as it was")
    restart(config)
    with raymu.open_run(tmp_path / "run") as run:
        run.settle()
        [receipt] = run.receipts()
        assert receipt.exactness is Exactness.EXACT
        assert {shard.state for shard in run.status().shards} == {ShardState.EXACT}
        assert replay_of(run).findings == ()
