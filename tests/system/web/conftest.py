"""A service in this process, with real runs, called as over HTTP."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi")

from starlette.testclient import TestClient

from raymu.api import Run
from raymu.web.access_log import AccessLog
from raymu.web.app import build_app
from raymu.web.guards import Limits
from raymu.web.metrics import ServiceMetrics
from raymu.web.protocols import Protocols
from raymu.web.served_run import open_runs
from raymu.web.tokens import Role, Tokens


@dataclass
class Service:
    """A service, and what it writes."""

    folder: Path
    client: TestClient
    tokens: Tokens

    @property
    def log(self) -> str:
        return (self.folder / "access.log").read_text()

    def as_caller(self, role: Role) -> dict[str, str]:
        """Make a token for a role, and return the header that carries it."""
        return {"Authorization": f"Bearer {self.tokens.create(f'the-{role}', role)}"}

    def delete(self, body: dict[str, Any], *, key: str | None = None, **headers: str) -> Any:
        """Ask for a deletion."""
        own = {"Idempotency-Key": key} if key is not None else {}
        return self.client.post("/v1/requests", json=body, headers={**own, **headers})

    def wait_for(self, request_id: str, stage: str) -> dict[str, Any]:
        """Wait until a request has come to a stage."""
        until = time.monotonic() + 60
        while time.monotonic() < until:
            state: dict[str, Any] = self.client.get(f"/v1/requests/{request_id}").json()
            if state["stage"] == stage:
                return state
            time.sleep(0.1)
        raise AssertionError(f"{state}")


OpenService = Callable[..., Any]


@contextmanager
def opened_service(
    folder: Path,
    *names: str,
    limits: Limits | None = None,
    has_tokens: bool = False,
    protocols: Path | None = None,
    labels_only: bool = False,
) -> Iterator[Service]:
    """Open a service of the runs in some folders. protocols: the settings of webhooks and of OpenDSR"""
    tokens, metrics = Tokens(folder / "tokens.json"), ServiceMetrics()
    served_runs = open_runs([Run(folder / name, trust=True) for name in names], metrics.of_run)
    spoken = None if protocols is None else Protocols(protocols, served_runs, count_for=metrics.of_receiver)
    app = build_app(
        served_runs,
        tokens=tokens,
        log=AccessLog(folder / "access.log"),
        limits=limits or Limits(),
        labels_only=labels_only,
        metrics=metrics,
        is_open=not has_tokens,
        opendsr=spoken.opendsr if spoken is not None else None,
    )
    if spoken is not None:
        spoken.begin()
    try:
        with TestClient(app) as client:
            yield Service(folder, client, tokens)
    finally:
        if spoken is not None:
            spoken.close()
