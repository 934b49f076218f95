"""The folder of a cluster of raymu's own, and what Ray says of another version."""

from pathlib import Path

import pytest

from raymu.errors import DeviceUnavailable
from raymu.runtime.own_cluster import other_version, short_folder

LONG = "/net/people/slurm_jobdir/1355700/tmp.t0016/of-a-batch-system"
MISMATCH = """Version mismatch: The cluster was started with:
    Ray: 2.59.0
    Python: 3.11.4
This process on node 10.0.0.1 was started with:
    Ray: 2.60.0
    Python: 3.11.4
"""


@pytest.fixture(autouse=True)
def no_folder_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    for name in ("TMPDIR", "RAY_TMPDIR"):
        monkeypatch.delenv(name, raising=False)


def test_rays_own_choice_is_kept_where_its_sockets_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    assert short_folder() is None
    monkeypatch.setenv("TMPDIR", "/tmp")
    assert short_folder() is None


@pytest.mark.parametrize("name", ["TMPDIR", "RAY_TMPDIR"])
def test_a_long_folder_is_replaced_by_a_short_one(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, LONG)
    folder = short_folder()
    assert folder
    assert len(f"{folder}/session_2026-12-01_23-11-26_123456_4194304/sockets/plasma_store") < 104


def test_a_folder_that_cannot_be_made_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TMPDIR", str(tmp_path / "file"))
    assert short_folder() in ("/tmp/ray", "/var/tmp/ray", "/dev/shm/ray")


def test_without_any_folder_one_line_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", LONG)
    with pytest.raises(DeviceUnavailable, match="set RAY_TMPDIR to another"):
        short_folder((LONG, "/dev/null"))


def test_another_version_is_recognised_in_what_ray_says() -> None:
    assert other_version(MISMATCH) == "Ray 2.59.0 with Python 3.11.4"
    assert other_version("Could not find any running Ray instance") is None
