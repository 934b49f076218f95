import socket
from pathlib import Path

import pytest

from raymu.runtime.known_cluster import joined_cluster, may_find_cluster


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


def test_a_cluster_is_joined_if_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert joined_cluster(None) is None
    assert joined_cluster("local") is None
    assert joined_cluster("10.0.0.1:6379") is not None
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert "RAY_ADDRESS" in str(joined_cluster(None))


def test_a_recorded_cluster_is_joined_only_if_it_answers(temporary_folder: Path) -> None:
    (temporary_folder / "ray").mkdir()
    record = temporary_folder / "ray" / "ray_current_cluster"
    with socket.create_server(("127.0.0.1", 0)) as server:
        record.write_text(f"127.0.0.1:{server.getsockname()[1]}")
        assert joined_cluster(None) is not None
    assert joined_cluster(None) is None
    record.write_text("nonsense")
    assert joined_cluster(None) is None
