"""What was left behind is destroyed at first and after a failure, and never while a worker is at work."""

from pathlib import Path

import pytest

from tests.support.coordinated_run import lineage_of, opened
from tests.support.examples import make_config, train_run, write_samples


def test_it_sweeps_at_first_and_after_a_failure_once_no_worker_is_at_work(tmp_path: Path) -> None:
    write_samples(tmp_path / "all.parquet", samples=40)
    train_run(make_config(tmp_path / "all.parquet"), tmp_path / "run")
    serving = tmp_path / "run" / lineage_of(tmp_path / "run", 0).serving.file.path
    stray = serving.with_name("stray.safetensors")
    with opened(tmp_path / "run") as run:
        sweeper = run.coordinator._execution.sweeper
        stray.touch()
        with sweeper.at_work(0):
            sweeper.sweep_if_due()
        assert stray.exists()
        sweeper.sweep_if_due()
        assert (stray.exists(), serving.exists()) == (False, True)
        stray.touch()
        sweeper.sweep_if_due()
        assert stray.exists(), "nothing failed since"
        with pytest.raises(OSError, match="full"), sweeper.minding():
            raise OSError("the disk is full")
        sweeper.sweep_if_due()
        assert not stray.exists()
