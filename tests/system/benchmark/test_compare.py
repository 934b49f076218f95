"""Methods, compared on a run that trains in a fraction of a second."""

from typing import Any

import numpy as np
import pytest

from raymu.benchmark.compare import (
    BASELINES,
    CONTROL,
    OTHER_SEED,
    SCRATCH,
    STRATEGIES,
    UNTOUCHED,
    ComparisonSetup,
    Method,
    compare,
    revoke_with,
    train_from_scratch,
)
from raymu.config.unlearning import Strategy
from raymu.core.records import Remedy
from raymu.new_run import train
from raymu.store.run import RunStore
from tests.support.examples import make_config, write_samples

FORGET = [1000 + 7 * number for number in range(4)]


@pytest.fixture(scope="module")
def setup(tmp_path_factory: pytest.TempPathFactory) -> ComparisonSetup:
    folder = tmp_path_factory.mktemp("setup")
    write_samples(folder / "train.parquet")
    quick = {"curvature": {"samples": 8, "iterations": 1}}  # a patch that costs less than retraining a small shard
    config = make_config(folder / "train.parquet", data={"test": str(folder / "train.parquet")}, unlearning=quick)
    train(config, folder / "base").close()
    return ComparisonSetup.of(config, str(folder / "base"), folder)


def weights(location: str) -> list[str]:
    return [lineage.serving.weights_sha256 for lineage in RunStore(location).current().lineages]


def test_exact_retraining_equals_the_oracle(setup: ComparisonSetup) -> None:
    results = {result.method: result for result in compare(setup, [FORGET[:2], FORGET[2:]])}
    assert set(results) == {*Strategy, *BASELINES}
    oracle = results[SCRATCH].predictions
    exact = results[Strategy.SISA].predictions.distance(oracle)
    assert (exact.equal_answers, exact.probability) == (1.0, 0.0)
    assert results[CONTROL].predictions.distance(oracle).probability > 0.0
    assert results[OTHER_SEED].predictions.distance(oracle).probability > 0.0
    assert results[UNTOUCHED].predictions.distance(oracle).probability > 0.0
    assert results[UNTOUCHED].passes == 0.0
    assert results[SCRATCH].passes > results[Strategy.SISA].passes > results[Strategy.DPUS].passes


def test_a_comparison_changes_neither_the_trained_run_nor_its_folder(setup: ComparisonSetup) -> None:
    before, files = weights(setup.base), sorted(setup.scratch.iterdir())
    compare(setup, [FORGET], STRATEGIES[:1])
    assert weights(setup.base) == before
    assert sorted(setup.scratch.iterdir()) == files


def test_a_method_may_have_other_settings_than_the_trained_run(setup: ComparisonSetup) -> None:
    replay = Method(name="replay", strategy=Strategy.OHS, boundary=0.0, unlearning={"ohs": {"remedy": "replay"}})
    [receipt] = revoke_with(replay, setup, [FORGET]).receipts
    assert Remedy.REPLAY in {part.remedy for part in receipt.shards}


def test_a_remedy_that_serves_requests_together_counts_once(setup: ComparisonSetup) -> None:
    one_by_one, together = (
        revoke_with(STRATEGIES[0], setup, [[sample_id] for sample_id in FORGET], together=count)
        for count in (1, len(FORGET))
    )
    at_once = revoke_with(STRATEGIES[0], setup, [FORGET])
    assert together.passes == at_once.passes < one_by_one.passes
    assert len(together.receipts) == len(FORGET)


@pytest.mark.parametrize(("on_accept", "is_rewound"), [("rewind", True), ("keep", False)])
def test_without_rewinding_a_request_is_forgotten_when_its_repair_is_published(
    setup: ComparisonSetup, on_accept: str, is_rewound: bool
) -> None:
    settings: dict[str, Any] = {"on_accept": on_accept}
    result = revoke_with(Method(name="m", strategy=Strategy.SISA, unlearning=settings), setup, [FORGET[:1]])
    assert result.forgotten_s is not None
    assert result.repaired_s is not None
    assert (result.forgotten_s < result.repaired_s) == is_rewound


def test_an_oracle_of_another_seed_is_another_model(setup: ComparisonSetup) -> None:
    first, second = (train_from_scratch(setup, [FORGET], seed=seed).predictions for seed in (None, 99))
    assert not np.array_equal(first.forget, second.forget)
