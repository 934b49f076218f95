"""A run on disk keeps its laws in dozens of random scenarios, and in thousands with --nightly."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import settings

from tests.system.model.machine import check_laws

PARTS = 6
"""Each part has a seed of its own, so that the scenarios do not depend on how many processes run the tests."""
SCENARIOS_PER_EXAMPLE = 1.5
"""Scenarios of a part, for each example that the hypothesis profile asks of a law."""


@pytest.fixture(scope="module")
def work_folder() -> Iterator[Path]:
    """A folder in memory if the system has one: hundreds of runs are written and synced."""
    memory = Path("/dev/shm")
    with TemporaryDirectory(prefix="raymu-laws-", dir=memory if memory.is_dir() else None) as folder:
        yield Path(folder)


@pytest.mark.parametrize(
    "part", [*range(PARTS // 2), *(pytest.param(part, marks=pytest.mark.nightly) for part in range(PARTS // 2, PARTS))]
)
def test_the_laws_hold_in_every_scenario(work_folder: Path, part: int) -> None:
    scenarios = round(SCENARIOS_PER_EXAMPLE * settings().max_examples)
    check_laws(part=part, examples=scenarios, work_folder=work_folder)
