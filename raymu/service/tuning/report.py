"""The result of a search: scored trials, baselines and the chosen settings."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean

import pyarrow as pa
import pyarrow.parquet as pq

from raymu.core.oracle_gap import PredictionSummary
from raymu.core.tuning import Choice, Constraints, Score, TuningTrial, pareto_front
from raymu.errors import NoFeasibleTrial
from raymu.output_file import atomic_write
from raymu.service.tuning.objective import TuningObjective
from raymu.service.tuning.oracles import MeasuredModel
from raymu.shown_record import ShownRecord
from raymu.store.codec import to_json
from raymu.text import plural


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoredTrial:
    """A trial, compared with the constraints and with the other trials."""

    choice: Choice
    score: Score
    loss: float
    violations: dict[str, float]
    """Violated constraint -> excess, relative to the bound."""
    is_on_front: bool
    """Whether no other trial is better in compute, accuracy and forgetting error at once."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Baseline:
    """What a search is compared with, measured as a trial is. The fields are those of `Score`."""

    accuracy: float
    lost_points: float
    forgetting_error: float
    klom_error: float
    too_little: float
    """Mean nats by which losses on the forget set are below the oracle's."""
    too_much: float
    """Mean nats by which losses on the forget set are above the oracle's."""


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class TuningReport(ShownRecord):
    """The result of a search."""

    traffic: str
    requests: int
    """Number of requests in the trace."""
    retrain_passes: float
    """Forecast sample passes of retraining for each request."""
    constraints: Constraints
    trials: tuple[ScoredTrial, ...]
    stopped: int
    """Number of trials that were stopped early."""
    oracle: Baseline
    """Every touched shard retrained."""
    other_seed: Baseline
    """The same with other seeds, mean: its forgetting error is the floor."""
    untouched: Baseline
    """The run as it is, which has forgotten nothing."""
    control: Baseline
    """Every touched shard fine-tuned, which forgets nothing."""
    chosen: ScoredTrial

    @property
    def _facts(self) -> dict[str, object]:
        choice, score = self.chosen.choice, self.chosen.score
        name = "nearest, which misses a limit" if self.chosen.violations else "chosen"
        return {
            "traffic": f"{self.traffic}, {plural(self.requests, 'request')}",
            "trials": len(self.trials),
            name: f"{choice.strategy}, boundary {choice.boundary:.2f}",
            "work saved": f"{self.retrain_passes / max(score.passes, 1.0):,.1f}x",
            "points lost": f"{score.lost_points:+.2f}",
            "forgetting error": f"{score.forgetting_error:.2f}",
            "shards in debt": f"{score.debt_share:.0%}",
        }


def score_trials(
    objective: TuningObjective, traffic: str, trials: Sequence[TuningTrial], constraints: Constraints, stopped: int
) -> TuningReport:
    """Compare trials with the constraints and the baselines, and choose the one with the smallest loss.

    Args:
        objective: What the trials were scored by.
        traffic: The traffic or the trace, as the user wrote it.
        trials: At least one.
        constraints: What the chosen settings must satisfy.
        stopped: Number of trials that were stopped early.
    """
    passes = objective.retrain_passes
    on_front = pareto_front([trial.score for trial in trials])
    scored = tuple(
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
        requests=len(objective.trace.requests),
        retrain_passes=passes,
        constraints=constraints,
        trials=scored,
        stopped=stopped,
        oracle=_baseline([objective.oracles.own], objective.oracle),
        other_seed=_baseline(objective.oracles.others, objective.oracle),
        untouched=_baseline([objective.untouched], objective.oracle),
        control=_baseline([objective.control], objective.oracle),
        chosen=min(scored, key=lambda trial: trial.loss),
    )


def _baseline(models: Sequence[MeasuredModel], oracle: PredictionSummary) -> Baseline:
    """Average over some models of one kind."""
    gaps = [model.predictions.distance(oracle) for model in models]
    accuracy = fmean(model.predictions.test_accuracy for model in models)
    return Baseline(
        accuracy=accuracy,
        lost_points=100.0 * (oracle.test_accuracy - accuracy),
        forgetting_error=fmean(model.error.paired for model in models),
        klom_error=fmean(model.error.klom for model in models),
        too_little=fmean(gap.under for gap in gaps),
        too_much=fmean(gap.over for gap in gaps),
    )


def require_feasible(report: TuningReport) -> None:
    """Raise NoFeasibleTrial, which names the nearest trial, if no trial satisfies all constraints."""
    nearest = report.chosen
    if nearest.violations:
        misses = ", ".join(f"{name} {getattr(nearest.score, name):.3g}" for name in nearest.violations)
        raise NoFeasibleTrial(f"{nearest.choice.strategy} with boundary {nearest.choice.boundary:.3g}", misses)


def save(report: TuningReport, folder: Path) -> None:
    """Write the report as `tuning.json`, and the trials as `trials.parquet`, one row a trial."""
    with atomic_write(folder / "tuning.json") as partial:
        partial.write_bytes(to_json(report))
    rows = [
        {
            **asdict(trial.choice),
            **asdict(trial.score),
            "loss": trial.loss,
            "is_feasible": not trial.violations,
            "is_on_front": trial.is_on_front,
            "is_chosen": trial == report.chosen,
        }
        for trial in report.trials
    ]
    with atomic_write(folder / "trials.parquet") as partial:
        pq.write_table(pa.Table.from_pylist(rows), partial)
