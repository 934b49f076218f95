"""Types of values that settings share."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from raymu.config import limits

SMALLEST, LARGEST = 1e-30, 1e30
"""Numbers beyond these bounds become zero or infinite in float32 arithmetic."""

Name = Annotated[str, Field(min_length=1)]
Count = Annotated[int, Field(ge=1, le=limits.MAX_COUNT)]
CountFromZero = Annotated[int, Field(ge=0, le=limits.MAX_COUNT)]
"""A count that may be zero."""
Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]
Number = Annotated[float, Field(ge=-LARGEST, le=LARGEST)]
NonNegative = Annotated[float, Field(ge=0.0, le=LARGEST)]
Positive = Annotated[float, Field(gt=0.0, le=LARGEST)]
Device = Literal["auto", "cpu", "cuda"]

STRICT = ConfigDict(defer_build=True, extra="forbid")
"""Configuration of every branch: unknown settings are refused."""
