"""A command as a Ray job: submitted with its working directory, followed until it ends, stopped if its client is."""

import asyncio
import shlex
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
from ray.job_submission import JobDetails, JobSubmissionClient
from ray.runtime_env import RuntimeEnv

from raymu.errors import DeviceUnavailable, JobFailed, RequestInvalid
from raymu.runtime.jobs.dashboard import CONNECT_S, connect
from raymu.runtime.jobs.result import CommandResult, JobLog, ResultKey
from raymu.runtime.jobs.working_dir import STOP_S, job_environment
from raymu.text import one_line

_RETRY_S = 60.0
"""How long a new cluster may take to accept a job, and a lost connection to a job may take to come back."""
_NO_AGENT = "No available agent"
_TOO_LARGE = "413"
"""The HTTP status of a package that is too large for the dashboard."""


class Job:
    """One command on a cluster."""

    def __init__(self, client: JobSubmissionClient) -> None:
        self.id = f"raymu-{uuid4().hex[:12]}"  # chosen here, so that a job can be stopped whose start got no answer
        self._client, self._key = client, ResultKey()
        self._log = JobLog(self._key)
        self._read = 0  # characters of the log
        self._lost_at: float | None = None  # on the monotonic clock

    def start(self, words: tuple[str, ...], environment: Mapping[str, Any]) -> None:
        """Submit the job, and try again while a new cluster starts.

        Args:
            words: The command line after `raymu`. Ray's dashboard shows it.
            environment: Ray's runtime environment, with a working directory.

        Raises:
            RequestInvalid: Ray refuses the environment.
            DeviceUnavailable: The cluster does not answer. The job may have started.
        """
        entrypoint = f"exec python3 -m raymu.cli.job_runner {self._key.public} {shlex.join(words)}"
        deadline = time.monotonic() + _RETRY_S
        while True:
            try:
                self._client.submit_job(entrypoint=entrypoint, submission_id=self.id, runtime_env=dict(environment))
                return
            except (ValueError, TypeError, IndexError) as error:  # IndexError: of a pattern such as "!"
                raise _refusal(error) from error
            except (RuntimeError, OSError) as error:
                if _TOO_LARGE in str(error):
                    raise RequestInvalid(
                        "the working directory is larger than the 100 MiB that a cluster takes; name a smaller "
                        "--working-dir, and keep data on storage that all nodes share"
                    ) from error
                if _NO_AGENT not in str(error):
                    raise DeviceUnavailable(f"the cluster does not take the job ({one_line(error)})") from error
                if time.monotonic() > deadline:
                    raise DeviceUnavailable(
                        "the cluster has no agent that starts jobs; see that its head is up"
                    ) from error
            time.sleep(1.0)

    def follow(self, show: Callable[[str], None]) -> CommandResult:
        """Pass the log on until the job has ended, and return the command's result.

        Raises:
            JobFailed: The job ended without a result.
        """
        while True:
            try:
                asyncio.run(self._tail(show))
                details = self._client.get_job_info(self.id)
                if details.status.is_terminal():
                    self._take(self._client.get_job_logs(self.id), show, start=0)
                    break
                self._lost_at = None
            except (RuntimeError, OSError, aiohttp.ClientError) as error:
                self._lost_at = self._lost_at or time.monotonic()
                if time.monotonic() > self._lost_at + _RETRY_S:
                    raise JobFailed(
                        self.id, f"the cluster does not answer, and the job may go on: {one_line(error)}"
                    ) from error
            time.sleep(1.0)
        show(self._log.end())
        if self._log.result is None:
            raise JobFailed(self.id, _reason(details))
        return self._log.result

    def stop(self) -> None:
        """Stop the job, and wait until it has ended."""
        deadline = time.monotonic() + STOP_S + CONNECT_S
        with suppress(RuntimeError, OSError):  # it may never have started
            self._client.stop_job(self.id)
            while not self._client.get_job_status(self.id).is_terminal() and time.monotonic() < deadline:
                time.sleep(0.5)

    async def _tail(self, show: Callable[[str], None]) -> None:
        start = 0
        async for text in self._client.tail_job_logs(self.id):
            self._take(text, show, start=start)
            start += len(text)

    def _take(self, text: str, show: Callable[[str], None], *, start: int) -> None:
        """Show what is new. After a lost connection the log comes from its beginning, so `start` says where `text` is."""
        self._lost_at = None
        if fresh := text[max(0, self._read - start) :]:
            self._read = start + len(text)
            show(self._log.feed(fresh))


def submit(
    address: str,
    folder: Path,
    words: tuple[str, ...],
    *,
    runtime_env: Mapping[str, Any],
    show: Callable[[str], None],
) -> CommandResult:
    """Run a command of raymu on a cluster, in a copy of a folder. An interruption stops the job.

    Args:
        address: Of the cluster's dashboard, or of the cluster.
        folder: The working directory to copy.
        words: The command line after `raymu`. It must not contain sample ids: Ray's dashboard shows it.
        runtime_env: Ray's runtime environment, without a working directory.
        show: Called with each part of the job's log.

    Raises:
        DeviceUnavailable: The cluster does not answer.
        RequestInvalid: The folder or the environment cannot be used.
        JobFailed: The job ended without a result.
    """
    environment = checked_environment(runtime_env, folder)
    job = Job(connect(address))
    try:
        job.start(words, environment)
        show(f"raymu: job {job.id}\n")
        return job.follow(show)
    except (KeyboardInterrupt, DeviceUnavailable):  # even if its start got no answer, the job may run
        job.stop()
        raise


def checked_environment(runtime_env: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return the environment of a job. Raises RequestInvalid, also if Ray would refuse it."""
    try:
        RuntimeEnv(**runtime_env)
    except (ValueError, TypeError) as error:
        raise _refusal(error) from error
    return job_environment(runtime_env, folder)


def _reason(details: JobDetails) -> str:
    reason = one_line((details.message or details.status).partition(", last available logs")[0])
    return f"{reason} Is raymu installed on the cluster's nodes, and on the PATH that `ray start` saw?"


def _refusal(error: Exception) -> RequestInvalid:
    return RequestInvalid(f"Ray does not take this runtime environment ({one_line(error)}); see its documentation")
