"""The attacker with two snapshots: a logistic regression on features of pairs of answers, for labelled samples of one half.

The features that are best on the attacker's own samples are used. Each half of the samples is attacked by the attacker who
knows the other half, so that every score is of a sample and of a visible change which its attacker did not know.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn import config_context
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from raymu.core.arrays import Floats, Mask
from raymu.core.audit.attacks import Scores
from raymu.core.audit.roc import auc
from raymu.core.audit.two_snapshots import PAIR_FEATURES, AnswerPairs, ScoredChanges, pair_features, snapshot_figures
from raymu.service.audit.snapshot_report import SnapshotAttack

_OTHERS_FITTED = 200
"""Kept samples of each change that an attacker is fitted to: more hardly change the fit, and take time."""
_ITERATIONS = 300


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ObservedChange:
    """The answers about the samples of one half, before and after a visible change that deleted some of them."""

    pairs: AnswerPairs
    is_deleted: Mask
    """(samples,)"""
    half: int
    """0 or 1."""


def attack_changes(changes: Sequence[ObservedChange], *, seed: int) -> SnapshotAttack:
    """Attack visible changes of both halves, at least two of each.

    Args:
        changes: The changes.
        seed: Seed of the samples that attackers are fitted to, and of the bootstrap.
    """
    # Threads, and checks of every argument, cost more than a fit of this size.
    with threadpool_limits(1), config_context(assume_finite=True, skip_parameter_validation=True):
        return _attack(changes, seed=seed)


def _attack(changes: Sequence[ObservedChange], *, seed: int) -> SnapshotAttack:
    random = np.random.default_rng(seed)
    scores: list[Scores] = [np.zeros(0)] * len(changes)
    chosen = []
    for half in (0, 1):
        known = [change for change in changes if change.half != half]
        name = _best_features(known, random)
        chosen.append(name)
        attacker = _fit(name, known, random)
        for number, change in enumerate(changes):
            if change.half == half:
                scores[number] = attacker.decision_function(_inputs(name, change.pairs))
    scored = ScoredChanges(
        scores=np.concatenate(scores),
        is_deleted=np.concatenate([change.is_deleted for change in changes]),
        change=np.repeat(np.arange(len(changes)), [len(change.is_deleted) for change in changes]),
    )
    first, second = chosen
    return SnapshotAttack(figures=snapshot_figures(scored, seed=seed), features=(first, second))


def _best_features(known: Sequence[ObservedChange], random: np.random.Generator) -> str:
    """Choose features by attacks between the even and the odd ones of the attacker's own changes."""
    parts = (known[::2], known[1::2])

    def power(name: str) -> float:
        areas = []
        for fitted, tested in (parts, parts[::-1]):
            attacker = _fit(name, fitted, random)
            scores = np.concatenate([attacker.decision_function(_inputs(name, change.pairs)) for change in tested])
            is_deleted = np.concatenate([change.is_deleted for change in tested])
            areas.append(auc(scores[is_deleted], scores[~is_deleted]).value)
        return sum(areas)

    return max(PAIR_FEATURES, key=power)


def _fit(name: str, changes: Sequence[ObservedChange], random: np.random.Generator) -> Pipeline:
    """Fit an attacker to all deleted samples of changes, and to some kept ones."""
    inputs, is_deleted = [], []
    for change in changes:
        others = np.flatnonzero(~change.is_deleted)
        others = random.permutation(others)[:_OTHERS_FITTED]
        places = np.concatenate([np.flatnonzero(change.is_deleted), others])
        inputs.append(_inputs(name, change.pairs)[places])
        is_deleted.append(change.is_deleted[places])
    attacker = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=_ITERATIONS))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # where the fit ends early, it attacks a little worse
        return attacker.fit(np.concatenate(inputs), np.concatenate(is_deleted))


def _inputs(name: str, pairs: AnswerPairs) -> Floats:
    return np.asarray(pair_features(name, pairs), dtype=np.float64)
