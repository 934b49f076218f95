"""Predictions: inputs that the run was not trained on are refused."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import raymu
from raymu.benchmark.compare import rewound_generation
from raymu.config import Config
from raymu.config.unlearning import AggregationName
from raymu.core.aggregate import AGGREGATIONS
from raymu.core.records import Generation
from raymu.errors import ConfigInvalid, DataInvalid, FileMissing, RequestInvalid, RunInvalid, UnknownSamples
from raymu.service.prediction import Ensemble
from raymu.store.run import RunStore
from tests.support.coordinated_run import constituent_of, ids_at
from tests.support.examples import create_run, make_config, write_samples
from tests.support.trained_runs import TrainedRunFactory

GOOD = np.zeros((4, 6), dtype=np.float32)


@pytest.fixture(scope="module")
def location(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained run that no test changes."""
    folder = tmp_path_factory.mktemp("run")
    write_samples(folder / "all.parquet")
    create_run(make_config(folder / "all.parquet", data={"classes": None}), folder / "run")
    return folder / "run"


REFUSED: dict[str, tuple[Any, str]] = {
    "another width": (np.zeros((4, 5)), r"have shape \(5,\), the run was trained on \(6,\)"),
    "one sample by itself": (np.zeros(6), r"have shape \(\)"),
    "text": (np.full((4, 6), "a"), "they must be numbers"),
    "objects": (np.full((4, 6), None), "they must be numbers"),
    "a NaN": (np.full((4, 6), np.nan), "missing, NaN or infinite features in 4 rows"),
    "an infinity": (np.full((4, 6), -np.inf), "missing, NaN or infinite features in 4 rows"),
}


@pytest.mark.parametrize(("features", "problem"), REFUSED.values(), ids=REFUSED)
def test_features_that_the_run_was_not_trained_on_are_refused(location: Path, features: Any, problem: str) -> None:
    ensemble = Ensemble.current(RunStore(str(location)))
    with pytest.raises(DataInvalid, match=problem):
        ensemble.predict(features)


@pytest.mark.parametrize("dtype", [np.float64, np.float16, np.int8, np.uint64, np.bool_])
def test_numbers_of_any_kind_are_predicted_alike(location: Path, dtype: type) -> None:
    ensemble = Ensemble.current(RunStore(str(location)))
    np.testing.assert_array_equal(ensemble.predict(GOOD.astype(dtype)), ensemble.predict(GOOD))


@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_predictions_for_no_samples_are_empty(
    location: Path, monkeypatch: pytest.MonkeyPatch, aggregation: AggregationName, dtype: type
) -> None:
    ensemble = Ensemble.current(RunStore(str(location)))
    monkeypatch.setattr(ensemble, "_aggregate", AGGREGATIONS[aggregation])
    probabilities = ensemble.predict(GOOD[:0].astype(dtype))
    assert probabilities.shape == (0, 3)
    assert probabilities.dtype == np.float32


@pytest.mark.parametrize("labels", [[0], [0] * 5])
def test_every_sample_needs_a_label(location: Path, labels: list[int]) -> None:
    ensemble = Ensemble.current(RunStore(str(location)))
    with pytest.raises(DataInvalid, match=f"labels: are {len(labels)} for 4 samples; give one for each"):
        ensemble.evaluate(GOOD, np.array(labels))
    with pytest.raises(DataInvalid, match="labels: are 0 for 0 samples"):
        ensemble.evaluate(GOOD[:0], np.array([], dtype=np.int64))


def test_labels_beyond_the_runs_classes_are_refused_also_without_configured_classes(location: Path) -> None:
    write_samples(location.parent / "beyond.parquet", classes=5)
    with raymu.open_run(location) as run, pytest.raises(DataInvalid, match=r"a label is 4, but data\.classes is 3"):
        run.evaluate_file(str(location.parent / "beyond.parquet"))


CALLS: dict[str, tuple[Callable[[raymu.Run], object], str]] = {
    "text for a list": (lambda run: run.revoke("1000"), "ids is '1000'; give a list of ids"),
    "text for a list in a plan": (lambda run: run.plan("1000"), "give a list of ids"),
    "no workers": (lambda run: run.plan([1000], workers=0), "workers is 0"),
}


@pytest.mark.parametrize(("call", "problem"), CALLS.values(), ids=CALLS)
def test_arguments_without_a_meaning_are_refused(
    location: Path, call: Callable[[raymu.Run], object], problem: str
) -> None:
    with raymu.open_run(location) as run, pytest.raises(RequestInvalid, match=problem):
        call(run)


def test_a_refused_request_does_not_take_the_run_over(location: Path) -> None:
    term = (location / "epoch").read_bytes()
    with raymu.open_run(location) as run, pytest.raises(RequestInvalid):
        run.revoke([True])
    assert (location / "epoch").read_bytes() == term


class BusyRun(RunStore):
    """Publishes further generations between a read of the current generation and its loading."""

    def __init__(self, location: Path, publications: Iterator[object]) -> None:
        super().__init__(str(location))
        self._publications = publications

    def current(self) -> Generation:
        generation = super().current()
        next(self._publications, None)
        return generation


def test_a_reader_follows_a_run_that_publishes_while_it_loads(trained_run: TrainedRunFactory) -> None:
    run = trained_run()
    early = iter(run.ids(shard=0, slice_index=0))
    busy = BusyRun(run.location, (run.revoke([next(early)], strategy="sisa") for _ in range(3)))
    ensemble = Ensemble.current(busy)
    assert ensemble.generation == run.store.current()


def test_only_the_shards_of_the_samples_are_rewound_and_none_for_an_unknown_sample(location: Path) -> None:
    store = RunStore(str(location))
    [held] = ids_at(store.config, shard=0, slice_index=1)[:1]
    states = {
        constituent.shard: (constituent.state, constituent.stages_trained)
        for constituent in rewound_generation(store, [held]).constituents
    }
    assert states == {0: ("rewound", 1), 1: ("exact", 3)}
    with pytest.raises(UnknownSamples, match=r"1 unknown sample id \(5\)"):
        rewound_generation(store, [held, 5])


def test_a_missing_checkpoint_is_reported(trained_run: TrainedRunFactory) -> None:
    run = trained_run()
    checkpoint = constituent_of(run.location, 0).checkpoint
    assert checkpoint
    (run.location / checkpoint.file.path).unlink()
    with pytest.raises(FileMissing, match="raymu rebuild"):
        Ensemble.current(run.store)


def test_a_changed_model_is_reported(location: Path) -> None:
    store = RunStore(str(location))
    other = store.config.tree()
    other["model"]["args"]["hidden"] = [9]
    store.config = Config.parse(other)
    with pytest.raises(
        ConfigInvalid, match=r"the run's checkpoints do not fit it .*; restore the factory's former code"
    ):
        Ensemble.current(store)


def test_a_file_is_not_a_run(location: Path) -> None:
    with pytest.raises(RunInvalid, match="is not a run"):
        raymu.open_run(location.parent / "all.parquet")
