"""What Ray's own code says of a job before any cluster takes it."""

import zipfile
from pathlib import Path
from typing import Any

import pytest

from raymu.errors import DeviceUnavailable, RequestInvalid
from raymu.runtime.jobs.package import pack


@pytest.mark.parametrize(
    ("asked", "complaint"),
    [
        ({"working_dir": "."}, "give --working-dir instead"),
        ({"env_vars": ["A"]}, "env_vars"),
        ({"env_vars": {"A": 1}}, "env_vars"),
        ({"pip": 5}, "pip"),
        ({"config": {"setup_timeout_seconds": "long"}}, "setup_timeout_seconds"),
        ({"excludes": "data"}, "excludes"),
        ({"excludes": ["!"]}, "does not take"),
        ({5: 5}, "keywords must be strings"),
    ],
)
def test_a_runtime_environment_that_is_none_is_refused_in_one_line(asked: dict[Any, Any], complaint: str) -> None:
    from raymu.runtime.jobs.environment import JobEnvironment

    with pytest.raises(RequestInvalid, match=complaint) as refused:
        JobEnvironment(asked)
    assert "\n" not in str(refused.value)


def test_what_is_excluded_is_what_git_would_ignore(tmp_path: Path) -> None:
    from raymu.runtime.jobs.environment import JobEnvironment

    there = ["build/a", "src/build/a", "data/a", "src/data/a", "a.log", "src/keep.log", "run.yaml"]
    for path in (tmp_path / "source" / one for one in there):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    environment = JobEnvironment({"excludes": ["build/", "/data", "*.log", "!keep.log"]})
    pack(tmp_path / "job.zip", tmp_path / "source", is_excluded=environment.exclusion(tmp_path / "source"))
    packed = zipfile.ZipFile(tmp_path / "job.zip").namelist()
    assert sorted(packed) == ["run.yaml", "src/data/a", "src/keep.log"]


def test_a_user_s_variables_are_kept_beside_raymu_s_own() -> None:
    from raymu.runtime.jobs.environment import JobEnvironment

    asked = {"env_vars": {"A": "1", "RAY_JOB_STOP_WAIT_TIME_S": "90"}, "pip": ["einops"], "excludes": None}
    assert JobEnvironment(asked).complete(Path("job.zip")) == {
        "env_vars": {"A": "1", "RAY_JOB_STOP_SIGNAL": "SIGINT", "RAY_JOB_STOP_WAIT_TIME_S": "90"},
        "pip": ["einops"],
        "working_dir": "job.zip",
    }


def test_an_address_where_no_dashboard_answers_is_said_in_one_line() -> None:
    from raymu.runtime.jobs.submission import connect

    with pytest.raises(DeviceUnavailable, match="no Ray dashboard answers there") as refused:
        connect("127.0.0.1:9")
    assert "\n" not in str(refused.value)
