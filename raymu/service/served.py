"""The generation that predictions are made from: the published one, rewound for requests that were accepted since."""

from contextlib import closing
from dataclasses import dataclass, replace

from raymu.config.unlearning import OnAccept
from raymu.core.commands import PublishGeneration
from raymu.core.records import Generation
from raymu.service.followed_history import FollowedHistory
from raymu.service.history import History
from raymu.store.journal.fencing import journal_url
from raymu.store.journal.watch import JournalWatch
from raymu.store.run import RunStore
from raymu.text import plural


@dataclass(frozen=True, kw_only=True, slots=True)
class Waiting:
    """The state that a run serves while accepted requests wait for it."""

    requests: int
    """Requests that are accepted, and not repaired on every shard."""
    is_kept: bool
    """Whether the served state saw their samples, because `unlearning.on_accept` is keep."""

    def __str__(self) -> str:
        """Say it in one line."""
        accepted = f"{plural(self.requests, 'accepted request')} not carried out yet"
        if self.is_kept:
            return (
                f"{accepted}: predictions come from a state that saw the samples, since unlearning.on_accept is keep; "
                "`raymu settle` forgets them"
            )
        return (
            f"{accepted}: their shards serve earlier states, which never saw the samples; `raymu settle` repairs them"
        )


def served_generation(store: RunStore, *, followed: FollowedHistory | None = None) -> Generation:
    """Return the generation to predict from, read anew.

    A coordinator may have died between the acceptance of a request and the publication of its rewinding, which for a
    submission takes seconds. Then the shards are rewound here, from the files alone and without writing.

    Args:
        store: The run.
        followed: The run's history as far as it was read before. By default, it is read anew.

    Raises:
        RunInvalid: There is no run, its training has not finished, or its files do not belong to its journal.
        FileCorrupt: A file is not what was written.
    """
    with closing(store.journal(is_read_only=True)) as journal:
        if not journal.has_unpublished_requests():
            return store.current()
        with (followed or FollowedHistory(store)).following(journal) as (_, history):
            return rewound_for_accepted(store.current(), history)


def rewound_for_accepted(generation: Generation, history: History) -> Generation:
    """Rewind a generation for the requests that were accepted after it.

    Args:
        generation: The current generation, read after the history.
        history: All events up to a moment ago.
    """
    if history.published is None or history.published.number != generation.number:
        return generation  # published since, and rewound for all that the history accepts
    for command in history.board.pending_commands():
        if isinstance(command, PublishGeneration) and command.rewound:
            return replace(
                generation,
                cause="rewind",
                request_ids=command.rewound,
                constituents=command.constituents,
                lineages=command.lineages,
            )
    return generation


def awaited_shards(store: RunStore, *, followed: FollowedHistory | None = None) -> frozenset[int]:
    """Return the shards that requests wait for although they are not rewound: only with `on_accept: keep`.

    Args:
        store: The run.
        followed: The run's history as far as it was read before. By default, it is read anew.
    """
    if store.config.unlearning.on_accept is not OnAccept.KEEP:
        return frozenset()
    with closing(store.journal(is_read_only=True)) as journal:
        if not journal.has_unpurged_requests():
            return frozenset()
        with (followed or FollowedHistory(store)).following(journal) as (_, history):
            return history.board.awaited_shards


def watch_of(store: RunStore) -> JournalWatch:
    """Return a watch on the journal of a run. Raises RunUntrusted before it names a database, ConfigInvalid, RunInvalid."""
    store.require_trusted("cluster.journal")
    return JournalWatch(journal_url(store.files, store.config), store.manifest.run_id)


def waiting_requests(store: RunStore, *, followed: FollowedHistory | None = None) -> Waiting | None:
    """Return what waits for a run; None if every accepted request is repaired.

    Args:
        store: The run.
        followed: The run's history as far as it was read before. By default, it is read anew.
    """
    with closing(store.journal(is_read_only=True)) as journal:
        if not journal.has_unpurged_requests():
            return None
        with (followed or FollowedHistory(store)).following(journal) as (_, history):
            requests, is_kept = len(history.board.open_requests), history.board.keeps_states
    return Waiting(requests=requests, is_kept=is_kept) if requests else None
