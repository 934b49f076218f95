"""The search for the hybrid boundary with Ray Tune gives each trial the score that it has by itself."""

import os
import pickle
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import raymu
from raymu.config.unlearning import Boundary, Contributions, Strategy
from raymu.core.tuning import Constraints, Score, Search, SearchSpace
from raymu.errors import ConfigInvalid, DeviceUnavailable, RequestInvalid, TraceInvalid
from raymu.service.tuning.objective import ObjectiveSpec, TuningObjective
from tests.support.examples import make_config, train_run, write_samples
from tests.support.processes import TwoNodes

pytestmark = pytest.mark.usefixtures("ray_cluster")

SPACE = SearchSpace(strategies=(Strategy.HS, Strategy.OHS), contributions=(Contributions.GRADIENT,))


@pytest.fixture(scope="module")
def location(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose trials take half of the cluster each, so that two processes carry all of them out."""
    folder = tmp_path_factory.mktemp("searched")
    write_samples(folder / "all.parquet", samples=160)
    test, cluster = {"test": str(folder / "all.parquet")}, {"fleet": "local", "cpus_per_shard": 4}
    config = make_config(folder / "all.parquet", data=test, cluster=cluster)
    raymu.train(config, folder / "run").close()
    return folder / "run"


class Trap:
    """An object that runs a command when it is read."""

    def __init__(self, command: str) -> None:
        self._command = command

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (self._command,)


def without_clock(score: Score) -> Score:
    return replace(score, measured_seconds=0.0)


def test_a_search_has_the_scores_of_single_trials_also_when_it_is_resumed(location: Path, tmp_path: Path) -> None:
    run = raymu.open_run(location)
    (tmp_path / "branch-old").mkdir()
    search, counts = Search(space=SPACE, trials=4), []
    report = run.tune(
        search, Constraints(), out=tmp_path, traffic="uniform:5", progress=lambda done, of: counts.append((done, of))
    )
    assert counts[-1] == (4, 4)
    scratch = tmp_path / "alone"
    scratch.mkdir()
    test = location.parent / "all.parquet"
    objective = TuningObjective(
        ObjectiveSpec(
            location=str(location), traffic="uniform:5", trace=None, test=str(test), scratch=str(scratch), workers=1
        )
    )
    for trial in report.trials:
        assert without_clock(trial.score) == without_clock(objective.evaluate(trial.choice))
    assert pq.read_table(tmp_path / "trials.parquet").num_rows == 4
    left = tmp_path / "branches" / "left-behind"  # by a search that was killed
    assert not list(left.parent.iterdir())
    left.mkdir()
    mark = tmp_path / "was here"
    for name in ("tuner.pkl", "trainable.pkl", "experiment_state-0.json"):  # where Ray Tune would look for its state
        (tmp_path / "search").mkdir(exist_ok=True)
        (tmp_path / "search" / name).write_bytes(pickle.dumps(Trap(f"touch '{mark}'")))

    again = run.tune(search, Constraints(), out=tmp_path, traffic="uniform:5")
    assert again.trials == report.trials
    assert not mark.exists()
    assert (left.exists(), (tmp_path / "branch-old").exists()) == (False, True)
    with pytest.raises(RequestInvalid, match="belongs to another search"):
        run.tune(search, Constraints(), out=tmp_path, traffic="uniform:4")


@pytest.mark.parametrize("method", [pytest.param("random", marks=pytest.mark.nightly), "optuna"])
def test_other_search_methods_stop_inferior_trials(location: Path, tmp_path: Path, method: str) -> None:
    search = Search(space=SPACE, method=method, trials=4, stops_early=True)  # type: ignore[arg-type]
    report = raymu.open_run(location).tune(search, Constraints(), out=tmp_path, traffic="uniform:5")
    assert len(report.trials) + report.stopped == 4
    assert report.trials


def test_the_chosen_settings_are_applied_and_journalled(location: Path) -> None:
    with raymu.open_run(location) as run:
        generation = run.status().generation
        run.configure(strategy="ohs", boundary=0.75)
        assert (run.config.unlearning.strategy, run.config.unlearning.boundary) == (Strategy.OHS, Boundary.parse(0.75))
        assert raymu.open_run(location).config.unlearning.boundary == Boundary.parse(0.75)
        assert run.status().generation == generation
        with pytest.raises(ConfigInvalid, match="is over 1"):
            run.configure(boundary=2.0)
        with pytest.raises(RequestInvalid, match="train anew"):
            run.configure(contributions="batch")
    assert raymu.open_run(location).verify().verdict == "pass"


def test_trials_need_room_on_the_node_of_their_folder(location: Path, tmp_path: Path) -> None:
    config = make_config(location.parent / "all.parquet", cluster={"fleet": "ray", "resources_per_shard": {"slot": 1}})
    train_run(config, tmp_path / "run")
    other = TwoNodes(num_cpus=2, resources={"slot": 2})
    try:
        with pytest.raises(DeviceUnavailable, match="the cluster's nodes have 8 CPU, 0 slot"):
            raymu.open_run(tmp_path / "run").tune(
                Search(space=SPACE),
                Constraints(),
                out=tmp_path,
                traffic="uniform:5",
                test=location.parent / "all.parquet",
            )
    finally:
        other.close()


def test_a_search_that_is_refused_leaves_no_folder(location: Path, tmp_path: Path) -> None:
    with pytest.raises(TraceInvalid, match="lower the count"):
        raymu.open_run(location).tune(Search(space=SPACE), Constraints(), out=tmp_path / "out", traffic="uniform:1000")
    assert not (tmp_path / "out").exists()
