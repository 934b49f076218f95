"""A run on disk keeps its laws in hundreds of courses of events; in thousands with --hypothesis-profile=thorough."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import settings

from tests.system.model.machine import check_laws

EXAMPLES_OF_A_PART = 75
"""In the usual profile."""
PARTS = 8
"""They are the same on every machine, whatever runs side by side."""


@pytest.fixture(scope="module")
def workshop() -> Iterator[Path]:
    """A folder in memory where there is one: hundreds of runs are written and synced."""
    memory = Path("/dev/shm")
    with TemporaryDirectory(prefix="raymu-laws-", dir=memory if memory.is_dir() else None) as folder:
        yield Path(folder)


@pytest.mark.parametrize("part", range(PARTS))
def test_the_laws_hold_in_every_course_of_events(workshop: Path, part: int) -> None:
    examples = EXAMPLES_OF_A_PART * settings().max_examples // settings.get_profile("raymu").max_examples
    check_laws(part=part, examples=examples, workshop=workshop)
