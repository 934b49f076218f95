"""A run on an object store, with its journal in a database: everything that a run on a disk can do, and more."""

import random
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import sqlalchemy as sql
from click.testing import CliRunner

import raymu
from raymu.cli.group import cli
from raymu.config import Config
from raymu.config.unlearning import Contributions, Strategy
from raymu.core.records import Exactness
from raymu.core.tuning import Choice
from raymu.core.verdict import Verdict
from raymu.errors import RaymuError, RunInvalid
from raymu.report.write import write_report
from raymu.service.tuning.objective import ObjectiveSpec, TuningObjective
from raymu.store.files.run_files import RunFiles
from raymu.store.run import RunStore
from tests.support.coordinated_run import ids_at, opened
from tests.support.examples import create_run, make_config, repaired_weights, write_samples
from tests.support.faults import FaultyRequests, fail
from tests.support.object_store_server import ObjectStoreServer
from tests.support.postgres_server import PostgresServer
from tests.support.request_scenarios import ResumableScenario, outcome


@pytest.fixture
def database(postgres: PostgresServer) -> sql.URL:
    return postgres.new_database()


@pytest.fixture
def bucket(object_store: ObjectStoreServer) -> str:
    return object_store.new_bucket()


@pytest.fixture
def location(object_store: ObjectStoreServer, bucket: str) -> str:
    return object_store.uri(f"{bucket}/runs/letter")


@pytest.fixture
def config(tmp_path: Path, database: sql.URL, object_store: ObjectStoreServer, bucket: str) -> Config:
    """The configuration of a run whose data are on the object store too."""
    write_samples(tmp_path / "all.parquet", samples=120)
    object_store.client.upload_file(str(tmp_path / "all.parquet"), bucket, "data/all.parquet")
    return make_config(object_store.uri(f"{bucket}/data/all.parquet"), cluster={"journal": str(database)})


@pytest.fixture
def run(config: Config, location: str) -> Iterator[raymu.Run]:
    with raymu.train(config, location) as run:
        yield run


def weights_without(config: Config, tmp_path: Path, ids: list[int | str]) -> dict[int, str]:
    """Return the weights of a run on a local disk without these samples."""
    calm = make_config(str(config.data.train))
    create_run(calm, tmp_path / "calm", exclude=ids)
    return repaired_weights(tmp_path / "calm")


def test_a_run_on_an_object_store_works_like_one_on_a_disk(
    run: raymu.Run, config: Config, location: str, bucket: str, tmp_path: Path, object_store: ObjectStoreServer
) -> None:
    ids = ids_at(config, shard=0)
    assert run.revoke(ids[:2], strategy="sisa").exactness is Exactness.EXACT
    assert run.revoke(ids[2:4], strategy="hs", boundary=0.0).exactness is Exactness.APPROXIMATE
    run.settle()
    run.close()
    again = raymu.open_run(location)
    assert repaired_weights(location) == weights_without(config, tmp_path, ids[:4])
    assert again.verify(replay=None).verdict is Verdict.PASS
    assert again.status().requests.settled == 2
    assert again.evaluate_file(str(config.data.train)).samples == 120
    written = write_report(again, tmp_path / "page.html", data=str(config.data.train), is_verified=True)
    assert written.verdict is Verdict.PASS
    page = (tmp_path / "page.html").read_text()
    assert "<title>letter" in page
    assert "all.parquet" in page
    assert not any(part in page for part in ("endpoint_override", bucket, "raymu-tests"))
    objects = object_store.client.list_object_versions(Bucket=bucket)["Versions"]
    assert all(stored["IsLatest"] for stored in objects)


def test_lost_or_changed_objects_are_rebuilt(run: raymu.Run, config: Config, location: str) -> None:
    lineages, weights = RunStore(location).current().lineages, repaired_weights(location)
    files = RunFiles(location)
    files.delete(lineages[0].serving.file.path)
    files.write(lineages[1].table.path, b"something else")
    assert run.verify().verdict is Verdict.FAIL
    report = run.rebuild(data=str(config.data.train))
    assert set(report.files) == {lineages[0].serving.file.path, lineages[1].table.path}
    assert repaired_weights(location) == weights
    assert run.verify().verdict is Verdict.PASS


def test_a_choice_is_scored_like_one_of_a_local_run(
    run: raymu.Run, config: Config, location: str, tmp_path: Path
) -> None:
    create_run(make_config(str(config.data.train)), tmp_path / "local")
    hashes = []
    for number, place in enumerate((location, str(tmp_path / "local"))):
        (tmp_path / str(number)).mkdir()
        plan = ObjectiveSpec(
            location=place,
            traffic="uniform:4",
            trace=None,
            test=str(config.data.train),
            scratch=str(tmp_path / str(number)),
            workers=1,
        )
        choice = Choice(
            strategy=Strategy.DPUS, boundary=0.5, contributions=Contributions.GRADIENT, fine_tune_slices=1, window_s=0.0
        )
        hashes.append(TuningObjective(plan).evaluate(choice).weights_sha256)
    assert hashes[0] == hashes[1]
    assert run.verify().verdict is Verdict.PASS


@pytest.mark.parametrize("struck", [2, pytest.param(12, marks=pytest.mark.nightly)])
@pytest.mark.parametrize("is_torn", [False, True], ids=["a request fails", "only its reply is lost"])
def test_the_next_coordinator_recovers_from_a_failed_request_to_the_store(
    object_store: ObjectStoreServer, bucket: str, database: sql.URL, tmp_path: Path, is_torn: bool, struck: int
) -> None:
    """Some of a hundred requests are struck; each is two courses."""
    scenario = ResumableScenario(tmp_path, journal=str(database))
    calm = FaultyRequests(0, fail)
    scenario.run(object_store.uri(f"{bucket}/calm"), calm)
    undisturbed = outcome(object_store.uri(f"{bucket}/calm"))
    for at in random.Random(is_torn).sample(range(1, calm.steps + 1), struck):
        location = object_store.uri(f"{bucket}/run-{at}")
        disk = FaultyRequests(at, fail, is_torn=is_torn)
        with suppress(RaymuError, OSError):
            scenario.run(location, disk)
        assert disk.has_struck
        scenario.run(location, FaultyRequests(0, fail))
        assert outcome(location) == undisturbed, f"struck at step {at} of {calm.steps}"


def test_garbage_of_a_worker_is_deleted(run: raymu.Run, location: str) -> None:
    run.close()
    store = RunStore(location)
    stray = store.write_state(0, "stage-1", b"weights of a stage that nobody waits for")
    assert raymu.open_run(location).verify().verdict is Verdict.FAIL
    with opened(location) as again:
        again.settle()
    assert not store.files.exists(stray.path)
    assert raymu.open_run(location).verify().verdict is Verdict.PASS


def test_a_bucket_that_keeps_versions_makes_verification_inconclusive(
    run: raymu.Run, config: Config, location: str, bucket: str, object_store: ObjectStoreServer
) -> None:
    run.close()
    object_store.client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    with raymu.open_run(location) as again:
        again.revoke(ids_at(config, shard=0)[:1], strategy="sisa")
    verification = raymu.open_run(location).verify()
    assert verification.verdict is Verdict.INCONCLUSIVE
    assert "keeps versions" in str(verification.checks)


def test_a_refused_training_leaves_no_objects_in_the_bucket(
    config: Config, location: str, bucket: str, object_store: ObjectStoreServer
) -> None:
    tree = config.tree()
    tree["cluster"]["journal"] = None
    with pytest.raises(RunInvalid, match=r"runs/letter: is not on a local disk.*cluster\.journal=postgresql://"):
        raymu.train(Config.parse(tree), location)
    objects = object_store.client.list_objects_v2(Bucket=bucket)["Contents"]
    assert [stored["Key"] for stored in objects] == ["data/all.parquet"]


def test_no_command_repeats_a_secret(config: Config, location: str, tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(
        f"data: {{train: '{config.data.train!s}'}}\nmodel: {{name: logistic}}\ncluster: {{fleet: local}}\n"
    )
    with_secret = location.replace("s3://", "s3://KEY:hidden@")
    train = ["train", str(tmp_path / "run.yaml")]
    for words in (
        [*train, "--run", with_secret],
        [*train, "--run", location, f"data.train={str(config.data.train).replace('s3://', 's3://KEY:hidden@')}"],
        [*train, "--run", location, f"data.test={str(config.data.train).replace('s3://', 's3://KEY:hidden@')}"],
        [*train, "--run", location, "cluster.journal=postgresql://raymu:hidden@127.0.0.1:9/name"],
        ["status", with_secret],
        ["evaluate", str(tmp_path / "local"), "--data", str(config.data.train).replace("s3://", "s3://KEY:hidden@")],
    ):
        if words[0] == "evaluate":
            create_run(make_config(str(config.data.train)), tmp_path / "local")
        refusal = CliRunner().invoke(cli, words, standalone_mode=False).exception
        assert isinstance(refusal, RaymuError), words
        assert "leave it out" in str(refusal)
        assert not any(part in str(refusal) for part in ("hidden", "KEY:", "endpoint_override"))
    assert RunFiles(location).is_empty


@pytest.mark.usefixtures("run")
def test_a_search_needs_a_local_folder(location: str) -> None:
    words = ["tune", location, "--traffic", "uniform:2", "--out", "s3://bucket/tuning"]
    refusal = CliRunner().invoke(cli, words, standalone_mode=False).exception
    assert isinstance(refusal, RaymuError)
    assert str(refusal) == "s3://bucket/tuning: trials need a folder on a local disk"
