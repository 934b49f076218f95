"""Methods side by side, on a run that trains in a fraction of a second."""

from typing import Any

import numpy as np
import pytest

from raymu.api import train
from raymu.benchmark.compare import (
    SCRATCH,
    STRATEGIES,
    ComparisonSetup,
    Method,
    compare,
    revoke_with,
    train_from_scratch,
)
from raymu.config.unlearning import Strategy
from raymu.core.records import Remedy
from raymu.store.run import RunStore
from tests.support.examples import make_config, write_samples

FORGET = [1000 + 7 * number for number in range(4)]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> ComparisonSetup:
    folder = tmp_path_factory.mktemp("bench")
    write_samples(folder / "train.parquet")
    config = make_config(folder / "train.parquet", data={"test": str(folder / "train.parquet")})
    train(config, folder / "base").close()
    return ComparisonSetup.of(config, str(folder / "base"), folder)


def weights(place: str) -> list[str]:
    return [lineage.serving.weights_sha256 for lineage in RunStore(place).current().lineages]


def test_exact_retraining_is_at_no_distance_from_the_oracle(bench: ComparisonSetup) -> None:
    trials = {trial.method: trial for trial in compare(bench, [FORGET[:2], FORGET[2:]])}
    assert set(trials) == {*Strategy, SCRATCH, "control"}
    oracle = trials[SCRATCH].predictions
    exact = trials[Strategy.SISA].predictions.distance(oracle)
    assert (exact.equal_answers, exact.probability) == (1.0, 0.0)
    assert trials["control"].predictions.distance(oracle).probability > 0.0
    assert trials[SCRATCH].passes > trials[Strategy.SISA].passes > trials[Strategy.DPUS].passes


def test_trying_methods_leaves_the_trained_run_and_its_folder_as_they_were(bench: ComparisonSetup) -> None:
    before, there = weights(bench.base), sorted(bench.scratch.iterdir())
    compare(bench, [FORGET], STRATEGIES[:1])
    assert weights(bench.base) == before
    assert sorted(bench.scratch.iterdir()) == there


def test_a_method_may_have_other_settings_than_the_trained_run(bench: ComparisonSetup) -> None:
    replay = Method(name="replay", strategy=Strategy.OHS, boundary=0.0, unlearning={"ohs": {"remedy": "replay"}})
    [receipt] = revoke_with(replay, bench, [FORGET]).receipts
    assert Remedy.REPLAY in {part.remedy for part in receipt.shards}


def test_a_remedy_that_serves_requests_together_counts_once(bench: ComparisonSetup) -> None:
    one_by_one, together = (
        revoke_with(STRATEGIES[0], bench, [[one] for one in FORGET], together=count) for count in (1, len(FORGET))
    )
    at_once = revoke_with(STRATEGIES[0], bench, [FORGET])
    assert together.passes == at_once.passes < one_by_one.passes
    assert len(together.receipts) == len(FORGET)


@pytest.mark.parametrize(("on_accept", "is_rewound"), [("rewind", True), ("keep", False)])
def test_what_is_not_rewound_is_forgotten_when_the_repair_is_published(
    bench: ComparisonSetup, on_accept: str, is_rewound: bool
) -> None:
    settings: dict[str, Any] = {"on_accept": on_accept}
    trial = revoke_with(Method(name="m", strategy=Strategy.SISA, unlearning=settings), bench, [FORGET[:1]])
    assert trial.forgotten_s is not None
    assert trial.repaired_s is not None
    assert (trial.forgotten_s < trial.repaired_s) == is_rewound


def test_an_oracle_of_another_seed_is_another_model(bench: ComparisonSetup) -> None:
    first, second = (train_from_scratch(bench, [FORGET], seed=seed).predictions for seed in (None, 99))
    assert not np.array_equal(first.forget, second.forget)
