from pathlib import Path

import pytest

from raymu.errors import RequestInvalid
from raymu.runtime.jobs.working_dir import job_environment, run_patterns
from raymu.store.layout import MANIFEST, UNFINISHED


def fill(folder: Path, *paths: str) -> None:
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(path)


def test_runs_are_excluded_wherever_they_are(tmp_path: Path) -> None:
    fill(
        tmp_path,
        *("run.yaml", "data/train.csv", "runs/notes.txt", f".hidden/{MANIFEST}"),
        *(f"runs/letter/{MANIFEST}", f"runs/letter/old/{MANIFEST}", f"my runs/#1/{MANIFEST}"),
    )
    assert sorted(run_patterns(tmp_path)) == ["/my?runs/?1", "/runs/letter"]


def test_what_a_killed_creation_left_is_excluded(tmp_path: Path) -> None:
    fill(tmp_path, "run.yaml", f"runs/letter/{UNFINISHED}", "runs/letter/hash.key")
    assert run_patterns(tmp_path) == ["/runs/letter"]


def test_links_into_a_run_are_excluded_and_links_in_a_circle(tmp_path: Path) -> None:
    fill(tmp_path, f"run/{MANIFEST}", "run/hash.key", "run/samples/0", "folder/run.yaml", "data/train.csv")
    folder = tmp_path / "folder"
    links = {"letter": "run", "samples": "run/samples", "my.key": "run/hash.key", "circle": "folder", "data": "data"}
    for name, target in links.items():
        (folder / name).symlink_to(tmp_path / target)
    (folder / "broken").symlink_to(tmp_path / "nowhere")
    assert sorted(run_patterns(folder)) == ["/circle", "/letter", "/my.key", "/samples"]


@pytest.mark.parametrize("mark", [MANIFEST, UNFINISHED])
@pytest.mark.parametrize("folder", ["", "samples", "shards/0000"])
def test_a_run_is_not_a_working_directory_nor_is_a_folder_in_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mark: str, folder: str
) -> None:
    run = tmp_path / "run"
    fill(run, mark, "hash.key", "signing.key", "samples/0", "shards/0000/0")
    monkeypatch.chdir(run / folder)
    with pytest.raises(RequestInvalid, match=r"is a run, .*; name another --working-dir") as refusal:
        run_patterns(Path())
    assert str(run) in str(refusal.value)


def test_a_folder_that_is_absent_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestInvalid, match="is not a directory"):
        run_patterns(tmp_path / "absent")


def test_the_users_settings_are_kept_beside_raymus_own(tmp_path: Path) -> None:
    runtime_env = {"env_vars": {"A": "1", "RAY_JOB_STOP_WAIT_TIME_S": "90"}, "pip": ["einops"], "excludes": ["!.env"]}
    assert job_environment(runtime_env, tmp_path) == {
        "env_vars": {"A": "1", "RAY_JOB_STOP_SIGNAL": "SIGINT", "RAY_JOB_STOP_WAIT_TIME_S": "90"},
        "pip": ["einops"],
        "excludes": ["!.env", ".?*"],
        "working_dir": str(tmp_path),
    }
