"""The table of remedies: the cost of each, when it is possible, and its substitute.

The unit of cost is a sample pass: one sample forward, backward and in an optimizer step. To add a remedy, name it in
`Remedy`, add a row to `REMEDIES`, and carry it out in `raymu.service.shard.shard_patcher`. The planner, the board and every
forecast read the table.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from raymu.config import UnlearningConfig
from raymu.config.unlearning import Contributions, OhsRemedy, Preconditioner
from raymu.core.records import Remedy
from raymu.core.run_shape import RunShape

FORWARD_SHARE = 1 / 3
"""Cost of a forward pass in sample passes (a backward pass costs about two forward passes)."""
FACTOR_PASSES = 3.0
"""Cost in sample passes of a sample that Kronecker factors are computed from, their decomposition included.

By time it is 2 for 16 features, 3 for an MLP of 784, and 4 or more for convolutions.
"""
PRODUCT_PASSES = 2.0
"""Cost in sample passes of a sample in a product with the Gauss-Newton matrix.

By time it is about 1 for an MLP, whose activations are kept from product to product, 2.5 for a CNN and 5 for a ResNet, whose
activations are computed again.
"""
LINE_SEARCH_EVALUATIONS = 6
"""Typical number of evaluations of the forget set's loss in each step of a calibration."""
STATISTICS_RECOMPUTED = 4
"""Typical number of times that a calibration recomputes batch-norm statistics, beside once for each step."""
PATCH_S = 0.01
"""Typical seconds of a patch that do not depend on the number of samples: restoring models, writing the state."""
MOST_UNSEEN = 512
"""Largest number of unseen samples that decide when fine-tuning stops."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RepairScope:
    """One shard and a forget set, as far as costs depend on them. Numbers of samples may be means."""

    shape: RunShape
    retained: Sequence[float]
    """Samples of each slice without the forgotten ones."""
    forgotten: float
    """Number of samples to forget."""
    earliest_slice: int
    """First slice with a forgotten sample, or with an earlier debt."""
    sound_stages: int
    """Number of leading stages whose checkpoints exist."""
    references: Sequence[float]
    """Samples of each shard whose model a calibration aims at. Without any, a checkpoint of the shard stands in."""

    @property
    def slices(self) -> int:
        return self.shape.slices

    @property
    def replayed_stages(self) -> range:
        """The last stages, which a replay trains again."""
        return range(self.slices - self.shape.unlearning.ohs.slices, self.slices)


@dataclass(frozen=True, kw_only=True, slots=True)
class RemedyRule:
    """A row of the table of remedies."""

    is_exact: bool
    """Whether the result equals training from scratch, within one determinism class."""
    passes: Callable[[RepairScope], float]
    """Cost in sample passes; affine in the numbers of samples, so that the cost of a mean is the mean of the costs."""
    is_possible: Callable[[RepairScope], bool]
    instead: Remedy = Remedy.RETRAIN
    """The remedy that is carried out if this one is not possible."""
    obstacle: str = ""
    """Why it is not possible, for receipts."""
    ohs: OhsRemedy | None = None
    """The setting of `ohs` that chooses this remedy."""
    must_be_cheaper: bool = False
    """Whether retraining is preferred if it takes no more passes, even where the boundary is 0."""
    stages: Callable[[RepairScope], int] = lambda _scope: 0
    """Number of stages that it trains, each of which takes some seconds beyond those of its passes."""
    fixed_s: float = 0.0
    """Typical other seconds that do not depend on the number of samples. The repairs of a run replace them."""


def training_passes(slice_samples: Sequence[float], epochs: Sequence[int], *, stages: Iterable[int]) -> float:
    """Sum e_j * |slices 0..j| over the stages j (SISA, Bourtoule et al., S&P 2021).

    Args:
        slice_samples: Samples of each slice.
        epochs: Epochs of each stage.
        stages: The stages to train.
    """
    samples = list(accumulate(slice_samples))
    return sum(epochs[stage] * samples[stage] for stage in stages)


def _retrain(scope: RepairScope) -> float:
    return training_passes(scope.retained, scope.shape.epochs, stages=range(scope.earliest_slice, scope.slices))


def contributions_passes(unlearning: UnlearningConfig, *, forgotten: float, retained: float, steps: int) -> float:
    """Return the cost of contributions in sample passes, without the search for a strength.

    Args:
        unlearning: Says which contributions, and how the curvature is estimated.
        forgotten: Number of samples to forget.
        retained: Number of the shard's other samples.
        steps: Steps for which they are computed anew.
    """
    match unlearning.contributions:
        case Contributions.CURVATURE:
            settings = unlearning.curvature
            sample = min(settings.samples, retained)
            factors = FACTOR_PASSES * sample if settings.preconditioner is Preconditioner.KFAC else 0.0
            return factors + steps * (forgotten + settings.iterations * PRODUCT_PASSES * sample)
        case Contributions.GRADIENT:
            return steps * forgotten
        case Contributions.GROUP | Contributions.BATCH:
            return 0.0


def _has_influence(scope: RepairScope) -> bool:
    """Whether the strength is measured on the scale of the contributions, so that one patch is enough."""
    unlearning = scope.shape.unlearning
    return unlearning.contributions is Contributions.CURVATURE and unlearning.curvature.calibration_samples > 0


def _contributions(scope: RepairScope, *, forgotten: float, steps: int, drawn: float = 0.0) -> float:
    retained = sum(scope.retained) - drawn
    return contributions_passes(scope.shape.unlearning, forgotten=forgotten, retained=retained, steps=steps)


def _patch(scope: RepairScope) -> float:
    """Subtract the contributions, and search for the strength at which the loss is that of models without the samples."""
    if not scope.shape.unlearning.calibration:
        passes = _contributions(scope, forgotten=scope.forgotten, steps=1)
        return passes + (scope.forgotten + _statistics(scope)) * FORWARD_SHARE
    references = max(1, len(scope.references))
    unseen = references * scope.forgotten * FORWARD_SHARE
    if scope.shape.unlearning.contributions is not Contributions.CURVATURE:
        return (
            unseen
            + _search(scope, scope.forgotten, steps=1)
            + _contributions(scope, forgotten=scope.forgotten, steps=1)
        )
    settings = scope.shape.unlearning.curvature
    # A checkpoint that stands in for other shards has seen the slices before it.
    candidates = sum(scope.retained if scope.references else scope.retained[scope.earliest_slice :])
    drawn = min(max(settings.calibration_samples - scope.forgotten, 0.0), candidates / 4)
    measured = scope.forgotten + drawn
    search = unseen + _search(scope, measured, steps=settings.steps)
    if not drawn:
        return search + _contributions(scope, forgotten=scope.forgotten, steps=settings.steps)
    mean = (measured + scope.forgotten) / 2
    contributions = _contributions(scope, forgotten=mean, steps=2 * settings.steps, drawn=drawn)
    evaluations = references * measured + scope.forgotten + settings.steps * _statistics(scope)
    return search + contributions + evaluations * FORWARD_SHARE


def _search(scope: RepairScope, samples: float, *, steps: int) -> float:
    """Evaluate the samples' loss at each strength that is tried."""
    trials = steps * LINE_SEARCH_EVALUATIONS * samples + (STATISTICS_RECOMPUTED + steps) * _statistics(scope)
    return trials * FORWARD_SHARE


def _patch_again(scope: RepairScope) -> float:
    """Calibrate once more after training. Typically the loss is right at once, so that nothing is subtracted."""
    if not scope.shape.unlearning.calibration or _has_influence(scope):
        return scope.forgotten * FORWARD_SHARE
    return (2 * scope.forgotten + _statistics(scope)) * FORWARD_SHARE


def _statistics(scope: RepairScope) -> float:
    """Samples that batch-norm statistics are recomputed from."""
    return sum(scope.retained) if scope.shape.has_batch_norm else 0.0


def _fine_tune(scope: RepairScope) -> float:
    """Train every epoch, each evaluated on unseen samples. Without unseen samples, a single epoch is trained."""
    epochs, tail = scope.shape.unlearning.ohs.epochs, sum(scope.retained[scope.replayed_stages.start :])
    if not scope.references:
        return tail
    return epochs * tail + (epochs + 1) * min(scope.references[0], MOST_UNSEEN) * FORWARD_SHARE


def _replay(scope: RepairScope) -> float:
    return training_passes(scope.retained, scope.shape.epochs, stages=scope.replayed_stages)


def _has_aim(scope: RepairScope) -> bool:
    """Whether a model that never saw the samples exists for calibration to aim at, or none is needed."""
    is_calibrated = scope.shape.unlearning.calibration
    return not is_calibrated or bool(scope.references) or any(scope.retained[: scope.earliest_slice])


def _has_base(scope: RepairScope) -> bool:
    """Whether the checkpoint before the replayed stages exists."""
    return 0 < scope.replayed_stages.start <= scope.sound_stages


_NO_AIM = "no model that never saw these samples is there to calibrate a patch by"

REMEDIES: Mapping[Remedy, RemedyRule] = {
    Remedy.RETRAIN: RemedyRule(
        is_exact=True,
        passes=_retrain,
        is_possible=lambda _scope: True,
        stages=lambda scope: scope.slices - scope.earliest_slice,
    ),
    Remedy.REPLAY: RemedyRule(
        is_exact=False,
        passes=lambda scope: _patch(scope) + _replay(scope) + _patch_again(scope),
        is_possible=lambda scope: _has_aim(scope) and _has_base(scope),
        instead=Remedy.FINE_TUNE,
        obstacle="no earlier checkpoint is there to replay from",
        ohs=OhsRemedy.REPLAY,
        must_be_cheaper=True,
        stages=lambda scope: len(scope.replayed_stages),
        fixed_s=PATCH_S,
    ),
    Remedy.FINE_TUNE: RemedyRule(
        is_exact=False,
        passes=lambda scope: _patch(scope) + _fine_tune(scope) + _patch_again(scope),
        is_possible=_has_aim,
        obstacle=_NO_AIM,
        ohs=OhsRemedy.FINE_TUNE,
        fixed_s=PATCH_S,
    ),
    Remedy.PATCH: RemedyRule(is_exact=False, passes=_patch, is_possible=_has_aim, obstacle=_NO_AIM, fixed_s=PATCH_S),
}
"""The remedies, from the most exact down: that order decides if requests that share a repair ask for different ones."""
