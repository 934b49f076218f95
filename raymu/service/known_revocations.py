"""The revocations of a run, as keyed hashes, and the rows of a table whose samples or owners they name."""

from collections.abc import Collection, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np

from raymu.config.registry import RegistryConfig
from raymu.core.arrays import Mask
from raymu.core.records import SampleId
from raymu.data.spellings import spellings
from raymu.data.tables import SampleTable
from raymu.service.pseudonyms import Kind, identity_text, pseudonym
from raymu.store.registry import Registry
from raymu.store.run import RunStore
from raymu.text import plural


@dataclass(frozen=True, kw_only=True, slots=True)
class KnownRevocations:
    """What a run, or the runs of a registry, revoked: keyed hashes, since ids and owners are gone after the purge."""

    names: Collection[str]
    """Pseudonyms of samples and owners."""
    hash_key: bytes
    """The key with which they were made."""

    @classmethod
    def of_run(cls, store: RunStore) -> "KnownRevocations":
        """Read the revocations of a run, those that are not carried out yet too. Raises RunInvalid, FileCorrupt."""
        with closing(store.journal(is_read_only=True)) as journal:
            return cls(names=journal.revoked().keys(), hash_key=store.keys.hash_key)

    @classmethod
    def of_registry(cls, config: RegistryConfig) -> "KnownRevocations":
        """Read what the runs of a registry revoked. Raises ConfigInvalid, StorageFailed."""
        with closing(Registry(config)) as registry:
            return cls(names=registry.names(), hash_key=registry.key)

    def rows_of(self, table: SampleTable) -> Mask:
        """Return which samples of a table are revoked, or belong to an owner who is: (samples,) bool."""
        owners = [None] * len(table.ids) if table.owners is None else table.owners.tolist()
        return self.rows(table.ids.tolist(), owners)

    def rows(self, ids: Sequence[SampleId], owners: Sequence[SampleId | None]) -> Mask:
        """Return which of these samples are revoked, or belong to an owner who is: (samples,) bool."""
        if not self.names:
            return np.zeros(len(ids), dtype=bool)
        distinct = {owner: (str(owner), *map(str, spellings(owner))) for owner in set(owners) if owner is not None}
        revoked_owners = {owner for owner, forms in distinct.items() if self._has("owner", forms)}
        rows = zip(ids, owners, strict=True)
        return np.array(
            [owner in revoked_owners or self._has("id", spellings(sample_id)) for sample_id, owner in rows], dtype=bool
        )

    def _has(self, kind: Kind, forms: Iterable[SampleId]) -> bool:
        return any(pseudonym(identity_text(kind, form), self.hash_key) in self.names for form in forms)


def has_registered(count: int) -> str:
    """Return what is wrong with a table that has samples which a registry knows."""
    return (
        f"has {plural(count, 'sample')} that the registry has as revoked, by id or by owner; remove them, or leave "
        "them out with registry.when_revoked: leave_out"
    )
