import numpy as np
import pytest
from sklearn.metrics import roc_auc_score, roc_curve

from raymu.core.audit.two_snapshots import (
    PAIR_FEATURES,
    AnswerPairs,
    ScoredChanges,
    pair_features,
    snapshot_figures,
)

BEFORE = np.array([[0.2, 0.7, 0.1], [0.6, 0.3, 0.1]])
AFTER = np.array([[0.3, 0.4, 0.3], [0.6, 0.3, 0.1]])
PAIRS = AnswerPairs(before=BEFORE, after=AFTER, truth=np.array([1, 0]))


def scored(gap: float, *, deleted: int = 1, changes: int = 40, others: int = 300, seed: int = 0) -> ScoredChanges:
    """Return changes in which deleted samples score higher by a gap. Each change shifts its deleted samples by some noise."""
    random = np.random.default_rng(seed)
    is_deleted = np.tile(np.arange(deleted + others) < deleted, changes)
    change = np.repeat(np.arange(changes), deleted + others)
    scores = random.normal(size=len(change)) + is_deleted * (gap + 0.3 * random.normal(size=changes)[change])
    return ScoredChanges(scores=scores, is_deleted=is_deleted, change=change)


def test_features_are_those_of_the_pair() -> None:
    features = {name: pair_features(name, PAIRS) for name in PAIR_FEATURES}
    assert features["concatenation"][0].tolist() == [0.2, 0.7, 0.1, 0.3, 0.4, 0.3]
    assert features["sorted_concatenation"][0].tolist() == [0.7, 0.2, 0.1, 0.4, 0.3, 0.3]
    np.testing.assert_allclose(features["difference"][0], [-0.1, 0.3, -0.2])
    np.testing.assert_allclose(features["sorted_difference"][0], [0.3, -0.1, -0.2])
    np.testing.assert_allclose(features["euclidean_distance"][:, 0], [np.sqrt(0.14), 0.0])
    np.testing.assert_allclose(features["true_class"][0, [0, 3]], [0.3, np.log(7 / 3) - np.log(2 / 3)])
    assert not features["true_class"][1, [0, 3]].any()


def test_without_probabilities_only_a_class_that_changes_is_left() -> None:
    labels = PAIRS.labels_only()
    assert labels.before.tolist() == [[0, 1, 0], [1, 0, 0]]
    for name in ("difference", "sorted_difference", "euclidean_distance"):
        assert not pair_features(name, labels).any()


def test_marks_are_features_of_their_own_and_can_be_left_out() -> None:
    marked = AnswerPairs(before=BEFORE, after=AFTER, truth=PAIRS.truth, marks=np.array([[1.0, 0.0], [1.0, 1.0]]))
    assert pair_features("difference", marked)[:, -2:].tolist() == [[1.0, 0.0], [1.0, 1.0]]
    assert pair_features("difference", marked.unmarked()).shape == (2, 3)


def test_answers_of_other_samples_are_refused() -> None:
    with pytest.raises(ValueError, match="differ"):
        AnswerPairs(before=BEFORE, after=AFTER[:1], truth=PAIRS.truth)


def test_a_planted_effect_is_found_and_each_figure_says_so() -> None:
    figures = snapshot_figures(scored(8.0), seed=0)
    assert figures.auc.value == 1.0
    assert figures.auc.low > 0.9
    assert figures.tpr_at_1_percent
    assert figures.tpr_at_1_percent.low > 0.9
    assert figures.tpr_at_0_1_percent
    assert figures.tpr_at_0_1_percent.low > 0.9
    assert figures.named.low > 0.9


def test_without_an_effect_the_interval_holds_a_guess_as_often_as_it_says() -> None:
    aucs = [
        snapshot_figures(scored(0.0, deleted=4, others=60, changes=30, seed=seed), seed=seed).auc for seed in range(60)
    ]
    assert np.mean([auc.low <= 0.5 <= auc.high for auc in aucs]) >= 0.85
    assert np.mean([auc.value for auc in aucs]) == pytest.approx(0.5, abs=0.02)


def test_area_and_rates_are_those_of_all_changes_together() -> None:
    changes = scored(1.0, deleted=3)
    figures = snapshot_figures(changes, seed=0)
    assert figures.auc.value == pytest.approx(roc_auc_score(changes.is_deleted, changes.scores))
    fpr, tpr, _ = roc_curve(changes.is_deleted, changes.scores, drop_intermediate=False)
    assert figures.tpr_at_1_percent
    assert figures.tpr_at_1_percent.value == pytest.approx(tpr[fpr <= 0.01].max())
    assert figures.tpr_at_0_1_percent
    assert figures.tpr_at_0_1_percent.value == pytest.approx(tpr[fpr <= 0.001].max())


def test_ties_count_half_and_an_interval_is_not_a_point() -> None:
    changes = scored(1.0)
    tied = ScoredChanges(scores=np.zeros_like(changes.scores), is_deleted=changes.is_deleted, change=changes.change)
    figures = snapshot_figures(tied, seed=0)
    assert figures.auc.value == 0.5
    assert figures.auc.low < 0.45
    assert figures.auc.high > 0.55
    assert figures.tpr_at_1_percent
    assert figures.tpr_at_1_percent.value == 0.0
    assert figures.named.value == pytest.approx(1 / 301)
    assert figures.named.low < figures.named.value < figures.named.high


def test_changes_are_drawn_as_a_whole_so_samples_that_share_one_do_not_narrow_the_interval() -> None:
    random = np.random.default_rng(1)
    shift = np.repeat(random.normal(size=20), 50)
    is_deleted = np.tile(np.arange(50) < 10, 20)
    together = ScoredChanges(
        scores=is_deleted * shift + 0.1 * random.normal(size=1000),
        is_deleted=is_deleted,
        change=np.repeat(np.arange(20), 50),
    )
    figures = snapshot_figures(together, seed=0)
    assert figures.auc.high - figures.auc.low > 0.2


def test_the_sample_of_one_request_is_named_as_often_as_its_group_allows() -> None:
    assert snapshot_figures(scored(8.0, deleted=16), seed=0).named.value == pytest.approx(1 / 16)


def test_a_rate_needs_enough_others() -> None:
    figures = snapshot_figures(scored(1.0, changes=20, others=100), seed=0)
    assert figures.tpr_at_1_percent is not None
    assert figures.tpr_at_0_1_percent is None
