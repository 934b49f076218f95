"""All errors of raymu, each with the facts and the next step.

An error is built from plain arguments, so that it survives pickling between processes. `exit_code` is the command line's.

    RaymuError
        input        ConfigInvalid, DataInvalid, RequestInvalid, TraceInvalid, UnknownSamples, UnknownOwner,
                     SamplesRevoked, IdempotencyConflict, SeveralFaults
        run          RunInvalid (RunFormatTooNew, RunUntrusted, RunRolledBack), NoVoters, NoFeasibleTrial, TrainingFailed,
                     PatchFailed
        storage      FileCorrupt, FileMissing, FileUnreadable, SamplesLost, StorageFailed, JournalBusy, ResultUnprinted
        processes    CoordinatorSuperseded, CoordinatorLost, CoordinatorElsewhere, WorkerLost, RankLost,
                     ShardRepairFailed, JobFailed, DeviceUnavailable (RayServeUnfit)
"""

import re
from collections.abc import Sequence

from raymu.text import one_line, plural

_IGNORE = "--ignore-unknown"
"""The option by which a request leaves out what it cannot revoke."""

UNFINISHED_EXIT_CODE = 4
"""The command line's exit code once something was committed, and what follows from it is not done or not shown."""


class RaymuError(Exception):
    """An error that the command line reports in one line, with an exit code."""

    exit_code = 2


def mark_unfinished(error: BaseException, request_ids: Sequence[str] = ()) -> None:
    """Mark an error that came after a commit: what was committed stays, and settling finishes it.

    The mark travels with the error to another process.

    Args:
        error: The error.
        request_ids: Requests that stay accepted.
    """
    vars(error)["unfinished"] = tuple(dict.fromkeys((*vars(error).get("unfinished", ()), *request_ids)))


def unfinished_requests(error: BaseException | None) -> tuple[str, ...] | None:
    """Return the requests that stay accepted after an error; None if nothing was committed before it."""
    while error is not None:
        if "unfinished" in vars(error):
            request_ids: tuple[str, ...] = vars(error)["unfinished"]
            return request_ids
        error = error.__cause__ or error.__context__  # an interruption replaces the cancellation that it follows
    return None


class ConfigInvalid(RaymuError):
    """A setting is wrong. The message names it and the allowed values."""


class DataInvalid(RaymuError):
    """A data file cannot be used."""

    def __init__(self, source: str, problem: str) -> None:
        super().__init__(source, problem)
        self.source, self.problem = source, problem

    def __str__(self) -> str:
        return f"{self.source}: {self.problem}"


class RequestInvalid(RaymuError):
    """A request, or an argument of a call, contradicts itself or the run."""


class TraceInvalid(RaymuError):
    """A trace of requests, or a description of traffic, cannot be replayed."""


class UnknownSamples(RaymuError):
    """A request names samples that the run never held."""

    def __init__(self, shown: Sequence[str], count: int, *, has_rest: bool = False) -> None:
        """Name the samples.

        Args:
            shown: Some of the ids.
            count: The number of all of them.
            has_rest: Whether the request names other samples, which could be revoked.
        """
        super().__init__(tuple(shown), count)
        self.shown, self.count, self.has_rest = tuple(shown), count, has_rest

    def __str__(self) -> str:
        names = one_line(", ".join(self.shown)) + (", ..." if self.count > len(self.shown) else "")
        rest = f"; leave them out, or add {_IGNORE}" if self.has_rest else ""
        return (
            f"{plural(self.count, 'unknown sample id')} ({names}): the run never held them{rest}; nothing was changed"
        )


class UnknownOwner(RaymuError):
    """The run holds no sample of an owner. It keeps no names of forgotten owners, so it cannot say why."""

    def __init__(self, owner: str) -> None:
        super().__init__(owner)
        self.owner = owner

    def __str__(self) -> str:
        return (
            f"there is no sample of owner {one_line(repr(self.owner))}: the run never held one, or all are revoked, "
            "each by its id, and forgotten; nothing was changed"
        )


class SamplesRevoked(RaymuError):
    """Earlier requests, which the error names, revoked some samples of a request."""

    def __init__(self, count: int, request_ids: Sequence[str], *, has_rest: bool = False) -> None:
        """Name the requests.

        Args:
            count: The number of the samples.
            request_ids: The earlier requests that revoked them.
            has_rest: Whether this request names other samples, which could be revoked.
        """
        super().__init__(count, tuple(request_ids))
        self.count, self.request_ids, self.has_rest = count, tuple(request_ids), has_rest

    def __str__(self) -> str:
        shown = ", ".join(self.request_ids[:3]) + (", ..." if len(self.request_ids) > 3 else "")
        rest = f", or add {_IGNORE}" if self.has_rest else ""
        return (
            f"{self.count} of the ids and owners named here were revoked already, by request {shown}; see its receipt, and "
            f"leave these out{rest} (nothing was changed)"
        )


class SeveralFaults(RaymuError):
    """A request has several faults. Their order does not depend on that of its ids."""

    def __init__(self, faults: Sequence[RaymuError]) -> None:
        super().__init__(tuple(faults))
        self.faults = tuple(faults)

    @property
    def request_ids(self) -> tuple[str, ...]:
        """The earlier requests that revoked some of the samples."""
        return tuple(dict.fromkeys(each for fault in self.faults for each in getattr(fault, "request_ids", ())))

    def __str__(self) -> str:
        texts = [str(fault).removesuffix("; nothing was changed") for fault in self.faults]
        return "; ".join(text.replace(" (nothing was changed)", "") for text in texts) + "; nothing was changed"


class IdempotencyConflict(RaymuError):
    """An idempotency key belongs to another request."""

    def __init__(self, key: str, request_id: str) -> None:
        super().__init__(key, request_id)
        self.key, self.request_id = key, request_id

    def __str__(self) -> str:
        return f"key {self.key!r} belongs to request {self.request_id} with another payload; choose a new key"


class RunInvalid(RaymuError):
    """A run directory does not exist, or cannot be used as intended."""

    def __init__(self, location: str, problem: str) -> None:
        super().__init__(location, problem)
        self.location, self.problem = location, problem

    def __str__(self) -> str:
        return f"{self.location}: {self.problem}"


class RunFormatTooNew(RunInvalid):
    """A newer version of raymu wrote the run, in a format that this version does not know."""


class RunUntrusted(RunInvalid):
    """A run asks for code or for a connection that its reader has not trusted. Nothing of it was followed."""

    def __init__(self, location: str, demand: str) -> None:
        super().__init__(location, demand)
        self.demand = demand

    def __str__(self) -> str:
        return (
            f"{self.location}: asks for {self.demand}, which you have not trusted and which was not followed; if the run "
            "is yours or you trust its maker, add --trust (in Python: open_run(..., trust=True))"
        )


class RunRolledBack(RunInvalid):
    """A run lacks an event that this user's commands have seen: an older copy was put in its place."""

    def __init__(self, location: str, sequence: int) -> None:
        super().__init__(location, str(sequence))
        self.sequence = int(sequence)

    def __str__(self) -> str:
        return (
            f"{self.location}: lacks event {self.sequence}, which it had when it was used here before: an older copy is in "
            "its place, which may serve samples that were revoked since; put the newer copy back or, if this was done on "
            "purpose, run `raymu verify RUN --accept-rollback`"
        )


_REBUILT = re.compile(r"(generations/\d{8,}\.json|samples/\d{4,}-[^/]*|shards/\d{4,}/[^/]*)$")
"""Paths of the files that `raymu rebuild` writes again."""


def _restored_by(path: str) -> str:
    """Say what restores a file of a run, or a part of its journal."""
    if _REBUILT.search(path):
        return "try `raymu rebuild`, or restore the file from a backup of the run"
    return "restore the run from a backup"


class FileCorrupt(RaymuError):
    """A file or a database of a run is not what was written."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(path, problem)
        self.path, self.problem = path, problem

    def __str__(self) -> str:
        return f"{self.path}: {self.problem}; {_restored_by(self.path)}"


class FileMissing(RaymuError):
    """A file of a run does not exist."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.path = path

    def __str__(self) -> str:
        return f"{self.path} is missing; {_restored_by(self.path)}"


class FileUnreadable(RaymuError):
    """The storage does not return a file, at least not now. Its content may be sound."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(path, problem)
        self.path, self.problem = path, problem

    def __str__(self) -> str:
        return (
            f"{self.path} cannot be read ({self.problem}); see to its storage, or restore it from a backup of the run"
        )


class SamplesLost(RaymuError):
    """The run's copy of a shard's samples is missing or changed, and no other copy was found."""

    def __init__(self, shard: int, pyarrow: str | None = None) -> None:
        """Name the samples.

        Args:
            shard: Their shard.
            pyarrow: The version of pyarrow that wrote the copy, if this one writes other bytes.
        """
        super().__init__(shard, pyarrow)
        self.shard, self.pyarrow = shard, pyarrow

    def __str__(self) -> str:
        with_writer = f", with pyarrow {self.pyarrow} installed, which wrote them" if self.pyarrow else ""
        return (
            f"the samples of shard {self.shard} are lost or changed; give the file that the run was trained from, without "
            f"what was excluded: `raymu rebuild RUN --training-data FILE`{with_writer}"
        )


class StorageFailed(RaymuError):
    """A disk or a database is full, broken, or out of reach."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(path, problem)
        self.path, self.problem = path, problem

    def __str__(self) -> str:
        return (
            f"{self.path}: the storage failed ({self.problem}); see that it has room and can be reached, "
            "then run the command again"
        )


class ConnectionLost(StorageFailed):
    """The connection to a database was lost, or could not be made, in each of several attempts."""


class TrainingFailed(RaymuError):
    """A model cannot be trained on these samples: its code raises, or its weights are not finite."""

    def __init__(self, shard: int, stage: int, problem: str) -> None:
        super().__init__(shard, stage, problem)
        self.shard, self.stage, self.problem = shard, stage, problem

    def __str__(self) -> str:
        return f"shard {self.shard} could not be trained: in stage {self.stage} {self.problem}"


class ResultUnprinted(RaymuError):
    """A command has done its work, and cannot print the result."""

    exit_code = UNFINISHED_EXIT_CODE

    def __init__(self, problem: str, shown_by: str) -> None:
        super().__init__(problem, shown_by)
        self.problem, self.shown_by = problem, shown_by

    def __str__(self) -> str:
        return f"the work is done, but its result could not be printed ({self.problem}); {self.shown_by} shows it"


class JournalBusy(RaymuError):
    """Another process has locked the journal for longer than any transaction takes."""

    exit_code = 1

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem

    def __str__(self) -> str:
        return (
            f"another process holds the journal ({self.problem}), most likely a raymu that runs on this run and is stopped "
            "or hangs: have it go on (fg, or kill -CONT), or end it; then run the command again"
        )


class NoVoters(RaymuError):
    """Every shard of a generation abstains, so nothing can be predicted."""

    def __init__(self, generation: int) -> None:
        super().__init__(generation)
        self.generation = generation

    def __str__(self) -> str:
        return (
            f"generation {self.generation} has no voters: every shard abstains; finish the repairs with `raymu settle`, or "
            "train anew where no samples are left"
        )


class CoordinatorSuperseded(RaymuError):
    """Another coordinator has taken the run over, and this one can no longer write."""

    exit_code = 1

    def __init__(self, term: int, current: int) -> None:
        super().__init__(term, current)
        self.term, self.current = term, current

    def __str__(self) -> str:
        return (
            f"another coordinator has taken the run over (term {self.current} after {self.term}), and carries on what "
            "was accepted; see `raymu status`, and run the command again if its request is not there"
        )


class CoordinatorLost(RaymuError):
    """The coordinator's process does not answer, or has left the run."""

    exit_code = 1

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem

    def __str__(self) -> str:
        return f"the coordinator was lost ({self.problem}); what it accepted stays accepted: run `raymu settle`"


class CoordinatorElsewhere(RaymuError):
    """The coordinator of a run is up on a cluster that this process does not see. Nothing was changed."""

    def __init__(self, location: str, place: str, address: str) -> None:
        super().__init__(location, place, address)
        self.location, self.place, self.address = location, place, address

    def __str__(self) -> str:
        return (
            f"{self.location}: its coordinator is up on the Ray cluster at {self.address} ({self.place}), which is not the "
            f"one that is used here; add --address {self.address} or, if that cluster is gone for good, --take-over"
        )


class JobFailed(RaymuError):
    """A job on a cluster ended without a result."""

    exit_code = 1

    def __init__(self, job_id: str, problem: str) -> None:
        super().__init__(job_id, problem)
        self.job_id, self.problem = job_id, problem

    def __str__(self) -> str:
        return (
            f"job {self.job_id} gave no answer ({self.problem}); see `ray job logs {self.job_id}`; what a run accepted "
            "stays accepted: `raymu settle` finishes it"
        )


class NoFeasibleTrial(RaymuError):
    """No trial of a search satisfies the constraints."""

    def __init__(self, nearest: str, misses: str) -> None:
        super().__init__(nearest, misses)
        self.nearest, self.misses = nearest, misses

    def __str__(self) -> str:
        return f"no trial holds the constraints; the nearest is {self.nearest}, with {self.misses}: loosen them"


class WorkerLost(RaymuError):
    """The process that worked on a shard died repeatedly."""

    exit_code = 1

    def __init__(self, shard: int, attempts: int, problem: str) -> None:
        super().__init__(shard, attempts, problem)
        self.shard, self.attempts, self.problem = shard, attempts, problem

    def __str__(self) -> str:
        return (
            f"the worker of shard {self.shard} was lost {plural(self.attempts, 'time')} ({self.problem}); "
            "see that its node has memory for it, then run `raymu settle`"
        )


class RankLost(RaymuError):
    """A worker that shares a shard's batches does not answer. All of them repeat their stage."""


class DeviceUnavailable(RaymuError):
    """A configured device, cluster or resource is not available."""


class RayServeUnfit(DeviceUnavailable):
    """Ray Serve of a cluster cannot take calls where they are to be taken."""


class ShardRepairFailed(RaymuError):
    """A shard's repair failed. The request stays accepted and rewound, and settling repeats the repair."""

    exit_code = 1

    def __init__(self, shard: int, problem: str) -> None:
        super().__init__(shard, problem)
        self.shard, self.problem = shard, problem

    def __str__(self) -> str:
        return (
            f"shard {self.shard} could not be repaired ({self.problem}); the request stays accepted: run `raymu settle`, or, "
            f"if that fails too, `raymu settle --drop-shard {self.shard}`, which revokes the rest of the shard for good"
        )


class PatchFailed(RaymuError):
    """A patch cannot be calibrated to the loss of unseen samples. Its shard is retrained instead."""
