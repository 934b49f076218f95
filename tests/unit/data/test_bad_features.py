"""Features that no model takes are counted, whatever bits they have."""

import numpy as np

from raymu.data.columns import bad_features


def test_numbers_beyond_float32_and_nans_that_signal_are_bad() -> None:
    signalling = np.array([0x7FF0000000000001], dtype=np.uint64).view(np.float64)[0]
    features = np.array([[1.0, 2.0], [1e40, 0.0], [0.0, np.nan], [signalling, 0.0]])
    assert bad_features(features) == (3, 0)
