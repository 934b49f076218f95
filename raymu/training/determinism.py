"""What the bits of a training run depend on besides its data: the determinism class, pinned and recorded."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

import torch
import torch.utils.deterministic

from raymu.config import Device
from raymu.errors import DeviceUnavailable


@dataclass(frozen=True, kw_only=True, slots=True)
class DeterminismClass:
    """Two results may be compared bit for bit only within one class (docs/design.md, Guarantees)."""

    torch: str
    device: str
    """The GPU's name, or the CPU capability that torch dispatches on."""
    threads: int
    dtype: str = "float32"
    deterministic: bool = True
    workers: int = 1
    """Ranks that share every batch: the order of its sums."""

    def json(self) -> str:
        told = asdict(self)
        if self.workers == 1:  # as classes are written that know of no more
            del told["workers"]
        return json.dumps(told, sort_keys=True)


def describe_difference(earlier: str, now: str) -> str:
    """What differs between two classes, each as JSON: `device T4, now A100`."""
    before, after = json.loads(earlier), json.loads(now)
    names = [name for name in after if before.get(name) != after[name]]
    return ", ".join(f"{name} {before.get(name)}, now {after[name]}" for name in names)


def choose_device(wish: Device) -> torch.device:
    """Raises DeviceUnavailable where CUDA is asked for and there is none."""
    if wish == "cuda" and not torch.cuda.is_available():
        raise DeviceUnavailable("training.device is cuda, but there is no CUDA device here; use auto or cpu")
    return torch.device("cuda" if wish != "cpu" and torch.cuda.is_available() else "cpu")


def device_or_cpu(wish: Device) -> torch.device:
    """As choose_device, for what is not training: where this machine lacks the run's device, its CPU will do."""
    return choose_device("cpu" if wish == "cpu" else "auto")


def determinism_class(device: torch.device, threads: int, workers: int = 1) -> DeterminismClass:
    is_cuda = device.type == "cuda"
    name = torch.cuda.get_device_name(device) if is_cuda else f"cpu {torch.backends.cpu.get_cpu_capability()}"
    return DeterminismClass(torch=torch.__version__, device=name, threads=threads, workers=workers)


@contextmanager
def deterministic(device: torch.device, threads: int, workers: int = 1) -> Iterator[DeterminismClass]:
    """Pin the threads, the deterministic algorithms and the random state; all are put back afterwards.

    Ray sets the thread count from num_cpus, and it changes the bits.
    """
    threads_before, mode_before = torch.get_num_threads(), torch.get_deterministic_debug_mode()
    benchmark_before = torch.backends.cudnn.benchmark
    fill_before = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    torch.set_num_threads(threads)
    if device.type == "cuda":  # deterministic matrix products need it before the first one
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # As use_deterministic_algorithms(True), which would import the compiler too: two seconds in every process.
    torch.set_deterministic_debug_mode("error")
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # costs time, changes nothing
    torch.backends.cudnn.benchmark = False
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            yield determinism_class(device, threads, workers)
    finally:
        torch.set_num_threads(threads_before)
        torch.set_deterministic_debug_mode(mode_before)
        torch.backends.cudnn.benchmark = benchmark_before
        torch.utils.deterministic.fill_uninitialized_memory = fill_before  # type: ignore[attr-defined]
