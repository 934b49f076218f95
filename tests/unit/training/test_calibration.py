"""The search for a patch's strength: the loss that it reaches, its bounds, and what it is measured on."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from raymu.config.unlearning import Contributions
from raymu.errors import PatchFailed
from raymu.training.batches import ShardSamples
from raymu.training.calibration import calibrate, find_strength
from raymu.training.contributions import ContributionsResult, StrengthBounds
from raymu.training.patch import recompute_batch_norm, subtract
from tests.support.patches import fixed, make_samples, make_training, parameters, prepared

LOSSES: dict[str, Callable[[float, float], float]] = {
    "linear": lambda base, slope: base + slope,
    "quadratic": lambda base, slope: base + slope**2,
    "saturating late": lambda base, slope: base + 100.0 * (1.0 - math.exp(-slope)),
}


@given(
    shape=st.sampled_from(sorted(LOSSES)),
    start=st.floats(0.0, 5.0),
    speed=st.floats(1e-5, 10.0),
    aim=st.floats(0.05, 20.0),
)
def test_the_calibrated_strength_gives_the_target_loss(shape: str, start: float, speed: float, aim: float) -> None:
    def loss_at(strength: float) -> float:
        return LOSSES[shape](start, speed * strength)

    strength = find_strength(loss_at, aim)
    if start >= 0.99 * aim:
        assert strength == 0.0
    else:
        assert loss_at(strength) == pytest.approx(aim, rel=0.01)


@given(
    shape=st.sampled_from(sorted(LOSSES)),
    start=st.floats(0.0, 5.0),
    speed=st.floats(1e-5, 10.0),
    aim=st.floats(0.05, 20.0),
    least=st.floats(0.0, 2.0),
    width=st.floats(0.0, 10.0),
)
def test_a_bounded_strength_gives_the_target_loss_or_is_at_the_nearer_bound(
    shape: str, start: float, speed: float, aim: float, least: float, width: float
) -> None:
    tried: list[float] = []

    def loss_at(strength: float) -> float:
        tried.append(strength)
        return LOSSES[shape](start, speed * strength)

    strength = find_strength(loss_at, aim, StrengthBounds(least=least, most=least + width))
    assert tried[-1] == strength
    assert all(least <= trial <= least + width for trial in tried)
    if loss_at(least) >= 0.99 * aim:
        assert strength == least
    elif loss_at(least + width) < 0.99 * aim:
        assert strength == least + width
    else:
        assert loss_at(strength) == pytest.approx(aim, rel=0.01)


@given(start=st.floats(0.0, 5.0), aim=st.floats(0.0, 5.0))
def test_a_loss_at_the_aim_already_is_left_alone(start: float, aim: float) -> None:
    assume(start >= aim)
    tried: list[float] = []

    def loss_at(strength: float) -> float:
        tried.append(strength)
        return start

    assert find_strength(loss_at, aim) == 0.0
    assert tried == [0.0]


@given(ceiling=st.floats(0.0, 0.9))
def test_a_loss_that_never_reaches_the_aim_is_a_failed_patch(ceiling: float) -> None:
    with pytest.raises(PatchFailed, match="no strength"):
        find_strength(lambda strength: ceiling * (1.0 - math.exp(-strength)), 1.0)


@given(edge=st.floats(1e-3, 1e6), beyond=st.sampled_from([50.0, math.inf, math.nan]))
def test_a_loss_that_jumps_over_the_aim_is_a_failed_patch(edge: float, beyond: float) -> None:
    with pytest.raises(PatchFailed, match="jumps over"):
        find_strength(lambda strength: 0.1 if strength < edge else beyond, 1.0)


@given(edge=st.floats(3.0, 1e6))
def test_the_target_is_reached_below_strengths_without_a_finite_loss(edge: float) -> None:
    def loss_at(strength: float) -> float:
        return strength if strength < edge else math.nan

    assert loss_at(find_strength(loss_at, 2.5)) == pytest.approx(2.5, rel=0.01)


@pytest.mark.parametrize(("loss", "aim"), [(math.nan, 1.0), (math.inf, 1.0), (0.1, math.nan), (0.1, math.inf)])
def test_losses_that_are_not_finite_are_a_failed_patch(loss: float, aim: float) -> None:
    with pytest.raises(PatchFailed, match="not finite"):
        find_strength(lambda strength: loss + strength, aim)


@pytest.mark.parametrize(
    ("contributions", "steps"),
    [(Contributions.GRADIENT, 1), (Contributions.CURVATURE, 1), (Contributions.CURVATURE, 3)],
)
@pytest.mark.parametrize("batch_norm", [False, True])
def test_calibration_reaches_the_unseen_loss_and_reports_the_loss_that_is_left(
    batch_norm: bool, contributions: Contributions, steps: int
) -> None:
    samples = make_samples(60, seed=1)
    training = make_training(samples, batch_norm=batch_norm)
    forget, retain = samples.where(np.arange(60) < 8), samples.where(np.arange(60) >= 8)
    classifier = training.classifier
    aim = 2.0 * classifier.mean_loss(forget.features, forget.labels)
    result = calibrate(
        classifier,
        prepared(contributions, classifier, forget, retain),
        forget,
        retain,
        unseen_loss=aim,
        steps=steps,
    )
    assert result.forget_loss == pytest.approx(aim, rel=0.011)
    assert result.forget_loss == classifier.mean_loss(forget.features, forget.labels)
    left = {name: tensor.clone() for name, tensor in classifier.tensors().items()}
    recompute_batch_norm(classifier, retain)
    assert all(torch.allclose(left[name], tensor) for name, tensor in classifier.tensors().items())


@pytest.mark.parametrize("most", [0.5, 2.0])
def test_batch_norm_statistics_are_those_of_the_weights_after_a_bounded_search(most: float) -> None:
    samples = make_samples(60, seed=1)
    classifier = make_training(samples, batch_norm=True).classifier
    forget, retain = samples.where(np.arange(60) < 8), samples.where(np.arange(60) >= 8)
    aim = 4.0 * classifier.mean_loss(forget.features, forget.labels)
    bounds = StrengthBounds(least=0.1, most=most)
    contribute = prepared(Contributions.CURVATURE, classifier, forget, retain)
    result = calibrate(classifier, contribute, forget, retain, unseen_loss=aim, bounds=bounds)
    assert 0.4 < result.strength <= most
    assert result.forget_loss == classifier.mean_loss(forget.features, forget.labels)
    left = {name: tensor.clone() for name, tensor in classifier.tensors().items()}
    recompute_batch_norm(classifier, retain)
    assert all(torch.allclose(left[name], tensor) for name, tensor in classifier.tensors().items())


def test_calibration_that_has_nothing_to_do_leaves_the_weights_as_they_are() -> None:
    samples = make_samples(60, seed=1)
    classifier = make_training(samples).classifier
    forget, before = samples.where(np.arange(60) < 8), parameters(classifier)
    result = calibrate(
        classifier,
        prepared(Contributions.CURVATURE, classifier, forget, samples),
        forget,
        samples,
        unseen_loss=1e-6,
        steps=3,
    )
    assert torch.equal(parameters(classifier), before)
    assert result.forget_loss == classifier.mean_loss(forget.features, forget.labels)


def test_a_strength_that_is_measured_on_more_samples_is_used_for_the_forget_set_alone() -> None:
    samples = make_samples(60, seed=1)
    forget, drawn, retain = (samples.where(np.isin(np.arange(60) // 4, parts)) for parts in ([0], [1, 2], range(3, 15)))
    measured, others = ShardSamples.joined([forget, drawn]), samples.where(np.arange(60) >= 4)
    models = [make_training(samples).classifier for _ in range(3)]
    contribute = [prepared(Contributions.CURVATURE, model, forget, retain) for model in models]
    aim = 1.5 * models[0].mean_loss(measured.features, measured.labels)
    strength = calibrate(models[0], contribute[0], measured, others, unseen_loss=aim, steps=2).strength
    subtract(models[1], contribute[1], forget, others, strength=strength, steps=2)
    result = calibrate(models[2], contribute[2], forget, others, unseen_loss=aim, steps=2, drawn=drawn)
    assert 0.0 < result.strength == strength
    assert result.forget_loss == models[2].mean_loss(forget.features, forget.labels)
    assert torch.allclose(parameters(models[1]), parameters(models[2]), atol=1e-6)
    assert not torch.allclose(parameters(models[0]), parameters(models[2]), atol=1e-6)


def test_a_strength_is_used_from_the_batch_norm_statistics_that_it_was_measured_from() -> None:
    samples = make_samples(60, seed=1)
    forget, drawn, retain = (samples.where(np.isin(np.arange(60) // 4, parts)) for parts in ([0], [1, 2], range(3, 15)))
    classifier = make_training(samples, batch_norm=True).classifier
    contribute = prepared(Contributions.CURVATURE, classifier, forget, retain)
    starts = []

    def watched_contributions(contributing: ShardSamples) -> ContributionsResult:
        starts.append({name: tensor.clone() for name, tensor in classifier.tensors().items()})
        return contribute(contributing)

    others = samples.where(np.arange(60) >= 4)
    calibrate(classifier, watched_contributions, forget, others, unseen_loss=1.0, drawn=drawn)
    first, second = starts
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_model_without_a_finite_loss_is_a_failed_patch() -> None:
    samples = make_samples(60, seed=1)
    classifier = make_training(samples).classifier
    contributions = torch.full_like(parameters(classifier), math.inf)
    with pytest.raises(PatchFailed, match="jumps over"):
        calibrate(classifier, fixed(contributions), samples, samples, unseen_loss=1.0)
    with pytest.raises(PatchFailed, match="non-finite values"):
        subtract(classifier, fixed(contributions), samples, samples)
    with pytest.raises(PatchFailed, match="not finite"):
        calibrate(classifier, fixed(contributions), samples, samples, unseen_loss=1.0)
