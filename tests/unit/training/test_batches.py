"""Batches of the sizes that a model takes."""

import numpy as np

from raymu.training.batches import BatchPlan


def test_a_batch_of_a_size_that_the_model_refuses_loses_one_sample_or_all() -> None:
    plan = BatchPlan(positions=np.arange(22), sizes=(17, 4, 1), keys=(0, 1, 2))
    fitting = plan.fitting(lambda samples: samples % 16 != 1)
    assert (fitting.sizes, fitting.keys) == ((16, 4), (0, 1))
    assert fitting.positions.tolist() == [*range(16), *range(17, 21)]
    assert plan.fitting(lambda _samples: True) is plan
    assert plan.fitting(lambda samples: samples == 1).sizes == plan.sizes  # the model's own error says what is wrong
