"""Types of arrays by what they contain. Shapes are documented at each use."""

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Features: TypeAlias = npt.NDArray[Any]
"""Integers of any width, or float32."""
Labels: TypeAlias = npt.NDArray[np.int64]
"""Classes, numbered from 0."""
Targets: TypeAlias = npt.NDArray[Any]
"""What a model is to tell: classes, (samples,) int64; or labels and numbers, (samples, outputs) float32."""
Probabilities: TypeAlias = npt.NDArray[np.float32]
Floats: TypeAlias = npt.NDArray[np.float64]
Mask: TypeAlias = npt.NDArray[np.bool_]
