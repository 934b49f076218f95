"""The attacker with two snapshots, on made-up answers."""

from dataclasses import replace

import numpy as np

from raymu.core.audit.two_snapshots import AnswerPairs
from raymu.service.audit.snapshot_attack import ObservedChange, attack_changes

CLASSES = 3


def change(number: int, *, lost: float, samples: int = 60, deleted: int = 2) -> ObservedChange:
    """Return a change in which the true class of deleted samples loses some of its probability, beside noise."""
    random = np.random.default_rng(number)
    truth = random.integers(0, CLASSES, samples)
    is_deleted = np.arange(samples) < deleted
    before = random.uniform(0.7, 0.9, samples)
    after = before - 0.02 * random.random(samples) - lost * is_deleted
    pairs = AnswerPairs(before=spread(before, truth), after=spread(after, truth), truth=truth)
    return ObservedChange(pairs=pairs, is_deleted=is_deleted, half=number % 2)


def spread(probabilities: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Give the true class its probability, and the others the rest."""
    answers = np.repeat((1.0 - probabilities)[:, None] / (CLASSES - 1), CLASSES, axis=1)
    answers[np.arange(len(truth)), truth] = probabilities
    return answers


def test_samples_whose_class_loses_probability_are_found_but_not_by_their_labels() -> None:
    changes = [change(number, lost=0.1) for number in range(16)]
    attack = attack_changes(changes, seed=0)
    assert attack.figures.auc.value == 1.0
    assert attack.figures.named.value == 1 / 2  # the other half is of the other deleted sample
    labels = attack_changes([replace(each, pairs=each.pairs.labels_only()) for each in changes], seed=0)
    assert labels.figures.auc.low < 0.5 < labels.figures.auc.high


def test_an_attacker_finds_nothing_where_nothing_changes_and_the_same_in_every_run() -> None:
    changes = [change(number, lost=0.0) for number in range(40)]
    attack = attack_changes(changes, seed=0)
    assert attack.figures.auc.low < 0.5 < attack.figures.auc.high
    assert attack == attack_changes(changes, seed=0)


def test_marks_alone_can_give_a_sample_away() -> None:
    changes = [change(number, lost=0.0) for number in range(16)]
    marked = [
        replace(each, pairs=replace(each.pairs, marks=np.stack([np.ones(60), ~each.is_deleted], axis=1)))
        for each in changes
    ]
    assert attack_changes(marked, seed=0).figures.auc.value == 1.0


def test_who_knows_one_half_is_tested_on_the_other() -> None:
    """What gives samples away in one half alone, and the opposite in the other, misleads both attackers."""
    changes = [change(number, lost=0.1 if number % 2 else -0.1) for number in range(16)]
    assert attack_changes(changes, seed=0).figures.auc.high < 0.5
