"""A client after whose calls the user keeps the run's last event, so that a later rollback is noticed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from raymu.service.coordinator.calls import Call, Result
from raymu.service.shard.messages import Progress, no_progress
from raymu.store.anchors import KeptAnchors

if TYPE_CHECKING:
    from raymu.service.coordinator.client import CoordinatorClient


class AnchoringClient:
    """A client that keeps the run's last event after each call."""

    def __init__(self, client: CoordinatorClient, anchors: KeptAnchors) -> None:
        self._client, self._anchors = client, anchors

    def call(self, call: Call[Result], progress: Progress = no_progress) -> Result:
        try:
            return self._client.call(call, progress)
        finally:
            self._anchors.remember()

    def close(self) -> None:
        try:
            self._client.close()
        finally:
            self._anchors.remember()
