"""Choices of the configuration: every name is a row of a table, and every row has a name."""

from collections.abc import Collection
from enum import StrEnum
from inspect import isclass

import pytest
import torch

from raymu.config.training import LossName, ModelName, OptimizerName, ScheduleName
from raymu.config.unlearning import AggregationName, Contributions
from raymu.core.aggregate import AGGREGATIONS
from raymu.core.schedule import SCHEDULES
from raymu.training.contributions import CONTRIBUTIONS
from raymu.training.losses import LOSSES
from raymu.training.models import MODELS
from raymu.training.optimizers import OPTIMIZERS

TABLES: dict[type[StrEnum], Collection[StrEnum]] = {
    AggregationName: AGGREGATIONS,
    Contributions: CONTRIBUTIONS,
    LossName: LOSSES,
    ModelName: MODELS,
    OptimizerName: OPTIMIZERS,
    ScheduleName: SCHEDULES,
}
NEEDS_MORE_THAN_A_GRADIENT = {"LBFGS", "SparseAdam", "Muon"}


@pytest.mark.parametrize("vocabulary", TABLES, ids=lambda vocabulary: vocabulary.__name__)
def test_every_name_is_a_row_and_every_row_has_a_name(vocabulary: type[StrEnum]) -> None:
    assert set(TABLES[vocabulary]) == set(vocabulary)


def test_every_optimizer_of_pytorch_is_supported_or_excluded_for_a_reason() -> None:
    classes = {name for name, item in vars(torch.optim).items() if isclass(item) and name != "Optimizer"}
    assert {name.lower() for name in classes - NEEDS_MORE_THAN_A_GRADIENT} == set(OptimizerName)
