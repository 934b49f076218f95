"""The coordinator's side of the registry of revoked subjects."""

from collections.abc import Sequence
from contextlib import closing
from functools import partial

from raymu.config.registry import RegistryConfig
from raymu.core.records import FileRef
from raymu.service.coordinator.session import Session
from raymu.service.requests.admission_rules import AdmittedRequest
from raymu.service.requests.revocation import Revocation
from raymu.service.requests.revoked_subjects import lost_requests, repeated_revocations, revoked_subjects
from raymu.store.registry import Registry


class Registration:
    """Writes what a run revokes into its registry, before a request is acknowledged. Without a registry it does nothing.

    Its methods are called within a turn, so that no request is between the registry and the journal.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._is_compared = False

    async def add(self, admitted: Sequence[AdmittedRequest]) -> None:
        """Write requests that are about to be committed. Raises StorageFailed, and none is accepted then.

        If the commit fails, the registry keeps what was to be revoked, and the next call on the run revokes it.
        """
        if (config := self._config) is not None:
            self._is_compared = False
            await self._session.offload(partial(self._add, config, admitted))

    async def lost_requests(self, tables: Sequence[FileRef]) -> list[Revocation]:
        """Return requests for what the registry knows of this run and its journal lacks.

        Args:
            tables: The table of each shard.

        Raises StorageFailed, FileMissing, FileCorrupt.
        """
        if (config := self._config) is None or self._is_compared:
            return []
        lost = await self._session.offload(partial(self._lost_requests, config, tables))
        self._is_compared = True  # whoever restores an older copy ends the coordinator first
        return lost

    @property
    def _config(self) -> RegistryConfig | None:
        """The settings of the registry. Raises RunUntrusted."""
        self._session.store.require_trusted("registry")
        return self._session.store.config.registry

    def _add(self, config: RegistryConfig, admitted: Sequence[AdmittedRequest]) -> None:
        with closing(Registry(config)) as registry:
            subjects = revoked_subjects(admitted, registry.key)
            registry.add(subjects, run=self._session.store.manifest.run_id, at=self._session.clock())

    def _lost_requests(self, config: RegistryConfig, tables: Sequence[FileRef]) -> list[Revocation]:
        store = self._session.store
        with closing(Registry(config)) as registry:
            lost = lost_requests(registry, self._session.journal, run=store.manifest.run_id)
            return repeated_revocations(store, tables, lost, registry.key) if lost else []
