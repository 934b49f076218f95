"""raymu trains PyTorch classifiers so that any training sample can be taken out of them again, on a Ray cluster."""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["Config", "Revocation", "Run", "SubmissionResult", "open_run", "train"]

if TYPE_CHECKING:
    from raymu.api import Revocation, Run, SubmissionResult, open_run, train
    from raymu.config import Config


def __getattr__(name: str) -> Any:
    """Load the public API on first use: importing a part of raymu does not load Ray and torch."""
    if name == "Config":
        from raymu.config import Config

        return Config
    if name in __all__:
        from raymu import api

        return getattr(api, name)
    raise AttributeError(f"module 'raymu' has no attribute {name!r}")
