"""The determinism class: what the bits of a training depend on besides its data, pinned and recorded."""

import json
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
import torch.utils.deterministic

from raymu.config import Device, TrainingConfig
from raymu.errors import DeviceUnavailable
from raymu.training.randomness import random_state_kept


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
    accumulate: int = 1
    """Parts of a batch, or of a rank's part of it, whose gradients are computed one after the other."""
    compiled: bool = False
    """Whether `torch.compile` trains."""
    channels_last: bool = False
    """Whether images and convolutions have the memory format channels last."""
    lane: int = 1
    """Places of a lane, whose shards are trained side by side in one process."""

    def json(self) -> str:
        """Write the class as JSON, the form in which classes are compared."""
        members = asdict(self)
        for name, default in _LATER.items():  # the form of runs that are older than these
            if members[name] == default:
                del members[name]
        return json.dumps(members, sort_keys=True)


_LATER: Mapping[str, object] = {"workers": 1, "accumulate": 1, "compiled": False, "channels_last": False, "lane": 1}


def describe_difference(earlier: str, now: str) -> str:
    """Name what differs between two classes, each as JSON: `device T4, now A100`."""
    before, after = json.loads(earlier), json.loads(now)
    names = [name for name in after | before if before.get(name) != after.get(name)]
    return ", ".join(f"{name} {before.get(name)}, now {after.get(name)}" for name in names)


def choose_device(setting: Device) -> torch.device:
    """Choose the device to train on. Raises DeviceUnavailable if the setting is CUDA and no CUDA device exists."""
    if setting == "cuda" and not torch.cuda.is_available():
        raise DeviceUnavailable("training.device is cuda, but this machine lacks a CUDA device; use auto or cpu")
    return torch.device("cuda" if setting != "cpu" and torch.cuda.is_available() else "cpu")


def device_or_cpu(setting: Device) -> torch.device:
    """Choose a device for work other than training: the CPU, if this machine lacks the configured device."""
    return choose_device("cpu" if setting == "cpu" else "auto")


def determinism_class(
    device: torch.device, threads: int, workers: int = 1, training: TrainingConfig | None = None, *, lane: int = 1
) -> DeterminismClass:
    """Determine the class of this process.

    Args:
        device: That is computed on.
        threads: Threads of one operation.
        workers: Ranks that share every batch.
        training: Settings that change the bits. The default changes none.
        lane: Places of the lane that trains.
    """
    is_cuda = device.type == "cuda"
    name = torch.cuda.get_device_name(device) if is_cuda else f"cpu {torch.backends.cpu.get_cpu_capability()}"
    plain = DeterminismClass(torch=torch.__version__, device=name, threads=threads, workers=workers, lane=lane)
    if training is None:
        return plain
    return replace(
        plain,
        dtype=training.precision,
        accumulate=training.accumulate,
        compiled=training.compile,
        channels_last=training.channels_last,
    )


@dataclass(kw_only=True, slots=True, eq=False)
class _Pins:
    """The computations of this process that are under way, in threads, and what was set before the first of them."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    threads: list[tuple[object, int]] = field(default_factory=list)
    """Of each computation, in the order in which they began: a token, and its threads of one operation."""
    before: dict[Callable[[Any], Any], Any] = field(default_factory=dict)
    """Setter -> the value before the first."""

    def begin(self, token: object, threads: int) -> None:
        with self.lock:
            if not self.threads:
                self.before = {setter: read() for setter, (read, _) in _SETTINGS.items()}
                for setter, (_, value) in _SETTINGS.items():
                    setter(value)
            torch.set_num_threads(threads)
            self.threads.append((token, threads))

    def end(self, token: object) -> None:
        with self.lock:
            self.threads = [(other, threads) for other, threads in self.threads if other is not token]
            if self.threads:
                torch.set_num_threads(self.threads[-1][1])
                return
            for setter, value in self.before.items():
                setter(value)


def _set_fill(value: bool) -> None:
    torch.utils.deterministic.fill_uninitialized_memory = value  # type: ignore[attr-defined]


def _set_benchmark(value: bool) -> None:
    torch.backends.cudnn.benchmark = value


# Not use_deterministic_algorithms(True), which would import the compiler too: two seconds in every process.
_SETTINGS: Mapping[Callable[[Any], Any], tuple[Callable[[], Any], Any]] = {
    torch.set_num_threads: (torch.get_num_threads, 1),
    torch.set_deterministic_debug_mode: (torch.get_deterministic_debug_mode, "error"),
    torch.set_default_dtype: (torch.get_default_dtype, torch.float32),
    torch.set_float32_matmul_precision: (torch.get_float32_matmul_precision, "highest"),
    _set_benchmark: (lambda: torch.backends.cudnn.benchmark, False),
    # It costs time, and changes nothing.
    _set_fill: (lambda: torch.utils.deterministic.fill_uninitialized_memory, False),  # type: ignore[attr-defined]
}
"""What the bits depend on in a whole process: setter -> (reader, value during a computation)."""
_PINS = _Pins()


@contextmanager
def pinned(device: torch.device, threads: int) -> Iterator[None]:
    """Pin what the bits depend on, without random numbers: threads, deterministic algorithms, precision.

    These are of the whole process. Several threads may compute side by side: the last to end gives everything back.

    Args:
        device: That is computed on.
        threads: Threads of one operation. Ray sets them from num_cpus, and their number changes the bits.
    """
    if device.type == "cuda":  # deterministic matrix products need it before the first one
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    token = object()
    _PINS.begin(token, threads)
    try:
        yield
    finally:
        _PINS.end(token)


@contextmanager
def deterministic(
    device: torch.device, threads: int, workers: int = 1, training: TrainingConfig | None = None, *, lane: int = 1
) -> Iterator[DeterminismClass]:
    """Pin what the bits depend on, and keep the state of all generators; give everything back afterwards.

    Args:
        device: That is computed on.
        threads: Threads of one operation.
        workers: Ranks that share every batch.
        training: Settings that change the bits, for the class. The default changes none.
        lane: Places of the lane that trains, for the class.

    Yields:
        The determinism class.
    """
    with pinned(device, threads), random_state_kept(device):
        yield determinism_class(device, threads, workers, training, lane=lane)
