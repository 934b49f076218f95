"""How the tasks of audits are carried out: one after another in this process, or by whoever else is given."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol, overload

from raymu.service.audit.repetition import train_audited
from raymu.service.audit.snapshot_votes import ShardVotes, VotesTask, votes_after
from raymu.training.audit.shadow_models import AuditedModel, AuditTask

RunTasks = Callable[[Sequence[AuditTask]], Iterable[AuditedModel]]
"""Trains the models of some tasks, and yields them in the order of the tasks."""
RunVotes = Callable[[Sequence[VotesTask]], Iterable[ShardVotes]]
"""Carries out deletions, and yields the votes after them in the order of the tasks."""


class RunAuditTasks(Protocol):
    """Carries out the tasks of either kind of audit, and yields the results in their order."""

    @overload
    def __call__(self, tasks: Sequence[AuditTask], /) -> Iterable[AuditedModel]: ...

    @overload
    def __call__(self, tasks: Sequence[VotesTask], /) -> Iterable[ShardVotes]: ...


@overload
def one_after_another(tasks: Sequence[AuditTask], /) -> Iterator[AuditedModel]: ...


@overload
def one_after_another(tasks: Sequence[VotesTask], /) -> Iterator[ShardVotes]: ...


def one_after_another(tasks: Sequence[Any], /) -> Iterator[Any]:
    """Carry out tasks in this process."""
    return map(_carry_out, tasks)


def _carry_out(task: AuditTask | VotesTask) -> AuditedModel | ShardVotes:
    if isinstance(task, VotesTask):
        return votes_after(task.shard, task.forget, task.remedy)
    return train_audited(task.samples, task.kind, task.number, task.remedy)
