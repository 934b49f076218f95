"""The README's example in Python runs unchanged on a cluster."""

from pathlib import Path

import pytest

from tests.support.documents import ROOT, code_blocks


@pytest.mark.usefixtures("ray_cluster", "room_for_one")  # eight actors would take long to start
def test_the_python_example_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    [example] = code_blocks("README.md", "python")
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    exec(compile(example, "README.md", "exec"), {})
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("approximate 0.9")
    assert second == "exact"
