from pathlib import Path

import pytest

from raymu.runtime.known_cluster import may_find_cluster


@pytest.fixture(autouse=True)
def temporary_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Make a folder the one in which Ray records its cluster, and return it."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("address", "is_expected"), [(None, False), ("local", False), ("auto", True), ("10.0.0.1:6379", True)]
)
def test_a_cluster_may_be_found_if_one_is_named(address: str | None, is_expected: bool) -> None:
    assert may_find_cluster(address) is is_expected


def test_a_cluster_may_be_found_if_the_environment_names_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert may_find_cluster(None)


def test_a_cluster_may_be_found_if_ray_start_recorded_one(temporary_folder: Path) -> None:
    (temporary_folder / "ray").mkdir()
    (temporary_folder / "ray" / "ray_current_cluster").write_text("127.0.0.1:6379")
    assert may_find_cluster(None)
