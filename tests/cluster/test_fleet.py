"""A run on a real Ray cluster: equal hashes, few processes, unchanged errors."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
import yaml

import raymu
from raymu.core.records import Exactness, ShardLineage
from raymu.errors import CoordinatorLost, DeviceUnavailable, SamplesRevoked, UnknownSamples
from raymu.runtime import cluster
from raymu.runtime.client import RayClient
from raymu.runtime.fleet import RayFleet
from raymu.runtime.nodes import capacity
from raymu.service.coordinator.anchoring_client import AnchoringClient
from raymu.service.ingest import prepare_run
from raymu.service.shard.messages import StageProgress
from raymu.store.run import RunStore
from tests.support.cluster_process import wait_until
from tests.support.examples import (
    make_config,
    repaired_weights,
    revoke,
    served_weights,
    settle,
    train_run,
    write_samples,
)
from tests.support.processes import COORDINATOR, SHARD, own_processes
from tests.support.ray_runs import config_on_ray

pytestmark = pytest.mark.usefixtures("ray_cluster")

BOUNDARIES = {"sisa": None, "dpus": None, "hs": 1.0, "ohs": 0.0}
"""The boundary of a request by each strategy, such that no measured seconds decide on its remedies."""


@pytest.mark.parametrize("live_actors", [1, pytest.param(8, marks=pytest.mark.nightly)])
def test_any_number_of_actors_gives_the_hashes_of_one_process(tmp_path: Path, live_actors: int) -> None:
    table = write_samples(tmp_path / "all.parquet", samples=400)
    ids = table["id"].to_pylist()
    alone = train_run(config_on_ray(tmp_path / "all.parquet"), tmp_path / "local")
    with raymu.train(config_on_ray(tmp_path / "all.parquet", live_actors=live_actors), str(tmp_path / "ray")) as run:
        assert repaired_weights(tmp_path / "ray") == repaired_weights(tmp_path / "local")
        for number, (strategy, boundary) in enumerate(BOUNDARIES.items()):
            forget = ids[number * 6 : number * 6 + 6]
            receipt = run.revoke(forget, strategy=strategy, boundary=boundary)
            other = revoke(alone, forget, strategy=strategy, boundary=boundary)
            assert [part.remedy for part in receipt.shards] == [part.remedy for part in other.shards]
            assert served_weights(tmp_path / "ray") == served_weights(tmp_path / "local"), strategy
        run.settle()
        settle(alone)
        assert served_weights(tmp_path / "ray") == served_weights(tmp_path / "local")
        assert {receipt.exactness for receipt in run.receipts()} == {Exactness.EXACT}


@pytest.mark.parametrize("trainable", ["head", pytest.param("adapters", marks=pytest.mark.nightly)])
def test_a_part_of_a_model_has_the_hashes_of_one_process(tmp_path: Path, trainable: str) -> None:
    """Actors have the frozen weights from the run alone."""
    table = write_samples(tmp_path / "all.parquet", samples=120)
    config = make_config(
        tmp_path / "all.parquet",
        model={"name": "mlp", "hidden": [12, 12], "trainable": trainable},
        training={"precision": "bf16", "accumulate": 2, "optimizer": "adam", "learning_rate": 0.02},
        partition={"shards": 2, "slices": 2},
        cluster={"fleet": "ray", "live_actors": 1},
    )
    alone = train_run(config, tmp_path / "local")
    with raymu.train(config, str(tmp_path / "ray")) as run:
        forget = table["id"].to_pylist()[:3]
        run.revoke(forget, strategy="sisa")
        revoke(alone, forget, strategy="sisa")
        assert served_weights(tmp_path / "ray") == served_weights(tmp_path / "local")


@pytest.mark.nightly
def test_two_hundred_shards_need_only_as_many_processes_as_there_is_room_for(tmp_path: Path) -> None:
    table = write_samples(tmp_path / "all.parquet", samples=6000)
    most = 0

    def count(_stage: StageProgress) -> None:
        nonlocal most
        most = max(most, len(own_processes(SHARD)))

    config = make_config(
        tmp_path / "all.parquet",
        training={"epochs": 2},
        partition={"shards": 200, "slices": 2},
        cluster={"fleet": "ray", "live_actors": 2},
    )
    with raymu.train(config, str(tmp_path / "run"), progress=count) as run:
        receipt = run.revoke(table["id"].to_pylist()[:5], strategy="sisa")
        assert most == 2
        assert receipt.exactness is Exactness.EXACT
        assert len(run.status().shards) == 200


def test_a_killed_actor_is_replaced_and_its_work_is_resumed(tmp_path: Path) -> None:
    table = write_samples(tmp_path / "all.parquet", samples=400)
    killed: list[int] = []
    stages: list[tuple[int, int]] = []

    def kill_once(stage: StageProgress) -> None:
        stages.append((stage.shard, stage.stage))
        if not killed:
            victim = own_processes(SHARD)[0]
            killed.append(victim.pid)
            os.kill(victim.pid, signal.SIGKILL)

    config = config_on_ray(tmp_path / "all.parquet", shards=2, live_actors=1)
    with raymu.train(config, str(tmp_path / "run"), progress=kill_once) as run:
        require_once(stages)
        killed.clear()
        stages.clear()
        run.revoke(table["id"].to_pylist()[:40], strategy="sisa", progress=kill_once)
        require_once(stages)
    assert killed
    train_run(config, tmp_path / "calm", exclude=table["id"].to_pylist()[:40])
    assert repaired_weights(tmp_path / "run") == repaired_weights(tmp_path / "calm")


def require_once(stages: list[tuple[int, int]]) -> None:
    """Check that no stage was trained again but one: that whose files were being written when the actor was killed.

    It is the first stage, or a later one that the actor reported before the signal reached it. The last stage counts as
    finished only with its shard's report.
    """
    times = Counter(stage for stage in stages if stage[1] < 2)
    again = [stage for stage, count in times.items() if count > 1]
    assert len(again) <= 1
    assert max(times.values()) <= 2


@pytest.mark.nightly
def test_an_interrupted_training_leaves_no_process_and_is_finished_by_settling(tmp_path: Path) -> None:
    def interrupt(_stage: StageProgress) -> None:
        raise KeyboardInterrupt

    write_samples(tmp_path / "all.parquet", samples=400)
    config = config_on_ray(tmp_path / "all.parquet")
    open_before = cluster._open_connections
    with pytest.raises(KeyboardInterrupt):
        raymu.train(config, str(tmp_path / "run"), progress=interrupt)
    assert cluster._open_connections == open_before
    wait_until(lambda: not (own_processes(COORDINATOR) or own_processes(SHARD)), "nothing is left")
    with raymu.open_run(tmp_path / "run") as run:
        run.settle()
    train_run(config, tmp_path / "calm")
    assert repaired_weights(tmp_path / "run") == repaired_weights(tmp_path / "calm")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[raymu.Run]:
    """A run that is open on the cluster, with one actor. It was trained in this process."""
    folder = tmp_path_factory.mktemp("open")
    write_samples(folder / "all.parquet", samples=4000)
    asyncio.run(train_run(config_on_ray(folder / "all.parquet", live_actors=1), folder / "run").close())
    with raymu.open_run(folder / "run") as opened:
        yield opened


def test_refusals_are_raised_unchanged_and_change_nothing(run: raymu.Run) -> None:
    first, second = (1000 + 7 * number for number in (3000, 3001))
    before = run.status()
    with pytest.raises(UnknownSamples, match="1 unknown sample id"):
        run.revoke([first, 1])
    assert (run.status().generation, run.status().requests) == (before.generation, before.requests)
    receipt = run.revoke([first])
    after = run.status().requests
    with pytest.raises(SamplesRevoked) as refusal:
        run.revoke([first, second])
    assert refusal.value.request_ids == (receipt.request_id,)
    assert run.status().requests == after


def test_a_submission_is_one_message_and_each_request_has_its_answer(run: raymu.Run) -> None:
    ids = [1000 + 7 * number for number in range(2500)]
    revocations = [raymu.Revocation(ids=(sample_id,), strategy="dpus") for sample_id in [*ids, *ids[:2], *range(3)]]
    repaired: list[int] = []
    purged = run.status().requests.purged
    answers = run.revoke_many(revocations, progress=lambda stage: repaired.append(stage.shard))
    refusals = [answer.refusal for answer in answers]
    assert refusals[:2500] == [None] * 2500
    assert [type(refusal) for refusal in refusals[2500:]] == [SamplesRevoked] * 2 + [UnknownSamples] * 3
    assert isinstance(refusals[2501], SamplesRevoked)
    assert refusals[2501].request_ids == (answers[1].request_id,)
    assert run.status().requests.purged == purged + 2500
    receipts = run.receipts({answers[0].request_id or "", answers[2499].request_id or ""})
    assert all(part.requests > 400 for receipt in receipts for part in receipt.shards)


@pytest.mark.nightly
def test_fractions_of_logical_gpus_bound_the_actors(tmp_path: Path) -> None:
    """One actor fits on each of the two GPUs, although three would fit on their sum."""
    write_samples(tmp_path / "all.parquet", samples=400)
    config = config_on_ray(tmp_path / "all.parquet", shards=3, live_actors=None, gpus_per_shard=0.6)
    most = 0

    def count(_stage: StageProgress) -> None:
        nonlocal most
        most = max(most, len(own_processes(SHARD)))

    raymu.train(config, str(tmp_path / "run"), progress=count).close()
    assert capacity(config.cluster) == most == 2


def test_a_cluster_without_room_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    write_samples(tmp_path / "all.parquet")
    with pytest.raises(DeviceUnavailable, match="3 GPU"):
        raymu.train(config_on_ray(tmp_path / "all.parquet", gpus_per_shard=3), str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_cuda_without_a_device_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device here")
    write_samples(tmp_path / "all.parquet")
    config = make_config(
        tmp_path / "all.parquet",
        training={"device": "cuda"},
        cluster={"fleet": "ray", "gpus_per_shard": 1, "live_actors": 1},
    )
    with pytest.raises(DeviceUnavailable, match="lacks a CUDA device"):
        raymu.train(config, str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


UNREACHABLE = {"127.0.0.1:9": "nothing answers there", "ray://127.0.0.1:9": "use `raymu job submit`"}
"""Addresses that cannot be joined, and what is said about them."""

TRAIN = [["train", "run.yaml", f"cluster.address={address}"] for address in UNREACHABLE]
STATUS = [["status", "run", "--address", "127.0.0.1:9"], ["status", "run"]]

ELSEWHERE = r"""
import json, sys
from raymu.cli import run_command

for words in json.loads(sys.argv[1]):
    end = run_command(words)
    print("", json.dumps(end), "", sep="\0", end="")
"""


@pytest.fixture(scope="module")
def ended_elsewhere(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[tuple[int, str, str]]]:
    """Commands "train" and "status", run in one other process, because this one has joined a cluster.

    Returns:
        For each command the exit codes, the lines that say why it was refused, and what it printed.
    """
    folder = tmp_path_factory.mktemp("elsewhere")
    write_samples(folder / "all.parquet")
    (folder / "run.yaml").write_text("data: {train: all.parquet}\nmodel: {name: mlp}\n")
    train_run(config_on_ray(folder / "all.parquet"), folder / "run")
    (folder / "ray").mkdir()
    (folder / "ray" / "ray_current_cluster").write_text("127.0.0.1:9")  # as a crashed cluster leaves it
    process = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, json.dumps(TRAIN + STATUS)],
        cwd=folder,
        env={**os.environ, "RAY_TMPDIR": str(folder)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (process.returncode, process.stderr) == (0, "")
    assert not (folder / "runs" / "run").exists()
    *results, _ = process.stdout.split("\0")
    ended = [(*json.loads(end), printed) for printed, end in zip(results[::2], results[1::2], strict=True)]
    return {"train": ended[: len(TRAIN)], "status": ended[len(TRAIN) :]}


def test_an_address_that_cannot_be_joined_is_refused_at_once(
    ended_elsewhere: dict[str, list[tuple[int, str, str]]],
) -> None:
    for (code, said, _), problem in zip(ended_elsewhere["train"], UNREACHABLE.values(), strict=True):
        assert code == 2
        assert problem in said


def test_status_needs_no_cluster(ended_elsewhere: dict[str, list[tuple[int, str, str]]]) -> None:
    for code, said, printed in ended_elsewhere["status"]:
        assert (code, said) == (0, "")
        assert "the nodes of the shards are not known" in printed
        assert ":9: nothing answers there" in printed


@pytest.mark.nightly
def test_sigterm_ends_a_command_like_an_interruption(tmp_path: Path) -> None:
    write_samples(tmp_path / "all.parquet")
    config = {
        "data": {"train": str(tmp_path / "all.parquet")},
        "model": {"name": "logistic"},
        "training": {"epochs": 100_000},
        "cluster": {"address": ray.get_runtime_context().gcs_address, "live_actors": 1},
    }
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(config))
    program = [sys.executable, "-m", "raymu.cli", "train", "run.yaml", "--run", "run", "--json"]
    command = subprocess.Popen(program, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_until(lambda: bool(own_processes(SHARD)), "a shard is trained")
    command.terminate()
    out, err = command.communicate(timeout=60)
    assert (command.returncode, out, err.strip()) == (130, "", "raymu: interrupted")
    wait_until(lambda: not own_processes(SHARD), "its actors are gone")


@pytest.mark.nightly
def test_two_runs_share_a_cluster_with_room_for_one(tmp_path: Path) -> None:
    """Another process has one CPU. Idle actors of the first run make room, and closing it does not affect the second."""
    table = write_samples(tmp_path / "all.parquet")
    program = f"""
import ray, raymu
from raymu.config import Config
ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False)
settings = dict(data={{"train": "{tmp_path}/all.parquet"}}, model={{"name": "logistic"}}, training={{"epochs": 2}},
                partition={{"shards": 2, "slices": 2}})
first = raymu.train(Config.parse(settings), "{tmp_path}/first")
second = raymu.train(Config.parse(settings), "{tmp_path}/second")
first.close()
print(second.revoke([{table["id"][0].as_py()}], strategy="sisa").exactness)
second.close()
"""
    process = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert (process.returncode, process.stdout.strip()) == (0, "exact"), process.stderr


@pytest.mark.nightly
def test_a_lost_coordinator_is_reported_in_one_line_and_settling_finishes_its_work(tmp_path: Path) -> None:
    table = write_samples(tmp_path / "all.parquet", samples=400)
    forget = table["id"].to_pylist()[:30]

    def kill_coordinator(_stage: StageProgress) -> None:
        for victim in own_processes(COORDINATOR):
            os.kill(victim.pid, signal.SIGKILL)

    config = config_on_ray(tmp_path / "all.parquet")
    with raymu.train(config, str(tmp_path / "run")) as run:
        with pytest.raises(CoordinatorLost, match="run `raymu settle`"):
            run.revoke(forget, strategy="sisa", progress=kill_coordinator)
        assert run.status().requests.accepted == 1
    with raymu.open_run(tmp_path / "run") as run:
        run.settle()
    train_run(config, tmp_path / "calm", exclude=forget)
    assert repaired_weights(tmp_path / "run") == repaired_weights(tmp_path / "calm")


def test_idle_actors_are_retired(tmp_path: Path) -> None:
    write_samples(tmp_path / "all.parquet")
    prepare_run(config_on_ray(tmp_path / "all.parquet", live_actors=1), str(tmp_path / "run")).write()

    async def until_none_is_left() -> None:
        fleet = RayFleet(RunStore(str(tmp_path / "run")), idle_s=0.5)
        await fleet.warm_up()
        assert own_processes(SHARD)
        while own_processes(SHARD):
            await asyncio.sleep(0.1)

    asyncio.run(asyncio.wait_for(until_none_is_left(), timeout=40))


@pytest.mark.nightly
def test_idle_actors_keep_no_superseded_checkpoint(tmp_path: Path) -> None:
    """Each of them worked on several shards."""
    ids = write_samples(tmp_path / "all.parquet", samples=400)["id"].to_pylist()
    with raymu.train(config_on_ray(tmp_path / "all.parquet"), str(tmp_path / "run")) as run:
        for number, strategy in enumerate(BOUNDARIES):
            run.revoke(ids[number * 6 : number * 6 + 6], strategy=strategy)
            assert held_by_actors(run) <= {file.path for lineage in current_lineages(run) for file in lineage.files}
        run.settle()
        held = held_by_actors(run)
        assert held
        assert held <= {file.path for lineage in current_lineages(run) for file in lineage.files}


def current_lineages(run: raymu.Run) -> tuple[ShardLineage, ...]:
    return RunStore(run.location).current().lineages


def held_by_actors(run: raymu.Run) -> set[str]:
    """Return the paths of the files that a run's idle actors have in memory."""
    anchoring = run.coordinator()
    assert isinstance(anchoring, AnchoringClient)
    client = anchoring._client
    assert isinstance(client, RayClient)
    idle = ray.get(
        client._actor.__ray_call__.remote(
            lambda service: [member.actor for member in service._coordinator._fleet._fleet._pool._members]
        )
    )
    held = [
        actor.__ray_call__.remote(lambda service: {ref.path for ref in service._worker._files._payloads})
        for actor in idle
    ]
    return set[str]().union(*ray.get(held))
