"""How a job gets its command: through the memory of the cluster's head, and no further.

An entrypoint is shown by the dashboard, and what goes along with a job is unpacked on the disk of every node that
works for it, where nobody removes it with the job. A command may name people.
"""

from ray._raylet import GcsClient  # type: ignore[attr-defined]  # compiled
from ray.job_submission import JobSubmissionClient

from raymu.runtime.jobs.package import JobCommand


def deliver(client: JobSubmissionClient, job_id: str, ticket: JobCommand) -> None:
    """Raises RuntimeError or OSError where the cluster does not take it."""
    _put(client, job_id, ticket.dump())


def withdraw(client: JobSubmissionClient, job_id: str) -> None:
    """Leave nothing of a command that no job has taken. Raises RuntimeError or OSError."""
    _put(client, job_id, b"")


def take(job_id: str, *, address: str) -> JobCommand:
    """In the job itself: nobody finds the command there afterwards. address: of the cluster, not of its dashboard"""
    memory, place = GcsClient(address=address), f"gcs://{_name(job_id)}".encode()
    found = memory.internal_kv_get(place, None)
    memory.internal_kv_del(place, False, None)
    return JobCommand.parse(found)


def _put(client: JobSubmissionClient, job_id: str, content: bytes) -> None:
    # As Ray's client stores a package: its public methods have no way to store one that no job unpacks.
    answer = client._do_request("PUT", f"/api/packages/gcs/{_name(job_id)}", data=content)
    if answer.status_code != 200:
        raise RuntimeError(answer.text)


def _name(job_id: str) -> str:
    return f"{job_id}.command"
