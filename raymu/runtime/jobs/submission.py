"""A command as a Ray job: sent off with its working directory, followed to its end, stopped where nobody waits for it."""

import asyncio
import http.client
import logging
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import aiohttp
from ray.dashboard.utils import ray_address_to_api_server_url
from ray.exceptions import AuthenticationError, RayError
from ray.job_submission import JobDetails, JobSubmissionClient

from raymu.errors import DeviceUnavailable, JobFailed
from raymu.runtime.jobs.command import deliver, withdraw
from raymu.runtime.jobs.environment import STOP_S, JobEnvironment, refusal
from raymu.runtime.jobs.package import CommandResult, JobCommand, JobLog, pack
from raymu.text import one_line

_PATIENCE_S = 60.0
"""How long a cluster that has just been started may take to accept a job, and one that is followed may not be seen."""
_ANSWER_S = 10.0
_CHATTY = ("ray.dashboard.modules.dashboard_sdk", "ray.dashboard.modules.job.sdk")
"""Loggers that tell of their requests on standard error."""
_NO_AGENT = "No available agent"


class Job:
    """One command on a cluster."""

    def __init__(self, client: JobSubmissionClient, ticket: JobCommand) -> None:
        self.id = f"raymu-{uuid4().hex[:12]}"  # its own, so that it can be stopped however far its submission has come
        self._client, self._ticket, self._log = client, ticket, JobLog(ticket)
        self._seen = 0  # letters of the log
        self._lost_at: float | None = None  # on the monotonic clock

    def start(self, environment: Mapping[str, Any]) -> None:
        """environment: Ray's, with a working directory. Raises RequestInvalid, and DeviceUnavailable: it may run then."""
        entrypoint = f"exec python3 -m raymu.cli.job {self.id}"
        patience = time.monotonic() + _PATIENCE_S
        while True:
            try:
                deliver(self._client, self.id, self._ticket)
                self._client.submit_job(entrypoint=entrypoint, submission_id=self.id, runtime_env=dict(environment))
                return
            except (ValueError, TypeError) as error:
                raise refusal(error) from error
            except (RuntimeError, OSError) as error:
                if _NO_AGENT not in str(error):
                    raise DeviceUnavailable(f"the cluster does not take the job ({one_line(error)})") from error
                if time.monotonic() > patience:
                    raise DeviceUnavailable(
                        "the cluster has no agent that starts jobs; see that its head is up"
                    ) from error
            time.sleep(1.0)

    def follow(self, show: Callable[[str], None]) -> CommandResult:
        """Pass its log on until it has ended. Raises JobFailed where the command came to no end of its own."""
        while True:
            try:
                asyncio.run(self._tail(show))
                found = self._client.get_job_info(self.id)
                if found.status.is_terminal():
                    self._take(self._client.get_job_logs(self.id), show, start=0)
                    break
                self._lost_at = None
            except (RuntimeError, OSError, aiohttp.ClientError) as error:
                self._lost_at = self._lost_at or time.monotonic()
                if time.monotonic() > self._lost_at + _PATIENCE_S:
                    raise JobFailed(self.id, f"it is out of sight, and may go on: {one_line(error)}") from error
            time.sleep(1.0)
        show(self._log.end())
        if self._log.outcome is None:
            raise JobFailed(self.id, self._what_happened(found))
        return self._log.outcome

    def stop(self) -> None:
        """End it, and wait until it has."""
        patience = time.monotonic() + STOP_S + _ANSWER_S
        with suppress(RuntimeError, OSError):  # it may never have come to be
            self._client.stop_job(self.id)
            while not self._client.get_job_status(self.id).is_terminal() and time.monotonic() < patience:
                time.sleep(0.5)

    def forget(self) -> None:
        """Leave no command behind that it has not come to take."""
        if not self._log.has_begun:
            with suppress(RuntimeError, OSError):
                withdraw(self._client, self.id)

    async def _tail(self, show: Callable[[str], None]) -> None:
        start = 0
        async for text in self._client.tail_job_logs(self.id):
            self._take(text, show, start=start)
            start += len(text)

    def _take(self, text: str, show: Callable[[str], None], *, start: int) -> None:
        """start: where the text begins in the log, which is read from its beginning after a connection was lost"""
        self._lost_at = None
        if fresh := text[max(0, self._seen - start) :]:
            self._seen = start + len(text)
            show(self._log.feed(fresh))

    def _what_happened(self, found: JobDetails) -> str:
        told = one_line((found.message or found.status).partition(", last available logs")[0])
        if self._log.has_begun:
            return told
        return f"{told} Is raymu installed on the cluster's nodes, and on the PATH that `ray start` saw?"


def submit(
    address: str,
    folder: Path,
    command: tuple[str, ...],
    *,
    runtime_env: Mapping[str, Any],
    show: Callable[[str], None],
) -> CommandResult:
    """Run a command of raymu on a cluster, in a copy of a folder, and follow it; stop it where that is interrupted.

    address: of the cluster's dashboard, or of the cluster; show: told what the job says on standard error
    Raises DeviceUnavailable, RequestInvalid, JobFailed.
    """
    environment, ticket = JobEnvironment(runtime_env), JobCommand.issue(command)
    client = connect(address)
    with tempfile.TemporaryDirectory() as scratch:
        package = Path(scratch) / "job.zip"
        pack(package, folder, is_excluded=environment.exclusion(folder))
        job = Job(client, ticket)
        try:
            job.start(environment.complete(package))
            show(f"raymu: job {job.id}\n")
            return job.follow(show)
        except (KeyboardInterrupt, DeviceUnavailable):  # it may run, even where it did not seem to start
            job.stop()
            raise
        finally:
            job.forget()


def connect(address: str) -> JobSubmissionClient:
    """Raises DeviceUnavailable where no dashboard answers, or it asks for a token."""
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        url = _dashboard(address)
        # Ray prefers RAY_ADDRESS to what it is told, and this variable to both.
        with _variable("RAY_API_SERVER_ADDRESS", url):
            return JobSubmissionClient(url)
    except AuthenticationError as error:
        raise DeviceUnavailable(
            f"{address}: asks for a token, or refuses the one it got; set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN, or "
            "RAY_AUTH_TOKEN_PATH to the file that has it"
        ) from error
    except (OSError, RuntimeError, ValueError, RayError) as error:
        raise DeviceUnavailable(
            f"{address}: no Ray dashboard answers there ({one_line(error)}); start Ray there with "
            "`ray start --head`, and ray[default] installed"
        ) from error


def _dashboard(address: str) -> str:
    """The URL of a cluster's dashboard. address: that URL, with or without http://, or the cluster's own address

    Raises OSError where nothing answers.
    """
    parts = urlsplit(address if "://" in address else f"//{address}")
    if parts.hostname is None or parts.port is None or parts.scheme not in ("", "http"):
        return address if "://" in address else ray_address_to_api_server_url(address)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=_ANSWER_S)
    try:
        connection.connect()
        connection.request("GET", "/api/version")
        connection.getresponse()
    except ConnectionRefusedError:
        raise
    except (http.client.HTTPException, OSError):  # the cluster's own port speaks another protocol
        if parts.scheme:
            raise
        return ray_address_to_api_server_url(address)
    finally:
        connection.close()
    return f"http://{parts.netloc}"


@contextmanager
def _variable(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
