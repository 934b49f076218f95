"""What a run serves between the acceptance of a request and its rewinding, in which a coordinator may die."""

import asyncio
from pathlib import Path

import numpy as np
import pytest

import raymu
from raymu.cli import run_command
from raymu.core.records import ShardState
from raymu.data.tables import read_table
from raymu.service.prediction import Ensemble
from raymu.service.requests.revocation import Revocation
from raymu.service.served import served_generation
from raymu.service.status import status
from tests.support.examples import settle
from tests.support.trained_runs import TrainedRun, TrainedRunFactory


def accept_and_die(run: TrainedRun, *ids: object) -> None:
    """Commit requests for these samples, one each, and carry none of them out."""
    asyncio.run(run.coordinator.accept([Revocation(ids=(sample_id,)) for sample_id in ids]))  # type: ignore[arg-type]


def test_predictions_are_rewound_for_a_request_that_was_accepted_and_not_published(
    trained_run: TrainedRunFactory,
) -> None:
    run = trained_run()
    before = run.store.current()
    accept_and_die(run, run.ids(shard=0, slice_index=1)[0])
    assert run.store.current() == before  # the coordinator died before it published
    states = {
        served.shard: (served.state, served.stages_trained) for served in served_generation(run.store).constituents
    }
    assert states == {0: (ShardState.REWOUND, 1), 1: (ShardState.EXACT, 3)}
    assert Ensemble.current(run.store).generation.constituents[0].checkpoint == before.lineages[0].checkpoints[0]


def test_a_process_that_has_loaded_the_models_sees_a_request_that_was_accepted_since(
    trained_run: TrainedRunFactory,
) -> None:
    run = trained_run()
    features = read_table(str(run.config.data.train), run.config.data).features
    with raymu.open_run(run.location) as opened:
        before = opened.predict(features)
        assert opened.waiting() is None
        accept_and_die(run, run.ids(shard=0, slice_index=2)[0])
        rewound = opened.predict(features)
        assert not np.array_equal(rewound, before)
        assert str(opened.waiting()).startswith(
            "1 accepted request not carried out yet: their shards serve earlier states"
        )
        settle(run.open())
        assert opened.waiting() is None
        assert not np.array_equal(opened.predict(features), rewound)


def test_the_status_shows_what_predictions_are_made_from(trained_run: TrainedRunFactory) -> None:
    run = trained_run()
    accept_and_die(run, run.ids(shard=1, slice_index=0)[0])
    assert [shard.state for shard in status(run.store).shards] == [ShardState.EXACT, ShardState.ABSTAINING]


def test_a_shard_that_abstains_once_it_is_rewound_refuses_rather_than_predicts(trained_run: TrainedRunFactory) -> None:
    run = trained_run()
    accept_and_die(run, *(run.ids(shard=shard, slice_index=0)[0] for shard in (0, 1)))
    with pytest.raises(raymu.errors.NoVoters, match="raymu settle"):
        Ensemble.current(run.store)


@pytest.mark.parametrize(
    ("on_accept", "said"), [("keep", "a state that saw the samples"), ("rewind", "earlier states, which never saw")]
)
def test_the_command_line_says_what_it_predicts_from(
    trained_run: TrainedRunFactory, tmp_path: Path, capfd: pytest.CaptureFixture[str], on_accept: str, said: str
) -> None:
    run = trained_run(unlearning={"on_accept": on_accept})
    accept_and_die(run, run.ids(shard=0, slice_index=1)[0])
    words = ["predict", str(run.location), "--data", str(run.config.data.train), "--out", str(tmp_path / "classes.csv")]
    assert run_command(words) == (0, "")
    assert said in capfd.readouterr().err
