"""Made-up confidences of models."""

import numpy as np

from raymu.core.arrays import Mask
from raymu.core.audit.signals import Signals


def make_signals(*, models: int, gap: float, samples: int = 2000) -> tuple[Signals, Mask]:
    """Return signals of samples of different hardness, and which are members. Membership adds a gap to the confidence."""
    random = np.random.default_rng(8)
    hardness = random.normal(size=samples) * 2.0
    cuts = random.random((models // 2, samples)) < 0.5
    is_in = np.stack([cuts, ~cuts], axis=1).reshape(models, samples)
    is_member = np.arange(samples) < samples // 2
    signals = Signals(
        target=hardness + gap * is_member + random.normal(size=samples),
        before=hardness + gap + random.normal(size=samples),
        shadows=hardness + gap * is_in + random.normal(size=(models, samples)),
        is_in=is_in,
        is_population=~is_member,
    )
    return signals, is_member
