"""A run on disk keeps its laws in thousands of courses of events; many more with --hypothesis-profile=thorough."""

import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import settings

from tests.unit.service.model.machine import check_laws

EXAMPLES_OF_A_PART = 250
PARTS = 8
"""Of the usual profile. They are the same on every machine, however many of them run side by side."""


@pytest.fixture
def workshop() -> Iterator[Path]:
    """A folder in memory where there is one: thousands of runs are written and synced."""
    memory = Path("/dev/shm")
    with TemporaryDirectory(prefix="raymu-laws-", dir=memory if memory.is_dir() else None) as folder:
        yield Path(folder)


def test_the_laws_hold_in_every_course_of_events(workshop: Path) -> None:
    parts = range(PARTS * settings().max_examples // settings.get_profile("raymu").max_examples)
    check = partial(check_laws, examples=EXAMPLES_OF_A_PART, workshop=workshop)
    with ProcessPoolExecutor(os.cpu_count(), mp_context=multiprocessing.get_context("spawn")) as pool:
        checks = [pool.submit(check, part=part) for part in parts]
        for one in checks:
            one.result()
