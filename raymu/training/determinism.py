"""The determinism class: what the bits of a training depend on besides its data, pinned and recorded."""

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
    """Results may be compared bit for bit only within one class (docs/design.md, Guarantees); else it is inconclusive."""

    torch: str
    """Version of PyTorch."""
    device: str
    """The GPU's name, or the CPU capability that torch dispatches on."""
    threads: int
    dtype: str = "float32"
    deterministic: bool = True
    workers: int = 1
    """Ranks that share every batch: they set the order of its sums."""

    def json(self) -> str:
        """Write the class as JSON, the form in which classes are compared."""
        members = asdict(self)
        if self.workers == 1:  # the form of runs that are older than workers
            del members["workers"]
        return json.dumps(members, sort_keys=True)


def describe_difference(earlier: str, now: str) -> str:
    """Name what differs between two classes, each as JSON: `device T4, now A100`."""
    before, after = json.loads(earlier), json.loads(now)
    names = [name for name in after if before.get(name) != after[name]]
    return ", ".join(f"{name} {before.get(name)}, now {after[name]}" for name in names)


def choose_device(setting: Device) -> torch.device:
    """Choose the device to train on. Raises DeviceUnavailable if the setting is CUDA and no CUDA device exists."""
    if setting == "cuda" and not torch.cuda.is_available():
        raise DeviceUnavailable("training.device is cuda, but this machine lacks a CUDA device; use auto or cpu")
    return torch.device("cuda" if setting != "cpu" and torch.cuda.is_available() else "cpu")


def device_or_cpu(setting: Device) -> torch.device:
    """Choose a device for work other than training: the CPU, if this machine lacks the configured device."""
    return choose_device("cpu" if setting == "cpu" else "auto")


def determinism_class(device: torch.device, threads: int, workers: int = 1) -> DeterminismClass:
    """Determine the class of this process. workers: ranks that share every batch"""
    is_cuda = device.type == "cuda"
    name = torch.cuda.get_device_name(device) if is_cuda else f"cpu {torch.backends.cpu.get_cpu_capability()}"
    return DeterminismClass(torch=torch.__version__, device=name, threads=threads, workers=workers)


@contextmanager
def deterministic(device: torch.device, threads: int, workers: int = 1) -> Iterator[DeterminismClass]:
    """Pin threads, deterministic algorithms and random state; restore them all afterwards.

    Ray sets the thread count from num_cpus, and the thread count changes the bits.

    Args:
        device: That is computed on.
        threads: Threads of one operation.
        workers: Ranks that share every batch.

    Yields:
        The determinism class.
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
