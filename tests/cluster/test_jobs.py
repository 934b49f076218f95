"""Commands as jobs of a cluster that was started with `ray start`, and the same commands outside the cluster."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

import raymu
from raymu.store.codec import to_tree
from tests.support.cluster_process import StartedCluster, end, wait_until
from tests.support.examples import make_config, repaired_weights, train_run, write_samples
from tests.support.interruptions import cut_off
from tests.support.processes import COORDINATOR, DETACHED, SHARD


@pytest.fixture(scope="module")
def cluster(request: pytest.FixtureRequest) -> Iterator[StartedCluster]:
    """A cluster with two CPUs. With --nightly they are on two nodes, which a job uses side by side."""
    started = StartedCluster(nodes=2 if request.config.getoption("--nightly") else 1)
    yield started
    started.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's folder: a configuration, its data, and runs on a path that every node has."""
    place = tmp_path_factory.mktemp("user")
    write_samples(place / "all.parquet", samples=400, text_ids=True)
    tree = {
        "data": {"train": "all.parquet", "classes": 3},
        "model": {"name": "mlp", "hidden": [8]},
        "training": {"epochs": 4, "batch_size": 16, "learning_rate": 0.05},
        "partition": {"shards": 2, "slices": 3, "seed": 3},
        "unlearning": {"boundary": 0.7},
        "cluster": {"live_actors": 1},
    }
    (place / "run.yaml").write_text(yaml.safe_dump(tree))
    return place


IDS = [f"sample-{number}" for number in range(8)]
STRANGER = "somebody-else"


@pytest.fixture(scope="module")
def run(cluster: StartedCluster, folder: Path) -> str:
    """A run that a job trained."""
    place = str(folder / "shared" / "run")
    words = ["--json", "--", "train", "run.yaml", "--run", place]
    trained = cluster.raymu("job", "submit", "--address", cluster.dashboard, *words, cwd=folder)
    assert trained.document["samples"] == 400
    assert trained.err.startswith("raymu: job raymu-")
    return place


def test_a_job_gives_the_result_of_its_command(cluster: StartedCluster, folder: Path, run: str, tmp_path: Path) -> None:
    files = tmp_path  # not in the working directory, which is copied to the nodes' disks
    (files / "stranger.txt").write_text(STRANGER)
    (files / "ids.txt").write_text("\n".join(IDS[:2]))
    to_refuse = ["revoke", run, "--ids-file", str(files / "stranger.txt"), "--json"]
    refused = cluster.begin("job", "submit", "--address", cluster.dashboard, "--", *to_refuse, cwd=folder)
    named = ["--ids-file", str(files / "ids.txt")]
    revoked = cluster.raymu(
        *("job", "submit", "--address", cluster.address, "--", "revoke", run, *named, "--strategy", "sisa", "--json"),
        cwd=folder,
    )
    [receipt] = raymu.open_run(run).receipts()
    assert revoked.document.items() >= to_tree(receipt).items()
    assert receipt.exactness == "exact"
    train_run(make_config(folder / "all.parquet"), folder / "calm", exclude=IDS[:2])
    assert repaired_weights(Path(run)) == repaired_weights(folder / "calm")

    refusal = end(refused)
    assert (refusal.code, json.loads(refusal.out)["schema"]) == (2, "raymu.error")
    assert f"1 unknown sample id ({STRANGER})" in refusal.err.splitlines()[-1]

    jobs = [job for job in cluster.get("/api/jobs/") if job["type"] == "SUBMISSION"]
    assert all(job["entrypoint"].startswith("exec python3 -m raymu.cli.job_runner ") for job in jobs)
    assert not any(name in json.dumps(jobs) for name in (STRANGER, *IDS[:2]))
    assert any(file.name.startswith("job-driver-") for file in cluster.files_with("raymu-result:"))
    assert cluster.files_with(STRANGER, *IDS[:2]) == []
    assert not {"run.json", "hash.key", "signing.key", "journal.sqlite"} & cluster.file_names()
    assert {"run.yaml", "all.parquet"} <= cluster.file_names()


def test_a_cluster_that_requires_another_token_is_refused_in_one_line(cluster: StartedCluster, folder: Path) -> None:
    wrong = {
        "asks for a token, or": {"RAY_AUTH_MODE": "disabled"},
        "or refuses the one": {"RAY_AUTH_TOKEN": "0" * 64},
    }
    words = ["job", "submit", "--", "status", "/nowhere"]
    begun = {
        said: cluster.begin(*words, cwd=folder, RAY_ADDRESS=cluster.dashboard, **environment)
        for said, environment in wrong.items()
    }
    for said, command in begun.items():
        ended = end(command)
        assert (ended.code, ended.out) == (2, "")
        assert said in ended.err
        assert ended.err.count("\n") == 1


def test_a_detached_coordinator_needs_a_cluster_that_outlives_the_command(
    cluster: StartedCluster, folder: Path, run: str
) -> None:
    ended = cluster.raymu(
        "start", run, cwd=folder, RAY_TMPDIR=str(folder)
    )  # where Ray looks for a cluster of this machine
    assert (ended.code, ended.out) == (2, "")
    assert ended.err == (
        "raymu: there is no Ray cluster that stays; run `ray start --head`, or name one with --address\n"
    )


def statuses(cluster: StartedCluster) -> dict[str, str]:
    return {job["submission_id"]: job["status"] for job in cluster.get("/api/jobs/") if job["type"] == "SUBMISSION"}


def endless(folder: Path, name: str) -> list[str]:
    settings = ["training.epochs=200000", "cluster.live_actors=2"]
    return ["train", "run.yaml", *settings, "--run", str(folder / "shared" / name)]


@pytest.mark.nightly
def test_a_signal_to_the_client_stops_the_job(cluster: StartedCluster, folder: Path) -> None:
    """One job uses both nodes of the cluster, and the other one waits for room."""
    submit = ["job", "submit", "--address", cluster.dashboard, "--"]
    begun = {
        number: cluster.begin(*submit, *endless(folder, number.name), cwd=folder)
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    wait_until(lambda: list(statuses(cluster).values()).count("RUNNING") == 2, "both jobs run")
    wait_until(lambda: all(cluster.processes_by_node(SHARD)), "a shard is trained on either node")
    for number, job in begun.items():
        job.send_signal(number)
    ended = {number: end(job) for number, job in begun.items()}
    assert {(command.code, command.err.splitlines()[-1]) for command in ended.values()} == {(130, "raymu: interrupted")}
    states = [
        status for job, status in statuses(cluster).items() if any(job in command.err for command in ended.values())
    ]
    assert states == ["STOPPED", "STOPPED"]
    wait_until(lambda: not cluster.processes(SHARD), "their actors are gone")


@pytest.mark.nightly
def test_a_job_whose_start_got_no_answer_is_stopped(cluster: StartedCluster, folder: Path) -> None:
    before = statuses(cluster)
    with cut_off(cluster.dashboard, after="/api/jobs/") as dashboard:
        ended = cluster.raymu("job", "submit", "--address", dashboard, "--", *endless(folder, "unheard"), cwd=folder)
    assert (ended.code, ended.out) == (2, "")
    assert "the cluster does not take the job" in ended.err
    assert [status for job, status in statuses(cluster).items() if job not in before] == ["STOPPED"]


@pytest.mark.nightly
def test_of_two_coordinators_of_a_run_one_is_superseded(cluster: StartedCluster, folder: Path, run: str) -> None:
    there = {"RAY_ADDRESS": cluster.address}
    words = {
        sample_id: [
            "revoke",
            run,
            "--id",
            sample_id,
            "--idempotency-key",
            f"key-{sample_id}",
            "--strategy",
            "sisa",
            "--json",
        ]
        for sample_id in IDS[2:4]
    }
    before = raymu.open_run(run).status().requests.settled
    begun = {sample_id: cluster.begin(*words[sample_id], cwd=folder, **there) for sample_id in words}
    for sample_id, ended in {sample_id: end(command) for sample_id, command in begun.items()}.items():
        if ended.code:
            assert (ended.code, "another coordinator has taken the run over" in ended.err) == (1, True), ended.err
            ended = cluster.raymu(*words[sample_id], cwd=folder, **there)
        assert ended.document["exactness"] == "exact"
    assert raymu.open_run(run).status().requests.settled == before + 2
    assert not any(sample_id in json.dumps(cluster.get("/api/jobs/")) for sample_id in words)
    assert raymu.open_run(run).verify().verdict == "pass"


REFUSED = """
import sys
import ray
import raymu
from raymu.config import ClusterConfig
from raymu.errors import ConfigInvalid, UnknownSamples
from raymu.runtime.audit import audit_runner
from raymu.training.audit.samples import ModelKind
from raymu.training.audit.shadow_models import AuditTask
from tests.unit.training.audit.examples import make_pool

location, address, stranger = sys.argv[1:]
pool = make_pool(model={"factory": f"{stranger}:build"})
task = AuditTask(samples=pool, kind=ModelKind.ORACLE, number=0)
with audit_runner(ClusterConfig(address=address)) as run_tasks, raymu.open_run(location, address=address) as run:
    try:
        list(run_tasks([task]))
    except ConfigInvalid as refusal:
        print(refusal)
    run.warm_up()
    ray.get(ray.remote(lambda: None).options(name="a-task-of-somebody").remote())
    try:
        run.revoke([stranger])
    except UnknownSamples as refusal:
        print(refusal)
"""


def assert_a_refusal_is_not_on_the_dashboard(cluster: StartedCluster, folder: Path, run: str) -> None:
    """Have a program audit a model that a task refuses, and revoke an unknown id, which an actor refuses."""
    refused = end(cluster.begin_python("-c", REFUSED, run, cluster.address, STRANGER, cwd=folder))
    assert f"{STRANGER} cannot be imported" in refused.out, refused.err
    assert f"1 unknown sample id ({STRANGER})" in refused.out
    tasks = json.dumps(cluster.get("/api/v0/tasks?detail=1"))  # until the program ended, which reports all of them
    assert "a-task-of-somebody" in tasks
    assert STRANGER not in tasks


@pytest.mark.nightly
def test_a_refusal_of_an_open_coordinator_is_not_on_the_dashboard(
    cluster: StartedCluster, folder: Path, run: str
) -> None:
    assert_a_refusal_is_not_on_the_dashboard(cluster, folder, run)


@pytest.mark.nightly
def test_a_detached_coordinator_outlives_the_job_that_started_it(
    cluster: StartedCluster, folder: Path, run: str
) -> None:
    there = {"RAY_ADDRESS": cluster.address}
    up = cluster.raymu("job", "submit", "--json", "--", "start", run, cwd=folder, **there)
    assert up.document.items() >= {"run": run, "is_up": True, "was_up": False}.items()
    [standing] = cluster.processes(DETACHED)
    assert_a_refusal_is_not_on_the_dashboard(cluster, folder, run)
    words = ["revoke", run, "--strategy", "sisa", "--json"]
    commands = [cluster.begin(*words, "--id", sample_id, cwd=folder, **there) for sample_id in IDS[4:6]]
    assert [end(command).document["exactness"] for command in commands] == ["exact", "exact"]
    assert (cluster.processes(DETACHED), cluster.processes(COORDINATOR)) == ([standing], [])
    shards = cluster.raymu("status", run, "--json", cwd=folder, **there).document["shards"]
    node_ids = {shard["place"]["node_id"] for shard in shards if shard["place"]}
    assert node_ids
    assert node_ids <= cluster.node_ids()
    assert raymu.open_run(run).verify().verdict == "inconclusive"  # as long as its journal is open
    down = cluster.raymu("stop", run, "--address", cluster.address, cwd=folder)
    assert (down.code, down.out) == (0, f"stopped the coordinator of {run}\n")
    wait_until(lambda: not (cluster.processes(DETACHED) or cluster.processes(SHARD)), "its actors are gone")
    assert raymu.open_run(run).verify().verdict == "pass"
