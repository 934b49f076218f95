from collections.abc import Iterator

import pytest
import torch

from raymu.training.determinism import deterministic

# Models here are so small that a second thread only waits.
torch.set_num_threads(1)


@pytest.fixture(scope="module")
def one_determinism_class() -> Iterator[None]:
    with deterministic(torch.device("cpu"), 1):
        yield
