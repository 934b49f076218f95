"""Jobs that are refused before they are submitted, and the files that Ray would pack."""

from pathlib import Path
from typing import Any, cast

import pytest
from ray.job_submission import JobSubmissionClient

from raymu.errors import DeviceUnavailable, RequestInvalid
from raymu.runtime.jobs.dashboard import connect
from raymu.runtime.jobs.submission import Job, checked_environment
from raymu.runtime.jobs.working_dir import job_environment
from raymu.store.layout import MANIFEST, UNFINISHED
from tests.support.ray_internals import packaged_files


@pytest.mark.parametrize(
    ("runtime_env", "problem"),
    [
        ({"working_dir": "."}, "give --working-dir instead"),
        ({"env_vars": ["A"]}, "env_vars"),
        ({"env_vars": {"A": 1}}, "env_vars"),
        ({"pip": 5}, "pip"),
        ({"config": {"setup_timeout_seconds": "long"}}, "setup_timeout_seconds"),
        ({"excludes": "data"}, "excludes"),
        ({5: 5}, "keywords must be strings"),
    ],
)
def test_a_wrong_runtime_environment_is_refused_in_one_line(
    tmp_path: Path, runtime_env: dict[Any, Any], problem: str
) -> None:
    with pytest.raises(RequestInvalid, match=problem) as refused:
        checked_environment(runtime_env, tmp_path)
    assert "\n" not in str(refused.value)


class RefusingClient:
    """Packs a working directory as Ray's client does, and accepts no job."""

    def __init__(self, *, status: str = "") -> None:
        self._status = status

    def submit_job(self, runtime_env: dict[str, Any], **_: Any) -> None:
        packaged_files(Path(runtime_env["working_dir"]), runtime_env["excludes"])
        raise RuntimeError(f"Request failed with status code {self._status}: no.")


@pytest.mark.parametrize(
    ("excludes", "status", "problem"),
    [(["!"], "", "Ray does not take this runtime environment"), ([], "413", "larger than the 100 MiB")],
)
def test_an_error_of_rays_packing_is_one_line(tmp_path: Path, excludes: list[str], status: str, problem: str) -> None:
    job = Job(cast(JobSubmissionClient, RefusingClient(status=status)))
    with pytest.raises(RequestInvalid, match=problem) as refused:
        job.start(("status", "/runs/r"), job_environment({"excludes": excludes}, tmp_path))
    assert "\n" not in str(refused.value)


def fill(folder: Path, *paths: str) -> None:
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(path)


def packed(folder: Path, *excludes: str) -> list[str]:
    return packaged_files(folder, job_environment({"excludes": [*excludes]}, folder)["excludes"])


def test_runs_and_hidden_files_are_not_packed(tmp_path: Path) -> None:
    folder = tmp_path / "source"
    fill(
        folder,
        *("run.yaml", "data/train.csv", ".env", ".git/config", "data/.cache/x", "runs/notes.txt", "a#b/c.txt"),
        *("runs/letter/samples/0", f"runs/letter/{MANIFEST}", "runs/[odd] name!/hash.key"),
        *(f"runs/[odd] name!/{UNFINISHED}", "runs/Zoë/hash.key", f"runs/Zoë/{MANIFEST}"),
    )
    (folder / "link").symlink_to(folder / "runs" / "letter")
    (folder / "my.key").symlink_to(folder / "runs" / "Zoë" / "hash.key")
    (folder / "circle").symlink_to(folder)
    expected = ["a#b/c.txt", "data/train.csv", "run.yaml", "runs/notes.txt"]
    assert packed(folder) == expected
    assert packed(folder, "!.env", "!runs/**", "!/link", "!*.key") == expected


def test_exclusions_have_the_meaning_that_they_have_in_gitignore(tmp_path: Path) -> None:
    folder = tmp_path / "source"
    fill(folder, "build/a", "src/build/a", "data/a", "src/data/a", "a.log", "src/keep.log", "run.yaml")
    assert packed(folder, "build/", "/data", "*.log", "!keep.log") == ["run.yaml", "src/data/a", "src/keep.log"]


def test_an_address_without_a_dashboard_is_refused_in_one_line() -> None:
    with pytest.raises(DeviceUnavailable, match="no Ray dashboard answers there") as refused:
        connect("127.0.0.1:9")
    assert "\n" not in str(refused.value)
