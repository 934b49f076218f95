"""Restores a run from a backup, and revokes again what was revoked since."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from raymu.api import Run, open_run
from raymu.core.trust import EVERYTHING
from raymu.errors import RunInvalid
from raymu.service.requests.revoked_subjects import require_all_registered
from raymu.service.shard.messages import Progress, no_progress
from raymu.store.run import RunStore
from raymu.store.trust_list import read_trust
from raymu.user_paths import absolute

if TYPE_CHECKING:
    from raymu.service.backup import Restored


def restore_files(
    backup: str | Path, run_dir: str | Path, *, journal: str | None = None, trust: bool = False
) -> Restored:
    """Write the run that a backup holds to a new place. Arguments and errors are those of `restore`."""
    from raymu.service.backup import restore as restore_run

    chosen = EVERYTHING if trust else read_trust()
    return restore_run(absolute(backup), absolute(run_dir), journal=journal, trust=chosen)


def revoke_again(run: Run, progress: Progress = no_progress) -> bool:
    """Carry out the requests that the registry has and the restored run lacks. Returns whether there were any.

    Raises as `Run.settle`.
    """
    try:
        require_all_registered(RunStore(run.location, trust=run.trust))
    except RunInvalid:
        run.settle(progress=progress)
        return True
    return False


def restore(
    backup: str | Path,
    run_dir: str | Path,
    *,
    journal: str | None = None,
    accept_rollback: bool = False,
    trust: bool = False,
    progress: Progress = no_progress,
) -> Run:
    """Restore a run from a backup, and open it. What the registry says was revoked since is revoked again.

    Args:
        backup: What `Run.backup` wrote, as a path or a URI.
        run_dir: An empty or missing directory, as a path or a URI.
        journal: The URL of the database for the journal, instead of that of the backed-up run.
        accept_rollback: The backup is older than what this user's commands saw of the run, and is restored on purpose.
        trust: Follow what the run's settings demand.
        progress: Called after every trained stage.

    Raises:
        RequestInvalid: There is no backup.
        RunInvalid: Something else is at the place, or its database has the run already.
        RunRolledBack: The backup is an older state, in the place of the run.
        FileCorrupt: A file of the backup was changed.
    """
    restore_files(backup, run_dir, journal=journal, trust=trust)
    run = open_run(run_dir, trust=trust)
    if accept_rollback:
        run.accept_rollback()
    run.require_not_rolled_back()
    revoke_again(run, progress)
    return run
