"""Settings of the branch `validation`: held-out samples that every shard is measured on while it trains."""

from typing import Literal

from pydantic.dataclasses import dataclass

from raymu.config.data import Files
from raymu.config.fields import STRICT, Count


@dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class ValidationConfig:
    """Held-out samples. They are the same for every shard, and no shard trains on them."""

    data: Files
    """Files of the columns of the training file, with samples that are not in it."""
    every: Count = 1
    """Epochs of a stage after which it is measured. Its last epoch always is."""
    patience: Count | None = None
    """End a stage after so many measurements without improvement, and go back to its best weights; None trains all epochs."""
    metric: Literal["loss", "score"] = "loss"
    """What has to improve: the mean loss, or the accuracy (of numbers, the explained share of their variance)."""
