"""The connection of a `Run` to its coordinator: opened by the first call, shared by threads, opened again after a close."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from threading import Lock
from typing import TYPE_CHECKING

from raymu.errors import RaymuError, RequestInvalid
from raymu.service.coordinator.calls import Call, Result
from raymu.service.coordinator.shared_calls import ClientClosed
from raymu.service.phase import WAITING, begin_phase
from raymu.service.shard.messages import Progress
from raymu.store.run import RunStore

if TYPE_CHECKING:
    from raymu.service.coordinator.client import CoordinatorClient

_of_parent: list[object] = []
"""In a forked child, the clients of its parent. Kept, because to close their connections may close the parent's."""


class Connection:
    """The one client that all threads of a process use for a run."""

    def __init__(self, store: RunStore) -> None:
        """Name the run. Nothing is opened, or read."""
        self._store = store
        self._client: CoordinatorClient | None = None
        self._term: int | None = None
        self._opening = Lock()

    @property
    def opened(self) -> CoordinatorClient | None:
        """The client; None if none is open."""
        return self._client

    @property
    def open_term(self) -> int | None:
        """The term of the coordinator that is in use, which is no reason to leave a verification open."""
        return None if self._client is None else self._term

    def client(self, open_client: Callable[[], CoordinatorClient]) -> CoordinatorClient:
        """Return the client, opened if need be."""
        with self._opening:
            if self._client is None:
                self._client = open_client()
                self._term = self._store.fencing.term()
            begin_phase(WAITING)
            return self._client

    def call(self, call: Call[Result], progress: Progress, *, open_client: Callable[[], CoordinatorClient]) -> Result:
        """Have the coordinator carry out a call. If another thread closes the client before, a new one is opened."""
        while True:
            client = self.client(open_client)
            try:
                result = client.call(call, progress)
            except ClientClosed:
                self._drop(client)
            else:
                with suppress(RaymuError):  # the call is carried out, whatever the storage does now
                    self._term = self._store.fencing.term()  # of a client that was superseded while it was idle
                return result

    def close(self) -> None:
        """Close the client, if one is open. Calls that other threads have begun end first."""
        with self._opening:
            client = self._client
        if client is not None:
            try:
                client.close()
            except RequestInvalid:  # in the middle of its own call: it stays open
                raise
            except RaymuError:
                self._drop(client)
                raise
            self._drop(client)

    def forget_parent(self) -> None:
        """In a forked child, have no client yet, and leave that of the parent alone, and its lock."""
        _of_parent.append(self._client)
        self._client, self._opening = None, Lock()

    def _drop(self, client: CoordinatorClient) -> None:
        """Have the next call open another client than this one, which is closed."""
        with self._opening:
            if self._client is client:
                self._client = None
