from collections.abc import Iterator

import pytest
import torch

from raymu.training.determinism import pinned


@pytest.fixture(scope="module")
def one_determinism_class() -> Iterator[None]:
    with pinned(torch.device("cpu"), 1):
        yield
