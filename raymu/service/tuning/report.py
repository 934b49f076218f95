"""What a search found, as records and as a table."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from raymu.core.oracle_gap import PredictionSummary
from raymu.core.tuning import Choice, Constraints, Score, TuningTrial, pareto_front
from raymu.errors import NoFeasibleTrial
from raymu.output_file import atomic_write
from raymu.service.tuning.objective import TuningObjective
from raymu.store.codec import to_json


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoredTrial:
    """A trial, judged. violations: constraints that it does not hold -> by how much, relative to the bound"""

    choice: Choice
    score: Score
    loss: float
    violations: dict[str, float]
    is_on_front: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Baseline:
    """What a trial is compared with. Losses in nats, below the oracle's and above them, on average."""

    accuracy: float
    lost_points: float
    too_little: float
    too_much: float


@dataclass(frozen=True, kw_only=True, slots=True)
class TuningReport:
    """requests: of the trace; retrain_passes: what retraining for each of them takes, as foreseen

    stopped: trials that were ended early; control: fine-tuning alone, which forgets nothing
    """

    traffic: str
    requests: int
    retrain_passes: float
    constraints: Constraints
    trials: tuple[ScoredTrial, ...]
    stopped: int
    oracle: Baseline
    control: Baseline
    chosen: ScoredTrial


def score_trials(
    bench: TuningObjective, traffic: str, trials: Sequence[TuningTrial], constraints: Constraints, stopped: int
) -> TuningReport:
    """Compare trials with the constraints and the baselines. trials: at least one; stopped: how many were ended early"""
    passes = bench.retrain_passes
    on_front = pareto_front([trial.score for trial in trials])
    judged = tuple(
        ScoredTrial(
            choice=trial.choice,
            score=trial.score,
            loss=constraints.loss(trial.score, retrain_passes=passes),
            violations=constraints.violations(trial.score),
            is_on_front=is_on_front,
        )
        for trial, is_on_front in zip(trials, on_front, strict=True)
    )
    return TuningReport(
        traffic=traffic,
        requests=len(bench.trace.requests),
        retrain_passes=passes,
        constraints=constraints,
        trials=judged,
        stopped=stopped,
        oracle=_baseline(bench.oracle, bench.oracle),
        control=_baseline(bench.control, bench.oracle),
        chosen=min(judged, key=lambda one: one.loss),
    )


def _baseline(answers: PredictionSummary, oracle: PredictionSummary) -> Baseline:
    distance = answers.distance(oracle)
    return Baseline(
        accuracy=answers.test_accuracy,
        lost_points=100.0 * (oracle.test_accuracy - answers.test_accuracy),
        too_little=distance.under,
        too_much=distance.over,
    )


def require_feasible(report: TuningReport) -> None:
    """Raises NoFeasibleTrial, which names the nearest trial."""
    nearest = report.chosen
    if nearest.violations:
        misses = ", ".join(f"{name} {getattr(nearest.score, name):.3g}" for name in nearest.violations)
        raise NoFeasibleTrial(f"{nearest.choice.strategy} with boundary {nearest.choice.boundary:.3g}", misses)


def save(report: TuningReport, folder: Path) -> None:
    """Write `tuning.json`, and the trials as `trials.parquet`, one row each."""
    with atomic_write(folder / "tuning.json") as partial:
        partial.write_bytes(to_json(report))
    rows = [
        {
            **asdict(one.choice),
            **asdict(one.score),
            "loss": one.loss,
            "is_feasible": not one.violations,
            "is_on_front": one.is_on_front,
            "is_chosen": one == report.chosen,
        }
        for one in report.trials
    ]
    with atomic_write(folder / "trials.parquet") as partial:
        pq.write_table(pa.Table.from_pylist(rows), partial)
