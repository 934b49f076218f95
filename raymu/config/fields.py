"""Kinds of values that settings are of."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

SMALLEST, LARGEST = 1e-30, 1e30
"""Beyond them float32, and what is computed of it, becomes zero or infinite."""

Name = Annotated[str, Field(min_length=1)]
Count = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]
Number = Annotated[float, Field(ge=-LARGEST, le=LARGEST)]
NonNegative = Annotated[float, Field(ge=0.0, le=LARGEST)]
Positive = Annotated[float, Field(gt=0.0, le=LARGEST)]
Device = Literal["auto", "cpu", "cuda"]

STRICT = ConfigDict(extra="forbid")
"""For every branch: a setting that there is not is refused."""
