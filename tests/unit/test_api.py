"""What a training that does not come to its end leaves behind."""

from pathlib import Path

import pytest

import raymu
from raymu.core.verdict import Verdict
from raymu.errors import RunInvalid, TrainingFailed, WorkerLost
from raymu.service.local import LocalCoordinator
from raymu.service.work import Progress
from tests.examples import make_config, write_samples


@pytest.mark.parametrize("is_there", [True, False])
def test_a_training_that_is_refused_leaves_the_place_as_it_was(tmp_path: Path, is_there: bool) -> None:
    write_samples(tmp_path / "all.parquet")
    if is_there:
        (tmp_path / "runs" / "one").mkdir(parents=True)
    before = sorted(tmp_path.rglob("*"))
    config = make_config(tmp_path / "all.parquet", training={"learning_rate": 1e25})
    with pytest.raises(TrainingFailed, match=r"lower training\.learning_rate"):
        raymu.train(config, tmp_path / "runs" / "one")
    assert sorted(tmp_path.rglob("*")) == before
    raymu.train(make_config(tmp_path / "all.parquet"), tmp_path / "runs" / "one").close()


def test_a_training_that_lost_its_workers_is_finished_by_settling(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose(_coordinator: LocalCoordinator, _progress: Progress) -> None:
        raise WorkerLost(0, 4, "out of memory")

    write_samples(tmp_path / "all.parquet")
    with monkeypatch.context() as patched:
        patched.setattr(LocalCoordinator, "train", lose)
        with pytest.raises(WorkerLost):
            raymu.train(make_config(tmp_path / "all.parquet"), tmp_path / "run")
    with raymu.open_run(tmp_path / "run") as run:
        with pytest.raises(RunInvalid, match="run `raymu settle`"):
            run.status()
        run.settle()
        assert {shard.state for shard in run.status().shards} == {"exact"}


@pytest.mark.parametrize("name", ["run#1", "run?", "100%20", "50% of %23 ?mode=rw"])
def test_a_run_whose_name_means_something_in_a_uri_is_read_like_any_other(tmp_path: Path, name: str) -> None:
    write_samples(tmp_path / "all.parquet")
    raymu.train(make_config(tmp_path / "all.parquet"), tmp_path / name).close()
    run = raymu.open_run(tmp_path / name)
    assert run.status().generation == 1
    assert run.evaluate_file(str(tmp_path / "all.parquet")).samples == 240
    assert run.verify().verdict is Verdict.PASS
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["all.parquet", name])
