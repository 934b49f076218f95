"""Imports do without the collector of reference cycles, and leave it as it was."""

import gc
from collections.abc import Iterator

import pytest

from raymu import imports
from raymu.imports import freeze_own, imports_uncollected, own_process


@pytest.fixture(autouse=True)
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Put the collector back as it was."""
    monkeypatch.setattr(imports, "_is_own_process", False)
    yield
    gc.unfreeze()
    gc.enable()


@pytest.mark.parametrize("is_enabled", [True, False])
def test_the_collector_is_off_during_imports_and_as_before_afterwards(is_enabled: bool) -> None:
    if not is_enabled:
        gc.disable()
    with imports_uncollected():
        assert not gc.isenabled()
        with imports_uncollected():
            pass
        assert not gc.isenabled()
    assert gc.isenabled() is is_enabled


def test_a_failed_import_leaves_the_collector_on() -> None:
    with pytest.raises(ImportError), imports_uncollected():
        raise ImportError("no such module")
    assert gc.isenabled()


def test_objects_are_frozen_in_a_process_of_raymu_alone() -> None:
    before = gc.get_freeze_count()
    freeze_own()
    assert gc.get_freeze_count() == before, "the collector of a program that imports raymu is not raymu's to change"
    own_process()
    with imports_uncollected():
        pass
    assert gc.get_freeze_count() > before
