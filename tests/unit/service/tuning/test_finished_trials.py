from dataclasses import fields, replace
from pathlib import Path

from raymu.config.unlearning import Contributions, Strategy
from raymu.core.tuning import Choice, InterimScore, Score
from raymu.service.tuning.finished_trials import FinishedTrial, FinishedTrials

KEY = bytes(32)
CHOICE = Choice(
    strategy=Strategy.OHS, boundary=1 / 3, contributions=Contributions.GRADIENT, fine_tune_slices=1, window_s=0.5
)
VALUES = {field.name: "ab" if field.name == "weights_sha256" else 1 / 7 for field in fields(Score)}
TRIAL = FinishedTrial(
    choice=CHOICE,
    interim=((2, InterimScore(passes=1.0, lost_points=0.1, debt_share=0.0)),),
    score=Score(**VALUES),  # type: ignore[arg-type]
)


def test_a_finished_trial_is_found_again_bit_for_bit(tmp_path: Path) -> None:
    trials = FinishedTrials(tmp_path, KEY)
    assert trials.find(CHOICE) is None
    trials.write(TRIAL)
    assert trials.find(CHOICE) == TRIAL
    assert trials.find(replace(CHOICE, boundary=0.5)) is None


def test_a_file_that_was_changed_is_not_a_trial(tmp_path: Path) -> None:
    FinishedTrials(tmp_path, KEY).write(TRIAL)
    [file] = (tmp_path / "finished").iterdir()
    for payload in (b"", b"{}", b"[" * 100_000, file.read_bytes().replace(b"0.5", b"0.6")):
        file.write_bytes(payload)
        assert FinishedTrials(tmp_path, KEY).find(CHOICE) is None


def test_a_trial_that_somebody_else_wrote_is_not_one(tmp_path: Path) -> None:
    FinishedTrials(tmp_path, bytes(31) + b"1").write(TRIAL)
    assert FinishedTrials(tmp_path, KEY).find(CHOICE) is None
