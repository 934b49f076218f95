import json
from collections.abc import Callable

import pytest
import torch
import torch.utils.deterministic

from raymu.errors import DeviceUnavailable
from raymu.training.determinism import choose_device, determinism_class, deterministic, device_or_cpu

CPU = torch.device("cpu")
SETTINGS: dict[str, Callable[[], object]] = {
    "threads": torch.get_num_threads,
    "deterministic": torch.are_deterministic_algorithms_enabled,
    "fill": lambda: torch.utils.deterministic.fill_uninitialized_memory,  # type: ignore[attr-defined]
    "benchmark": lambda: torch.backends.cudnn.benchmark,
    "random state": lambda: torch.get_rng_state().tolist(),
}


def settings() -> dict[str, object]:
    return {name: setting() for name, setting in SETTINGS.items()}


@pytest.fixture(params=[False, True])
def before(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """The caller's settings: those of the process, or unusual ones."""
    if request.param:
        monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
        monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", False)
    return settings()


def test_all_settings_are_put_back(before: dict[str, object]) -> None:
    with deterministic(CPU, torch.get_num_threads() + 1):
        torch.manual_seed(5)
        torch.rand(3)
        assert settings() != before
    assert settings() == before


def test_all_settings_are_put_back_after_a_failure(before: dict[str, object]) -> None:
    with pytest.raises(RuntimeError, match="size"), deterministic(CPU, torch.get_num_threads() + 1):
        torch.rand(3) @ torch.rand(2)
    assert settings() == before


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_and_deterministic_algorithms_are_pinned_and_recorded(threads: int) -> None:
    with deterministic(CPU, threads) as determinism:
        assert torch.get_num_threads() == threads
        assert torch.are_deterministic_algorithms_enabled()
        assert not torch.backends.cudnn.benchmark
        assert determinism.threads == threads
        assert determinism == determinism_class(CPU, threads)


def test_a_pin_inside_another_gives_the_outer_one_back() -> None:
    with deterministic(CPU, 2):
        with deterministic(CPU, 1):
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
        assert torch.are_deterministic_algorithms_enabled()


def test_classes_differ_by_their_threads_and_say_what_they_are() -> None:
    first, second = determinism_class(CPU, 1), determinism_class(CPU, 2)
    assert first != second
    assert first.json() != second.json()
    assert json.loads(first.json()) == {
        "torch": torch.__version__,
        "device": f"cpu {torch.backends.cpu.get_cpu_capability()}",
        "threads": 1,
        "dtype": "float32",
        "deterministic": True,
    }


def test_the_number_of_workers_is_in_the_class_only_if_there_are_several() -> None:
    first, second = determinism_class(CPU, 1), determinism_class(CPU, 1, workers=2)
    assert first != second
    assert json.loads(second.json()) == json.loads(first.json()) | {"workers": 2}


def test_the_cpu_is_used_if_configured() -> None:
    assert choose_device("cpu") == device_or_cpu("cpu") == CPU


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_without_a_cuda_device_it_is_refused_and_auto_is_the_cpu() -> None:
    assert choose_device("auto") == device_or_cpu("auto") == device_or_cpu("cuda") == CPU
    with pytest.raises(DeviceUnavailable, match="lacks a CUDA device; use auto or cpu"):
        choose_device("cuda")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")
def test_with_a_cuda_device_it_is_chosen() -> None:
    assert choose_device("auto") == choose_device("cuda") == torch.device("cuda")
    assert device_or_cpu("auto") == device_or_cpu("cuda") == torch.device("cuda")
