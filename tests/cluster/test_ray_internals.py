"""Every private name of Ray that the package uses exists, and does what the package needs."""

from pathlib import Path
from typing import Any

import pytest
import ray

from raymu.runtime import ray_internals
from tests.support.ray_internals import packaged_files

pytestmark = pytest.mark.usefixtures("ray_cluster")


def add(number: int) -> int:
    return number + 1


class Adder:
    def add(self, number: int) -> int:
        return add(number)


def test_a_class_becomes_an_actor_and_a_function_a_task() -> None:
    actor = ray_internals.as_remote(Adder).options(num_cpus=0).remote()
    assert ray.get(actor.add.remote(1)) == 2
    ray.kill(actor)
    assert ray.get(ray_internals.as_remote(add).remote(1)) == 2
    with pytest.raises(TypeError):
        ray.remote(enable_task_events="unknown")(Adder)  # type: ignore[call-overload]  # the option exists


def test_a_local_cluster_is_recognised_without_starting_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))  # where `ray start` records a cluster
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert ray_internals.find_local_cluster("10.0.0.1:6379") == "10.0.0.1:6379"
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.2:6379")
    assert ray_internals.find_local_cluster(None) == "10.0.0.2:6379"


def test_this_process_knows_its_own_cluster() -> None:
    assert ray_internals.is_connected_to(ray.get_runtime_context().gcs_address)


def test_messages_about_lost_workers_are_silenced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray._private.worker, "_worker_logs_enabled", True)
    ray_internals.silence_lost_workers()
    assert ray._private.worker._worker_logs_enabled is False


def test_the_command_line_is_hidden_while_a_connection_is_made() -> None:
    utils: Any = ray._private.utils
    before = utils.get_entrypoint_name()
    with ray_internals.hidden_entrypoint():
        assert utils.get_entrypoint_name() == "raymu"
    assert utils.get_entrypoint_name() == before != "raymu"


def test_the_files_of_a_job_are_listed_as_ray_packs_them(tmp_path: Path) -> None:
    (tmp_path / "kept").touch()
    (tmp_path / "left").touch()
    assert packaged_files(tmp_path, ["left"]) == ["kept"]
