"""Answers that are marked as certain keep their class, whatever becomes of the shards that wait."""

import asyncio
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import raymu
from raymu.core.certainty import Marks
from raymu.service.coordinator.coordinator import Coordinator
from raymu.service.prediction import Predictions
from raymu.service.requests.revocation import Revocation
from raymu.service.shard.fleet import LocalFleet
from raymu.store.run import RunStore
from tests.support.examples import create_run, make_config, write_samples


@pytest.mark.parametrize("on_accept", ["rewind", "abstain"])
@pytest.mark.parametrize("aggregation", ["mean_probability", "majority_vote", "size_weighted"])
def test_certain_answers_stay_when_the_shards_that_wait_vote_again(
    tmp_path: Path, on_accept: str, aggregation: str
) -> None:
    ids = write_samples(tmp_path / "all.parquet", samples=160)["id"].to_pylist()
    config = make_config(
        tmp_path / "all.parquet",
        training={"epochs": 30, "learning_rate": 0.5},
        partition={"shards": 4, "slices": 3},
        unlearning={"on_accept": on_accept, "aggregation": aggregation, "publish": {"at_least": 9, "every": "1h"}},
    )
    create_run(config, tmp_path / "run")
    with raymu.open_run(tmp_path / "run") as run:
        features = pq.read_table(tmp_path / "all.parquet").drop_columns(["label"])
        assert marks(run.predict_marked(features)).all(), "every shard is repaired"
        run.revoke(ids[:1], strategy="sisa")
        waiting = run.predict_marked(features)
        assert 0 < marks(waiting).sum() < len(ids)
        run.predict_file(tmp_path / "all.parquet", tmp_path / "out.parquet")
        assert pq.read_table(tmp_path / "out.parquet")["certain"].to_pylist() == marks(waiting).tolist()
        run.settle(publish=True)
        after = run.predict_marked(features)
    assert marks(after).all()
    is_same = waiting.outputs.argmax(axis=1) == after.outputs.argmax(axis=1)
    assert is_same[marks(waiting)].all()
    np.testing.assert_array_equal(after.outputs, run.predict(features))


def test_a_shard_that_keeps_its_state_is_open_while_a_request_waits_for_it(tmp_path: Path) -> None:
    ids = write_samples(tmp_path / "all.parquet", samples=160)["id"].to_pylist()
    config = make_config(
        tmp_path / "all.parquet",
        training={"epochs": 2},
        partition={"shards": 4, "slices": 3},
        unlearning={"on_accept": "keep"},
    )
    create_run(config, tmp_path / "run")
    store = RunStore(str(tmp_path / "run"))
    with raymu.open_run(tmp_path / "run") as run:
        features = pq.read_table(tmp_path / "all.parquet").drop_columns(["label"])
        before = run.predict_marked(features)
        coordinator = Coordinator(store, LocalFleet(store))
        asyncio.run(_accept(coordinator, ids[0]))
        waiting = run.predict_marked(features)
        assert marks(before).all()
        assert before.generation == waiting.generation
        assert not marks(waiting).all()


async def _accept(coordinator: Coordinator, sample: int) -> None:
    """Accept a request, and leave the run before it is carried out."""
    await coordinator.accept([Revocation(ids=(sample,), strategy="sisa")])
    await coordinator.close()


def marks(predictions: Predictions) -> Marks:
    assert predictions.certain is not None, "the run predicts classes"
    return predictions.certain
