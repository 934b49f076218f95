"""Where choices are tried: a trained run, a trace, and the oracle that each of them is measured against."""

import hashlib
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from raymu.config import UnlearningConfig
from raymu.core.oracle_gap import PredictionSummary
from raymu.core.planning.simulator import SimulationResult, simulate
from raymu.core.planning.trace import RevocableSamples, Trace
from raymu.core.planning.traffic import draw_trace, parse_traffic
from raymu.core.records import ShardLineage
from raymu.core.requests import Strategy
from raymu.core.schedule import epochs_per_stage
from raymu.core.tuning import Choice, InterimScore, Score
from raymu.data.traces import read_trace
from raymu.errors import RequestInvalid, RunInvalid
from raymu.service.history import replay
from raymu.service.negative_control import negative_control
from raymu.service.planning.population import held_population
from raymu.service.prediction import Ensemble, repaired_generation
from raymu.service.tuning.branch_repairs import BranchRepairs
from raymu.service.tuning.evaluation_set import EvaluationSet, held_samples, read_answers, write_answers
from raymu.service.tuning.search_folder import branches_in
from raymu.store.codec import to_json
from raymu.store.run import RunStore
from raymu.text import plural

OnProgress = Callable[[int, InterimScore], None]
"""Told how many requests are accepted, and the score until then, as far as it can be told."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ObjectiveSpec:
    """Everything that a bench is made from: small, and without ids.

    location: of the run; traffic: such as uniform:50, or trace: a file; test: a labelled table
    scratch: a folder for branches, on the run's disk if it is to be quick; workers: that repair side by side
    """

    location: str
    traffic: str | None
    trace: str | None
    test: str
    scratch: str
    workers: int

    def __post_init__(self) -> None:
        if (self.traffic is None) == (self.trace is None):
            raise RequestInvalid("give either --traffic, such as uniform:50, or --trace with a file of requests")


class TuningObjective:
    """Tries choices on branches of one run; the run itself is never touched."""

    def __init__(self, plan: ObjectiveSpec) -> None:
        """Raises RunInvalid where the run is not trained, or is not free of debt; TraceInvalid, DataInvalid."""
        self._plan, self._store = plan, RunStore(plan.location)
        self._lineages = _settled(self._store)
        self._population = held_population(self._store, [lineage.table for lineage in self._lineages])
        self.trace = _trace(plan, self._store, self._population)
        self._rows = self._population.rows_of(self.trace)
        forgotten = held_samples(self._store, self._lineages, np.concatenate(self._rows))
        self._examination = EvaluationSet.of(plan.test, self._store.config.data, forgotten)

    @cached_property
    def digest(self) -> str:
        """Of all that a trial depends on, but for its choice: the trace, the run's states and settings, the test data."""
        own = self._store.config.unlearning
        unchosen = replace(own, strategy="sisa", boundary=0.0, ohs=replace(own.ohs, slices=1))
        digest = hashlib.sha256(repr(self.trace).encode())
        for record in (unchosen, *self._lineages):
            digest.update(to_json(record))
        for values in (self._examination.features, self._examination.labels):
            digest.update(np.ascontiguousarray(values).data)
        return digest.hexdigest()

    def evaluate(self, choice: Choice, on_progress: OnProgress | None = None) -> Score:
        """Replay the trace with a choice. Raises RequestInvalid where the run does not allow for it.

        on_progress: told at each quarter of the trace but the last; may raise to end the trial
        """
        with self._branch(self.unlearning(choice)) as branch:
            remedies = BranchRepairs(branch, self._population, self._rows)
            told: list[int] = []

            def tell(accepted: int, passes: float, lineages: tuple[ShardLineage, ...]) -> None:
                is_due = self._quarter * (1 + len(told)) <= accepted < len(self.trace.requests)
                if on_progress is None or not is_due:
                    return
                told.append(accepted)
                answering = Ensemble(branch, repaired_generation(lineages))
                lost_points = self._lost_points(self._examination.accuracy(answering.predict))
                debts = _debt_share(lineages)
                on_progress(accepted, InterimScore(passes=passes, lost_points=lost_points, debt_share=debts))

            simulation = self._simulate(branch, self.trace, remedies, window_s=choice.window_s, on_batch=tell)
            return self._score(branch, simulation, remedies.measured_seconds)

    @cached_property
    def oracle(self) -> PredictionSummary:
        """What the run answers once every shard is retrained without the samples of the trace; made once, and kept."""
        kept = Path(self._plan.scratch) / f"answers-{self.digest[:16]}.npz"
        if kept.exists():
            return read_answers(kept)
        everything = Trace(requests=tuple(replace(one, at_s=0.0) for one in self.trace.requests))
        sisa = replace(self._store.config.unlearning, strategy=Strategy.SISA.value)
        with self._branch(sisa) as branch:
            remedies = BranchRepairs(branch, self._population, self._rows)
            simulation = self._simulate(branch, everything, remedies)
            answers = self._answers(branch, simulation.lineages)
        write_answers(answers, kept)
        return answers

    @cached_property
    def control(self) -> PredictionSummary:
        """What fine-tuning alone comes to, without any subtraction: it forgets nothing."""
        return self._examination.answers(negative_control(self._store, self._examination.forgotten.ids).predict)

    @cached_property
    def retrain_passes(self) -> float:
        """What retraining for every request as it comes would take, as foreseen."""
        sisa = replace(self._store.config.unlearning, strategy=Strategy.SISA.value)
        return simulate(
            self.trace, self._population, self._lineages, config=sisa, epochs=self._epochs, workers=self._plan.workers
        ).outcome.passes

    def _simulate(
        self,
        branch: RunStore,
        trace: Trace,
        remedies: BranchRepairs,
        *,
        window_s: float = 0.0,
        on_batch: Callable[[int, float, tuple[ShardLineage, ...]], None] = lambda _accepted, _passes, _lineages: None,
    ) -> SimulationResult:
        return simulate(
            trace,
            self._population,
            self._lineages,
            config=branch.config.unlearning,
            epochs=self._epochs,
            workers=self._plan.workers,
            window_s=window_s,
            has_batch_norm=branch.manifest.has_batch_norm,
            remedies=remedies,
            on_batch=on_batch,
        )

    def _score(self, branch: RunStore, simulation: SimulationResult, measured_seconds: float) -> Score:
        answers, done = self._answers(branch, simulation.lineages), simulation.outcome
        distance = answers.distance(self.oracle)
        weights = "".join(lineage.serving.weights_sha256 for lineage in simulation.lineages)
        return Score(
            passes=done.passes,
            compute_seconds=done.compute_seconds,
            measured_seconds=measured_seconds,
            makespan_s=done.makespan_s,
            p50_s=done.p50_s,
            p95_s=done.p95_s,
            accuracy=answers.test_accuracy,
            lost_points=self._lost_points(answers.test_accuracy),
            forgetting_error=distance.under + distance.over,
            too_little=distance.under,
            too_much=distance.over,
            approximate_share=done.approximate_share,
            debt_share=_debt_share(simulation.lineages),
            weights_sha256=hashlib.sha256(weights.encode()).hexdigest(),
        )

    def _lost_points(self, accuracy: float) -> float:
        return 100.0 * (self.oracle.test_accuracy - accuracy)

    def _answers(self, branch: RunStore, lineages: tuple[ShardLineage, ...]) -> PredictionSummary:
        return self._examination.answers(Ensemble(branch, repaired_generation(lineages)).predict)

    @property
    def _quarter(self) -> float:
        return len(self.trace.requests) / 4

    @property
    def _epochs(self) -> tuple[int, ...]:
        config = self._store.config
        return epochs_per_stage(config.training.epochs, config.partition.slices)

    def unlearning(self, choice: Choice) -> UnlearningConfig:
        """The run's settings with a choice. Raises RequestInvalid where the run does not allow for it."""
        own = self._store.config.unlearning
        if choice.contributions not in (own.contributions, *(["gradient"] if own.contributions == "batch" else [])):
            raise RequestInvalid(
                f"contributions {choice.contributions} cannot be tried: this run was trained for {own.contributions}"
            )
        slices = self._store.config.partition.slices
        if not 1 <= choice.fine_tune_slices <= slices:
            raise RequestInvalid(f"fine-tuning on the last {choice.fine_tune_slices} slices: this run has {slices}")
        return replace(
            own,
            strategy=Strategy(choice.strategy).value,
            boundary=choice.boundary,
            contributions=choice.contributions,  # type: ignore[arg-type]  # checked above
            ohs=replace(own.ohs, slices=choice.fine_tune_slices),
        )

    @contextmanager
    def _branch(self, unlearning: UnlearningConfig) -> Iterator[RunStore]:
        """A branch that is gone afterwards: it holds samples of people."""
        branches = branches_in(Path(self._plan.scratch))
        branches.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=branches) as folder:
            yield self._store.branch(folder, self._lineages, unlearning)


def _settled(store: RunStore) -> tuple[ShardLineage, ...]:
    """The shards of a run that owes nothing. Raises RunInvalid."""
    _ = store.current()
    with closing(store.journal(is_read_only=True)) as journal:
        board = replay(journal, store.manifest).board
    if board.owed:
        raise RunInvalid(
            store.files.display_location,
            f"owes {plural(len(board.owed), 'request')} a retraining, which a trial could not tell from its own debt; "
            "run `raymu settle` first",
        )
    return board.lineages


def _trace(plan: ObjectiveSpec, store: RunStore, population: RevocableSamples) -> Trace:
    if plan.trace is not None:
        return read_trace(plan.trace, integers=store.manifest.has_integer_ids)
    assert plan.traffic is not None, "a plan has traffic or a trace"
    return draw_trace(parse_traffic(plan.traffic), population)


def _debt_share(lineages: tuple[ShardLineage, ...]) -> float:
    return sum(bool(lineage.debts) for lineage in lineages) / len(lineages)
