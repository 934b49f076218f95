from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.trained_runs import RunTemplates, TrainedRun, TrainedRunFactory

# Runs are so small that a second thread only waits.
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def run_templates(tmp_path_factory: pytest.TempPathFactory) -> RunTemplates:
    """Trained runs, which fixtures of a wider scope than a test copy."""
    return RunTemplates(tmp_path_factory.mktemp("templates"))


@pytest.fixture
def trained_run(
    run_templates: RunTemplates,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> TrainedRunFactory:
    """Call it with settings of `make_config` for a trained run at `tmp_path / "run"`. The test may do anything to it."""
    # Copies that other tests changed are newer copies of the same run.
    monkeypatch.setenv("RAYMU_ANCHORS", str(tmp_path_factory.mktemp("anchors")))

    def copy(**branches: Any) -> TrainedRun:
        return run_templates.copy(tmp_path / "run", **branches)

    return copy
