"""Exports: what they predict, what they say of themselves, and when they are superseded."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from click.testing import CliRunner

import raymu
from raymu.cli.commands.export import command
from raymu.config.unlearning import AggregationName
from raymu.core.aggregate import AGGREGATIONS
from raymu.core.arrays import Features
from raymu.data.rows import Columns
from raymu.errors import ConfigInvalid, RequestInvalid
from raymu.service.prediction import Ensemble
from raymu.store.run import RunStore
from raymu.training.ensemble_module import EnsembleModule
from raymu.training.export_formats import ExportFormat
from tests.support.examples import create_run, make_config, write_samples
from tests.support.trained_runs import TrainedRunFactory

FEATURES = np.random.default_rng(0).normal(size=(20, 6)).astype(np.float32) * 3
LAST_BIT = 2e-7
"""Of a probability: ONNX Runtime adds in another order, and multiplies without rounding in between."""


@pytest.fixture(scope="module")
def location(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained run that no test changes, and an export of it in all formats."""
    folder = tmp_path_factory.mktemp("run")
    write_samples(folder / "all.parquet", samples=120)
    config = make_config(folder / "all.parquet", training={"epochs": 2}, partition={"slices": 2})
    create_run(config, folder / "run")
    raymu.open_run(folder / "run").export(folder / "model", formats=list(ExportFormat))
    return folder / "run"


@pytest.fixture
def expected(location: Path) -> Features:
    return raymu.open_run(location).predict(FEATURES)


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_the_module_predicts_the_same_bits_as_the_run(location: Path, aggregation: AggregationName) -> None:
    ensemble = Ensemble.current(RunStore(str(location)))
    ensemble._aggregate = AGGREGATIONS[aggregation]
    target = RunStore(str(location)).config.task.target
    module = EnsembleModule(ensemble._classifiers, aggregation=aggregation, voters=ensemble._weights, target=target)
    for samples in (20, 1, 0):
        predictions = module(*module.encode(FEATURES[:samples]))
        np.testing.assert_array_equal(predictions.detach().numpy(), ensemble.predict(FEATURES[:samples]))


def test_a_module_is_in_evaluation_mode_and_has_its_own_tensors(location: Path, expected: Features) -> None:
    run = raymu.open_run(location)
    module = run.module()
    assert not any(part.training for part in module.modules())
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
    np.testing.assert_array_equal(run.predict(FEATURES), expected)


def test_a_program_of_torch_export_predicts_the_same_bits_for_any_number_of_samples(location: Path) -> None:
    program = torch.export.load(location.parent / "model" / "ensemble.pt2").module()
    for samples in (1, 3, 20):
        predictions = program(torch.from_numpy(FEATURES[:samples]))
        single = raymu.open_run(location).predict(FEATURES[:samples])
        np.testing.assert_array_equal(predictions.detach().numpy(), single)


def test_onnx_predicts_the_same_but_for_the_last_bits(location: Path, expected: Features) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(str(location.parent / "model" / "ensemble.onnx"))
    for samples in (1, 20):
        [predictions] = session.run(None, {"features": FEATURES[:samples]})
        np.testing.assert_allclose(predictions, expected[:samples], rtol=0, atol=LAST_BIT)


def test_the_tensors_of_a_safetensors_export_and_its_json_give_the_predictions(
    location: Path, expected: Features
) -> None:
    from safetensors.torch import load_file

    folder = location.parent / "model"
    tensors, facts = load_file(folder / "ensemble.safetensors"), json.loads((folder / "ensemble.json").read_text())
    total = torch.zeros(len(FEATURES), 3, dtype=torch.float64)
    for number, share in enumerate(facts["vote_shares"]):
        part = {name.removeprefix(f"constituents.{number}."): tensor for name, tensor in tensors.items()}
        limit = float(part["task.limit"])
        inputs = ((torch.from_numpy(FEATURES) - part["task.mean"]) * part["task.scale"]).clamp(-limit, limit)
        hidden = torch.relu(inputs @ part["model.1.weight"].T + part["model.1.bias"])
        total += (hidden @ part["model.3.weight"].T + part["model.3.bias"]).softmax(1).double() * share
    np.testing.assert_allclose(total.numpy(), expected, atol=1e-6)


def test_the_document_names_the_generation_the_classes_and_the_files(location: Path) -> None:
    document = json.loads((location.parent / "model" / "export.json").read_text())
    assert document["generation"] == 1
    assert document["inputs"] == [{"name": "features", "dtype": "float32", "shape": [6]}]
    assert document["outputs"] == {"count": 3, "classes": None}
    assert {file["path"] for file in document["files"]} == {
        "ensemble.pt2",
        "ensemble.onnx",
        "ensemble.safetensors",
        "ensemble.json",
    }
    assert "generation 1" in document["notice"]


def test_a_revocation_supersedes_an_export_and_its_replacement_is_current(
    trained_run: TrainedRunFactory, tmp_path: Path
) -> None:
    trained = trained_run(training={"epochs": 2}, partition={"slices": 2})
    run, out = raymu.open_run(trained.location), tmp_path / "model"
    run.export(out, formats=["safetensors"])
    assert run.check_export(out).is_current
    [sample, *_] = trained.ids(shard=0)
    with run:
        run.revoke([sample], strategy="sisa")
    check = run.check_export(out)
    assert not check.is_current
    assert "is superseded: the run serves generation" in str(check)
    assert CliRunner().invoke(command, ["--check", str(out), str(trained.location)]).exit_code == 1
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    run.export(out, formats=["safetensors"])
    assert run.check_export(out).is_current
    assert (out / "ensemble.safetensors").read_bytes() != before["ensemble.safetensors"]
    document = json.loads((out / "export.json").read_text())
    assert document["revoked"] == {"requests": 1, "samples": 1}
    assert len(document["receipts"]) == 1
    assert str(sample) not in [str(value) for value in document.values()]
    assert CliRunner().invoke(command, ["--check", str(out), str(trained.location)]).exit_code == 0


@pytest.mark.parametrize(
    ("name", "problem"),
    [("ensemble.safetensors", "is not what was written"), ("export.json", "was changed")],
)
def test_an_export_that_was_changed_is_refused(location: Path, tmp_path: Path, name: str, problem: str) -> None:
    out = shutil.copytree(location.parent / "model", tmp_path / "model")
    content = (out / name).read_bytes()
    (out / name).write_bytes(content.replace(b'"generation": 1', b'"generation": 2') + b" ")
    with pytest.raises(RequestInvalid, match=problem):
        raymu.open_run(location).check_export(out)


def test_folders_with_other_files_and_the_run_itself_are_left_alone(location: Path, tmp_path: Path) -> None:
    run = raymu.open_run(location)
    (tmp_path / "letter.txt").write_text("dear")
    for out in (tmp_path, location / "model", tmp_path / "letter.txt", tmp_path / "no" / "model"):
        with pytest.raises(RequestInvalid):
            run.export(out)
    with pytest.raises(RequestInvalid, match="keras is no format"):
        run.export(tmp_path / "model", formats=["keras"])
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


def test_nothing_is_exported_that_saw_the_samples_of_accepted_requests(
    location: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from raymu.service.served import Waiting

    monkeypatch.setattr("raymu.service.export.waiting_requests", lambda _store: Waiting(requests=2, is_kept=True))
    with pytest.raises(RequestInvalid, match="nothing is exported: 2 accepted requests not carried out"):
        raymu.open_run(location).export(tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_a_format_whose_package_is_missing_names_the_extra(
    location: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnxscript", None)
    with pytest.raises(ConfigInvalid, match=r"install raymu\[onnx\]"):
        raymu.open_run(location).export(tmp_path / "model", formats=["onnx"])
    assert not list(tmp_path.iterdir())


def test_the_formats_of_the_command_are_those_of_the_table() -> None:
    [option] = [param for param in command.params if param.name == "formats"]
    assert set(option.type.choices) == set(ExportFormat)  # type: ignore[attr-defined]


def test_a_table_with_categories_takes_a_batch_for_each_constituent(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    colours = pa.array(random.choice(["red", "green", "blue"], 60).tolist())
    columns = {"id": range(60), "label": random.choice(["yes", "no"], 60).tolist(), "age": random.normal(size=60)}
    table = pa.table({**columns, "colour": colours})
    pq.write_table(table, tmp_path / "people.parquet")
    tree = {
        "data": {"train": str(tmp_path / "people.parquet"), "features": ["age", "colour"]},
        "task": "tabular",
        "model": {"name": "mlp", "hidden": [4]},
        "training": {"epochs": 2, "batch_size": 16},
        "partition": {"shards": 2, "slices": 2},
        "cluster": {"fleet": "local"},
    }
    with raymu.train(raymu.Config.parse(tree), tmp_path / "run") as run:
        run.export(tmp_path / "model")
        rows = Columns.of(table.select(["age", "colour"]))
        batches, expected = run.module().encode(rows), run.predict(rows)
    assert len(batches) == 2
    program = torch.export.load(tmp_path / "model" / "ensemble.pt2").module()
    np.testing.assert_array_equal(program(*batches).detach().numpy(), expected)
    document = json.loads((tmp_path / "model" / "export.json").read_text())
    assert document["outputs"] == {"count": 2, "classes": ["no", "yes"]}
    assert len(document["inputs"]) == 4


def test_numbers_are_exported_in_the_unit_of_the_training_file(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(60, 4))
    features = pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), 4)
    labels = 1000.0 + 50.0 * values[:, 0]
    pq.write_table(pa.table({"id": range(60), "label": labels, "features": features}), tmp_path / "rents.parquet")
    tree = {
        "data": {"train": str(tmp_path / "rents.parquet")},
        "task": {"name": "tensor", "target": "regression"},
        "model": {"name": "mlp", "hidden": [4]},
        "training": {"epochs": 2, "batch_size": 16},
        "partition": {"shards": 2, "slices": 2},
        "cluster": {"fleet": "local"},
    }
    with raymu.train(raymu.Config.parse(tree), tmp_path / "run") as run:
        module, expected = run.module(), run.predict(values)
    assert module.dtype == torch.float64
    np.testing.assert_array_equal(module(torch.from_numpy(values)).detach().numpy(), expected)
    assert 900.0 < expected.mean() < 1100.0
