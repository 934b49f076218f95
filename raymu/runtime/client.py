"""Clients of a coordinator on a cluster, which is an actor of their own or the detached one."""

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, cast

import ray
from ray.exceptions import RayError, RayTaskError

from raymu.config import ClusterConfig
from raymu.core.trust import EVERYTHING, NOTHING, Trust
from raymu.core.verdict import LastVerdict
from raymu.errors import CoordinatorElsewhere, CoordinatorLost
from raymu.runtime.cluster import (
    existing_cluster,
    is_cluster_there,
    is_head_there,
    is_joined,
    join_cluster,
    leave_cluster,
)
from raymu.runtime.coordinator_actor import CoordinatorActor
from raymu.runtime.detached_coordinator import coordinator_name, find_detached, start_detached
from raymu.runtime.known_cluster import may_find_cluster
from raymu.runtime.messages import MessageCipher
from raymu.runtime.nodes import this_node
from raymu.runtime.placement_group import remove_reservations
from raymu.runtime.ray_errors import first_sentence, unwrap
from raymu.runtime.shard_resources import uses_placement_groups
from raymu.service.coordinator.calls import Call, Locations, Result
from raymu.service.coordinator.process_turn import ProcessTurn
from raymu.service.coordinator.shared_calls import OpenCalls
from raymu.service.coordinator.unanswered import mark_unanswered
from raymu.service.phase import STARTING_COORDINATOR, begin_phase
from raymu.service.requests.revocation import Revocation
from raymu.service.shard.messages import Progress, RoomWait, ShardLocations, StageProgress, no_progress
from raymu.store.run import RunStore
from raymu.text import one_line

_log = logging.getLogger("raymu.waiting")
CLOSE_S = 30.0
"""How long a coordinator may take to leave its run before its actor is killed."""
_WATCH_S = 2.0
"""How often a waiting client checks that the cluster's head answers."""
_HEAD_S = 10.0
"""How long the head may be unreachable. A head that stores its state elsewhere may restart, and Ray reconnects to it."""


class RayClient:
    """A run's detached coordinator if one is running, otherwise a coordinator that ends when this client closes.

    Any number of threads may call it at once.
    """

    def __init__(
        self,
        location: str,
        cluster: ClusterConfig,
        first: Sequence[Revocation] = (),
        *,
        trust: Trust = EVERYTHING,
        take_over: bool = False,
    ) -> None:
        """Join the cluster, and have a coordinator take over the run.

        Args:
            location: The run.
            cluster: The cluster to join.
            first: Requests of the first call. The run is not taken over if one of them is refused.
            trust: The demands of the run that its coordinator and its workers follow.
            take_over: Take the run over from a detached coordinator of another cluster too.

        Raises:
            RaymuError: What refuses a request.
            CoordinatorElsewhere: The run has a detached coordinator on another cluster.
            DeviceUnavailable: The cluster is not running, or has no room for a shard.
            RunInvalid: There is no run at the location.
        """
        self._store = store = RunStore(location, trust=trust)
        self._cipher, self._trust = MessageCipher(store), trust
        self._run_id = store.manifest.run_id if uses_placement_groups(cluster) else None
        name = coordinator_name(location)
        self._own: Any = None
        self._term: int | None = None
        self._calls, self._reopening = OpenCalls(), threading.Lock()
        self._turn = ProcessTurn(store)
        if not take_over and not is_cluster_there(cluster.address):  # refuse before a cluster is started
            require_none_elsewhere(store)
        if not may_find_cluster(cluster.address):  # no detached coordinator either: wait before a cluster is started
            self._turn.take(first)
        try:
            join_cluster(cluster.address)
        except BaseException:
            self._turn.leave()
            raise
        begin_phase(STARTING_COORDINATOR)
        try:
            self._actor: Any = find_detached(name)
            if self._actor is None:
                if not take_over:
                    require_none_elsewhere(store)
                self._turn.take(first)
                self._actor = find_detached(name) or self._started()
            self._open(first)
        except BaseException:
            self._turn.leave()
            self._close()
            raise

    def call(self, call: Call[Result], progress: Progress = no_progress) -> Result:
        """Carry a call out. Progress is reported in this thread.

        Raises:
            ClientClosed: Another thread closed the client before.
            CoordinatorLost: The coordinator or the cluster's head is gone. The error is marked with what stays.
            RaymuError: What the coordinator raises.
        """
        with self._calls.counted():
            if not self._own:  # a detached coordinator serves many processes at once
                self._turn.leave()
                return self._carried_out(call, progress)
            self._turn.begin_call()
            try:
                self._reopen_if_superseded()
                return self._carried_out(call, progress)
            finally:
                self._turn.end_call()

    def close(self) -> None:
        """Leave the run, and the cluster, once calls of other threads have ended. Raises RequestInvalid in an own call."""
        if not self._calls.close():
            return
        try:
            self._close()
        finally:
            self._turn.leave()

    def _open(self, first: Sequence[Revocation] = ()) -> None:
        open_run(self._actor, self._store, self._cipher, first, self._trust)
        self._term = self._store.fencing.term()

    def _reopen_if_superseded(self) -> None:
        """Take the run over again from a process that had its turn while this one was idle."""
        with self._reopening:
            if self._store.fencing.term() != self._term:
                self._open()

    def _carried_out(self, call: Call[Result], progress: Progress) -> Result:
        before = self._store.position()
        try:
            return _call(self._actor, call, progress, self._cipher)
        except (CoordinatorLost, KeyboardInterrupt) as error:
            mark_unanswered(error, self._store, call, before, is_own=self._own is not None)
            raise

    def _close(self) -> None:
        if self._own and ray.is_initialized() and is_head_there():
            _end(self._own)
            if self._run_id:  # Ray keeps the reservations of a lost coordinator as long as this process lives
                remove_reservations(self._run_id)
        leave_cluster()

    def _started(self) -> Any:
        """Start a coordinator on this node, which has the journal if it is in SQLite."""
        self._own = CoordinatorActor.options(num_cpus=0, scheduling_strategy=this_node()).remote()
        return self._own


def start_coordinator(
    location: str, cluster: ClusterConfig, *, trust: Trust = EVERYTHING, take_over: bool = False
) -> bool:
    """Start a run's detached coordinator.

    Args:
        location: The run.
        cluster: The cluster to start it on.
        trust: The demands of the run that it follows.
        take_over: Take the run over from a detached coordinator of another cluster too.

    Returns:
        Whether it was running already.

    Raises:
        DeviceUnavailable: No cluster is running that outlives this process, or it has no room for a shard.
        RaymuError: RunInvalid, CoordinatorElsewhere, CoordinatorLost.
    """
    store = RunStore(location, trust=trust)
    name, turn = coordinator_name(location), ProcessTurn(store)
    with existing_cluster(cluster.address):
        if find_detached(name) is None:
            if not take_over:
                require_none_elsewhere(store)
            turn.take()
        try:
            actor, is_new = start_detached(name, location, trust)
            try:
                open_run(actor, store, MessageCipher(store), (), trust)
            except BaseException:
                if is_new:
                    ray.kill(actor)
                raise
        finally:
            turn.leave()
    return not is_new


def require_none_elsewhere(store: RunStore) -> None:
    """Raise CoordinatorElsewhere if a detached coordinator of a run is up on another cluster than the joined one.

    The joined cluster, if any, has none: one that was there is gone with a former head of it.
    """
    presence = store.presence.read()
    if presence is None or not presence.is_detached or presence.address is None:
        return
    if (ray.is_initialized() and is_joined(presence.address)) or presence.is_cluster_gone:
        return
    raise CoordinatorElsewhere(store.files.display_location, str(presence), one_line(presence.address))


def open_run(actor: Any, store: RunStore, cipher: MessageCipher, first: Sequence[Revocation], trust: Trust) -> None:
    """Have a coordinator's actor take a run over. Raises what refuses a request, RunInvalid, CoordinatorLost."""
    with translate_ray_errors():
        answer = ray.get(actor.open.remote(store.location, cipher.encrypt(tuple(first)), trust))
    cipher.decrypt(answer)


def stop_coordinator(location: str, cluster: ClusterConfig) -> bool:
    """Stop a run's detached coordinator, and its shard actors with it.

    Returns:
        Whether it was running.

    Raises:
        DeviceUnavailable: No cluster is running that outlives this process.
        CoordinatorLost: The coordinator does not end.
    """
    name = coordinator_name(location)
    with existing_cluster(cluster.address):
        actor = find_detached(name)
        if actor is None:
            return False
        _end(actor)
        deadline = time.monotonic() + CLOSE_S
        while find_detached(name) == actor:
            if time.monotonic() > deadline:
                raise CoordinatorLost("it was stopped, and its cluster still lists it")
            time.sleep(0.1)
    return True


def detached_locations(location: str, cluster: ClusterConfig) -> ShardLocations:
    """Return where a run's shards are, as its detached coordinator knows them. Without one, return an empty mapping.

    Raises:
        DeviceUnavailable: The configured cluster is not running.
        RaymuError: RunInvalid, CoordinatorLost.
    """
    if not is_cluster_there(cluster.address):
        return {}
    with existing_cluster(cluster.address):
        actor = find_detached(coordinator_name(location))
        cipher = MessageCipher(RunStore(location, trust=NOTHING))
        return _call(actor, Locations(), no_progress, cipher) if actor else {}


def count_verdict(location: str, cluster: ClusterConfig, verdict: LastVerdict) -> bool:
    """Have a run's detached coordinator count a verdict in its metrics. Do nothing without one.

    Returns:
        Whether it was counted.

    Raises:
        DeviceUnavailable: The configured cluster is not running.
    """
    if not is_cluster_there(cluster.address):
        return False
    with existing_cluster(cluster.address):
        actor = find_detached(coordinator_name(location))
        if actor is not None:
            with suppress(RayError, AttributeError):  # it is gone, or of a version without these metrics
                ray.get(actor.count_verdict.remote(verdict), timeout=CLOSE_S)
                return True
    return False


def _end(actor: Any) -> None:
    """Have a coordinator leave its run, and kill its actor."""
    with suppress(RayError):  # it may be gone already, or hang
        ray.get(actor.close.remote(), timeout=CLOSE_S)
    ray.kill(actor)


def _call(
    actor: Any,
    call: Call[Result],
    progress: Progress,
    cipher: MessageCipher,
) -> Result:
    """Follow the stream of a call's progress. Returns its last item, the result."""
    item: Any = None
    with translate_ray_errors():
        for reference in _watched(actor.call.remote(cipher.encrypt(call)), call.answer_within_s):
            item = cipher.decrypt(ray.get(reference))
            if isinstance(item, StageProgress):
                progress(item)
            elif isinstance(item, RoomWait):
                _log.warning("raymu: %s", item)
    return cast(Result, item)


def _watched(stream: Any, within_s: float | None) -> Iterator[Any]:
    """Yield the references of a stream.

    Raises:
        CoordinatorLost: The cluster's head does not answer for 10 s, or the coordinator does not answer within `within_s`.
    """
    begun = last_seen = time.monotonic()
    while True:
        ready, _ = ray.wait([stream], timeout=_WATCH_S)
        if ready:
            try:
                yield next(stream)
            except StopIteration:
                return
        now = time.monotonic()
        if within_s is not None and now - begun > within_s:
            raise CoordinatorLost("it does not answer")
        if ready or is_head_there():
            last_seen = now
        elif now - last_seen > _HEAD_S:
            raise CoordinatorLost("the head of the cluster does not answer")


@contextmanager
def translate_ray_errors() -> Iterator[None]:
    """Raise what the coordinator raised, without Ray's wrapping, or CoordinatorLost if its actor is gone."""
    try:
        yield
    except RayTaskError as error:
        raise unwrap(error) from None
    except RayError as error:
        raise CoordinatorLost(first_sentence(error)) from error
