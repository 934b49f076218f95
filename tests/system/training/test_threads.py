"""Threads beside a run in one process: they change no bits, and the process is left as it was."""

import random
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch

from raymu.api import open_run
from raymu.core.records import Exactness
from raymu.training.own_process import has_other_threads
from tests.support.trained_runs import TrainedRunFactory


@contextmanager
def beside(disturb: Callable[[], object]) -> Iterator[None]:
    """Do something again and again in another thread."""
    is_done = threading.Event()

    def work() -> None:
        while not is_done.is_set():
            disturb()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        is_done.set()
        thread.join()


@pytest.fixture
def quick_switches() -> Iterator[None]:
    """Let threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("quick_switches")
def test_threads_beside_a_revocation_change_no_bits(trained_run: TrainedRunFactory) -> None:
    """One predicts, the other draws from every generator that the model's dropout could draw from."""
    run = trained_run(
        model={"name": "mlp", "hidden": [8], "dropout": 0.5}, training={"epochs": 12}, cluster={"fleet": "local"}
    )

    def draw() -> None:
        with torch.random.fork_rng():
            torch.rand(3)
        random.random()
        np.random.rand()

    def settings() -> tuple[object, ...]:
        return torch.get_num_threads(), torch.get_deterministic_debug_mode(), torch.backends.cudnn.benchmark

    before = settings()
    with open_run(run.location) as opened:
        features = np.zeros((2, *run.store.manifest.input_shape), dtype=np.float32)
        with beside(draw), beside(lambda: opened.predict(features)):
            receipt = opened.revoke(run.ids(shard=0, slice_index=0)[:2], strategy="sisa")
    assert receipt.exactness is Exactness.EXACT
    assert settings() == before
    assert not has_other_threads()
    with open_run(run.location) as opened:
        [replay] = [check for check in opened.verify(replay=[0]).checks if check.name == "replay"]
    assert (replay.checked, replay.findings) == (1, ())
