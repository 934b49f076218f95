"""Runs of what people have: rare classes that most shards lack, labels that are text, and numbers of tokens."""

import json
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
import torch
from torch import Tensor, nn

import raymu
from raymu.cli import run_command
from raymu.core.verdict import Verdict
from raymu.data.table_reading import open_table
from raymu.errors import ConfigInvalid, DataInvalid
from raymu.service import ingest
from raymu.service.audit.forget_set import AuditScope, find_forgotten
from raymu.service.coordinator.damage import Damage
from raymu.service.coordinator.lost_samples import restore_samples
from raymu.store.run import RunStore
from tests.support.examples import make_config, write_samples

HERE = "tests.system.training.test_kinds_of_data"


class Bag(nn.Module):
    """The mean of embeddings, of integers alone."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.output = nn.Embedding(50, 4), nn.Linear(4, 2)

    def forward(self, tokens: Tensor) -> Tensor:
        logits: Tensor = self.output(self.embedding(tokens).mean(1))
        return logits


class CastingBag(Bag):
    """One that makes integers of whatever it is given."""

    def forward(self, tokens: Tensor) -> Tensor:
        return super().forward(tokens.long())


def rare(folder: Path) -> Path:
    """Write samples of which nine are of a class of their own, as text."""
    table = write_samples(folder / "all.parquet", samples=120)
    names = ["rare" if row < 9 else f"kind {label % 2}" for row, label in enumerate(table["label"].to_pylist())]
    pq.write_table(table.set_column(1, "label", pa.array(names).dictionary_encode()), folder / "all.parquet")
    return folder / "all.parquet"


def test_a_class_that_shards_never_saw_is_predicted_forgotten_and_verified(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Calibration, patches and settling meet shards of one class, and classes without samples."""
    data, out = str(rare(tmp_path)), str(tmp_path / "run")
    table = pq.read_table(data)
    of_a_kind = [row["id"] for row in table.to_pylist() if row["label"] == "kind 1"]
    owners = pa.array([f"owner {label} {row % 3}" for row, label in enumerate(table["label"].to_pylist())])
    pq.write_table(table.set_column(3, "owner", owners), data)
    config = make_config(
        Path(data),
        data={"classes": None, "owner": "owner"},
        partition={"policy": "owner", "shards": 3, "slices": 2, "seed": 52},
    )
    with raymu.train(config, out) as run:
        assert run.manifest.class_names == ("kind 0", "kind 1", "rare")
        assert run.manifest.conversions[-1].startswith("shard 0 of 3: a single class")
        assert run.evaluate_file(data).accuracy > 0.4
        for strategy, sample_id in (("dpus", of_a_kind[0]), ("hs", of_a_kind[1]), ("sisa", of_a_kind[2])):
            run.revoke(ids=[sample_id], strategy=strategy)
        run.settle()
    assert raymu.open_run(out).verify(replay=None).verdict is Verdict.PASS
    assert run_command(["predict", out, "--data", data, "--out", str(tmp_path / "out.csv")]) == (0, "")
    predicted = pyarrow.csv.read_csv(tmp_path / "out.csv")
    assert set(predicted["label"].to_pylist()) <= {"kind 0", "kind 1", "rare"}
    assert predicted.column_names[-1] == "probability_rare"
    capsys.readouterr()
    assert run_command(["status", out, "--json"]) == (0, "")
    status = json.loads(capsys.readouterr().out)
    assert status["class_names"] == ["kind 0", "kind 1", "rare"]
    assert status["conversions"] == list(raymu.open_run(out).manifest.conversions)
    stranger = table.set_column(1, "label", pa.array(["wolf"] * table.num_rows))
    pq.write_table(stranger, tmp_path / "strange.parquet")
    with pytest.raises(DataInvalid, match=r"'wolf', which is not a class of the run \('kind 0', 'kind 1', 'rare'\)"):
        raymu.open_run(out).evaluate_file(str(tmp_path / "strange.parquet"))


def tokens(folder: Path) -> Path:
    random = np.random.default_rng(3)
    labels = random.integers(0, 2, 200)
    values = random.integers(0, 25, (200, 4)) + 25 * labels[:, None]
    pq.write_table(
        pa.table({"id": np.arange(200), "label": labels, "features": list(values)}), folder / "tokens.parquet"
    )
    return folder / "tokens.parquet"


def token_config(path: Path, model: str, **data: Any) -> raymu.Config:
    return make_config(
        path,
        data={"classes": 2, **data},
        model={"factory": f"{HERE}:{model}", "name": None, "args": {}},
        training={"epochs": 12, "learning_rate": 0.5},
    )


def test_a_model_of_tokens_gets_integers(tmp_path: Path) -> None:
    path = tokens(tmp_path)
    config = token_config(path, "Bag", normalize="none")
    with raymu.train(config, tmp_path / "run") as run:
        assert run.manifest.has_integer_inputs
        assert run.evaluate_file(str(path)).accuracy > 0.9
        run.revoke(ids=[3], strategy="sisa")
        run.revoke(ids=[4], strategy="dpus")
        with pytest.raises(DataInvalid, match="have fractions, and the run's model takes integers"):
            run.predict(np.full((1, 4), 0.5))
        run.settle()
    assert raymu.open_run(tmp_path / "run").verify(replay=None).verdict is Verdict.PASS


@pytest.mark.parametrize(
    ("model", "problem"), [("Bag", "model: takes integers"), ("CastingBag", "model: fails on samples")]
)
def test_tokens_are_not_standardised_without_a_word(tmp_path: Path, model: str, problem: str) -> None:
    path = tokens(tmp_path)
    with pytest.raises(ConfigInvalid, match=rf"{problem}.*set data\.normalize: none to give them as they are"):
        raymu.train(token_config(path, model), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    assert torch.is_grad_enabled()


def test_ids_of_the_first_version_are_found_in_the_training_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It kept UUIDs in capitals as they were: their tables are restored, and an audit finds what was revoked."""
    table = write_samples(tmp_path / "all.parquet", samples=60)
    ids = [str(UUID(int=number)).upper().replace("0000-0000", "ABCD-0000") for number in range(60)]
    pq.write_table(table.set_column(0, "id", pa.array(ids)), tmp_path / "all.parquet")
    config = make_config(tmp_path / "all.parquet", partition={"shards": 2, "slices": 2})

    monkeypatch.setattr(ingest, "open_table", partial(open_table, is_verbatim=True))
    with raymu.train(config, tmp_path / "run") as run:
        receipt = run.revoke(ids=[ids[7]], strategy="sisa")
    store = RunStore(str(tmp_path / "run"))
    forgotten = find_forgotten(store, AuditScope(ids=(ids[7].lower(),)))
    assert forgotten.table.ids.tolist() == [ids[7]]
    assert receipt.samples == 1
    lineage = store.current().lineages[0]
    (tmp_path / "run" / lineage.table.path).unlink()
    damage = Damage(lineage=lineage, files=(lineage.table,))
    with closing(store.journal(is_read_only=True)) as journal:
        restore_samples(store, damage, revoked=journal.revoked(), data=config.data.train)
    assert store.files.read_checked(lineage.table)
