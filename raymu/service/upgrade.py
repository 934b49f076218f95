"""What earlier versions stored in another way, and what of that an upgrade writes as this version does."""

from contextlib import closing
from dataclasses import dataclass
from enum import StrEnum

from raymu.service.history import open_history
from raymu.store.run import RunStore
from raymu.text import plural


class UpgradePart(StrEnum):
    """A part of a run that earlier versions wrote in another way."""

    JOURNAL = "journal"
    SNAPSHOT = "snapshot"
    KEY = "key"
    ROUTES = "routes"


@dataclass(frozen=True, kw_only=True, slots=True)
class UpgradeStep:
    """One thing that an upgrade does."""

    part: UpgradePart
    what: str
    """What is written, as part of a line."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunUpgrade:
    """What an upgrade did, or would do."""

    made_by: str
    """The version of raymu that made the run."""
    steps: tuple[UpgradeStep, ...]
    """What was done; with `--check` what would be."""
    kept: tuple[str, ...]
    """What stays as an earlier version wrote it, and why."""


def pending_upgrade(store: RunStore) -> RunUpgrade:
    """Return what of a run an upgrade would write. Nothing is written.

    Raises:
        RunInvalid: There is no run, or a newer version wrote it.
        FileCorrupt: The journal is not what was written.
    """
    steps = []
    with closing(store.journal(is_read_only=True)) as journal:
        missing = journal.missing_tables
        history = open_history(store, journal)
        has_no_snapshot = not journal.has_snapshot() and history.needs_snapshot
        needs_routes = store.needs_routes(history.board.added_routes)
    if missing:
        tables = " and ".join(missing)
        steps.append(UpgradeStep(part=UpgradePart.JOURNAL, what=f"the journal gets the tables {tables}"))
    if has_no_snapshot:
        what = f"the journal gets a snapshot of the state after {plural(history.cost.events, 'event')}"
        steps.append(UpgradeStep(part=UpgradePart.SNAPSHOT, what=what))
    if store.manifest.public_key is None:
        steps.append(UpgradeStep(part=UpgradePart.KEY, what="run.json names the key that signs the receipts"))
    if needs_routes:
        what = "routes lead from each owner to the shards with their samples"
        steps.append(UpgradeStep(part=UpgradePart.ROUTES, what=what))
    return RunUpgrade(made_by=store.manifest.raymu_version, steps=tuple(steps), kept=_kept(store))


def _kept(store: RunStore) -> tuple[str, ...]:
    kept = []
    unindexed = sum(lineage.index is None for lineage in store.current().lineages)
    if unindexed:
        tables = f"{plural(unindexed, 'table')} of samples without an index"
        kept.append(f"{tables}: the next repair of each shard writes one, and until then the table itself is searched")
    kept.append("events and receipts: they are signed or chained as they are, and never change")
    return tuple(kept)
