"""What a run serves between the acceptance of a request and its rewinding, in which a coordinator may die."""

import asyncio
import subprocess
import sys
import time
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
from raymu.service.served_ensemble import ServedEnsemble
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


REVOKE = """
import sys, time
import raymu
with raymu.open_run(sys.argv[1], trust=True) as run:
    for sample_id in sys.argv[2:]:
        run.revoke([int(sample_id)], strategy="sisa")
        print(time.monotonic(), flush=True)
"""


def test_a_process_that_predicts_all_the_time_never_answers_from_what_another_has_revoked_from(
    trained_run: TrainedRunFactory,
) -> None:
    run = trained_run()
    features = read_table(str(run.config.data.train), run.config.data).features[:1]
    [*samples] = (run.ids(shard=shard, slice_index=2)[0] for shard in (0, 1))
    answers: list[tuple[float, bytes]] = []
    with raymu.open_run(run.location) as opened:
        opened.predict(features)
        child = subprocess.Popen(
            [sys.executable, "-c", REVOKE, str(run.location), *map(str, samples)], stdout=subprocess.PIPE, text=True
        )
        while child.poll() is None:
            began = time.monotonic()
            answers.append((began, opened.predict(features).tobytes()))
        assert child.stdout is not None
        acknowledged = [float(line) for line in child.stdout.read().splitlines()]
        child.stdout.close()
        settled = opened.predict(features).tobytes()
    assert len(acknowledged) == len(samples)
    after = {answer for began, answer in answers if began >= acknowledged[-1]}
    assert after <= {settled}
    before = {answer for began, answer in answers if began < acknowledged[0] - 2}
    assert settled not in before
    fresh = raymu.open_run(run.location).predict(features)
    assert fresh.tobytes() == settled


def test_an_answer_is_computed_again_if_a_request_is_accepted_meanwhile(trained_run: TrainedRunFactory) -> None:
    run = trained_run()
    served, numbers = ServedEnsemble(run.store), list[int]()
    [sample, *_] = run.ids(shard=0, slice_index=1)

    def compute(ensemble: Ensemble) -> int:
        if not numbers:
            accept_and_die(run, sample)
        numbers.append(ensemble.generation.constituents[0].stages_trained)
        return numbers[-1]

    assert served.answer(compute) == 1
    assert numbers == [3, 1]
    served.close()


def test_as_long_as_nothing_is_written_no_file_of_the_run_is_read(
    trained_run: TrainedRunFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = trained_run()
    served = ServedEnsemble(run.store)
    ensemble = served.current()
    with monkeypatch.context() as patched:
        patched.setattr("raymu.service.served_ensemble.served_generation", pytest.fail)
        assert served.current() is ensemble
    accept_and_die(run, run.ids(shard=0, slice_index=1)[0])
    rewound = served.current()
    assert rewound is not ensemble
    assert rewound._classifiers[1] is ensemble._classifiers[1]  # the model of the other shard is not loaded again
    served.close()
