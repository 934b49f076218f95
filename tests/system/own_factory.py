"""A factory of the user's own."""

from torch import nn


def build(features: int, classes: int) -> nn.Module:
    return nn.Linear(features, classes)
