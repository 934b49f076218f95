"""A shard's worker as an actor, and its location."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import ray

from raymu.core.trust import EVERYTHING, Trust
from raymu.core.uri import redacted
from raymu.errors import RaymuError, RunInvalid
from raymu.imports import imports_uncollected, own_process
from raymu.runtime.messages import MessageCipher
from raymu.runtime.nodes import node_names
from raymu.service.event_log import log_to_stderr
from raymu.service.shard.messages import StageProgress, Work, WorkReport
from raymu.store.run import RunStore

if TYPE_CHECKING:
    from raymu.service.shard.lane_worker import LaneWorker
    from raymu.service.shard.worker import ShardWorker


@dataclass(frozen=True, kw_only=True, slots=True)
class ActorLocation:
    """The node and the device of an actor."""

    node_id: str
    """Ray's id of the node."""
    gpus: tuple[str, ...]
    """Ray's numbers of the actor's GPUs on that node."""
    device: str
    """PyTorch's name of the device."""


class ShardService:
    """A plain class that Ray runs as an actor. Its first call is `open`, which imports what trains.

    The processes that only call the actor do without PyTorch.
    """

    _worker: "ShardWorker"
    _lane_worker: "LaneWorker"
    _cipher: MessageCipher

    def open(self, location: str, trust: Trust = EVERYTHING) -> ActorLocation:
        """Open a run. This is not the constructor, because Ray passes on a constructor's errors as text.

        Args:
            location: The run.
            trust: The demands of the run that are followed: what its coordinator was trusted with.

        Raises:
            RunInvalid: This node cannot open the run. The message names the node.
        """
        log_to_stderr()
        own_process()
        with imports_uncollected():
            from raymu.service.shard.lane_worker import LaneWorker

        context = ray.get_runtime_context()
        node_id = context.get_node_id()
        try:
            store = RunStore(location, trust=trust)
            self._cipher, self._worker = MessageCipher(store), self._make_worker(store)
            self._lane_worker = LaneWorker(store)
        except RaymuError as error:
            name = node_names().get(node_id, node_id)
            problem = error.problem if isinstance(error, RunInvalid) else str(error)
            raise RunInvalid(
                redacted(location),
                f"node {name} cannot open it ({problem}); see that the run's directory is there too, or its credentials",
            ) from error
        gpus = tuple(context.get_accelerator_ids().get("GPU", ()))
        return ActorLocation(node_id=node_id, gpus=gpus, device=self._worker.device_name)

    def run(self, message: bytes) -> Iterator[StageProgress | WorkReport]:
        """Do a piece of work, which is encrypted. Yields its progress, and its report last: they name no sample."""
        work: Work = self._cipher.decrypt(message)
        yield from self._worker.run(work)

    def run_lane(self, message: bytes) -> Iterator[StageProgress | WorkReport]:
        """Do several pieces of work of one lane, which are encrypted. Yields the progress and the reports of all."""
        works: list[Work] = self._cipher.decrypt(message)
        yield from self._lane_worker.run(works)

    def _make_worker(self, store: RunStore) -> "ShardWorker":
        from raymu.service.shard.worker import ShardWorker

        return ShardWorker(store)
