from collections.abc import Iterator

import pytest
import torch

from raymu.training.determinism import deterministic


@pytest.fixture(scope="module")
def one_determinism_class() -> Iterator[None]:
    with deterministic(torch.device("cpu"), 1):
        yield
