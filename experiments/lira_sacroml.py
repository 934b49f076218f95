"""Score confidences with sacroml's LiRA, in an environment that has sacroml and does not have raymu.

python lira_sacroml.py SIGNALS.npz prints Spearman's rank correlation with raymu's scores, for each mode of the attack.
"""

import json
import sys
from importlib.metadata import version

import numpy as np
from sacroml.attacks.likelihood_attack import LIRAAttack
from scipy.stats import spearmanr

MODES = {"offline": "lira_offline", "online-carlini": "lira_online"}


def published_scores(signals: dict[str, np.ndarray], mode: str, *, has_one_variance: bool) -> np.ndarray:
    """Return one score a sample: the higher, the more like a member."""
    samples = range(len(signals["target"]))
    odds = np.exp(-signals["target"])
    predictions = np.stack([odds / (1.0 + odds), 1.0 / (1.0 + odds)], axis=1)  # another class's, and the true one's
    seen = {row: signals["shadows"][signals["is_in"][:, row], row].tolist() for row in samples}
    unseen = {row: signals["shadows"][~signals["is_in"][:, row], row].tolist() for row in samples}
    attack = LIRAAttack(write_report=False, mode=mode, fix_variance=has_one_variance)
    scores, _ = attack._compute_scores(np.ones(len(samples), dtype=int), predictions, unseen, seen)
    return np.array(scores)[:, 1]


def main() -> None:
    signals = dict(np.load(sys.argv[1]))
    has_one_variance = bool(signals["has_one_variance"])
    agreement = {
        ours: spearmanr(published_scores(signals, mode, has_one_variance=has_one_variance), signals[ours]).statistic
        for mode, ours in MODES.items()
    }
    print(json.dumps({"version": version("sacroml"), "spearman": agreement}))


if __name__ == "__main__":
    main()
