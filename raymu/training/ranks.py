"""The ranks that share the batches of a shard: each computes its part of a batch, and all of them take the same step.

A batch's gradient is the sum of its parts' gradients, each weighted by the part's share of the batch, and always added in
the order of the ranks. So its bits depend on the number of ranks alone, and not on whether each rank is a process or one
process simulates them all. An all-reduce, as DistributedDataParallel uses it, adds in an order of its own.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import torch
import torch.distributed as dist
from torch import Tensor, nn

from raymu.errors import RankLost
from raymu.text import one_line


class Ranks(Protocol):
    """The ranks that train one shard together."""

    @property
    def count(self) -> int:
        """Number of ranks that share each batch."""
        ...

    @property
    def local_ranks(self) -> Sequence[int]:
        """The ranks that this process computes, in ascending order."""
        ...

    def devices(self, name: str) -> str:
        """Name the devices of all ranks: one name, or several if they differ. name: this process's device"""
        ...

    def broadcast_buffers(self, model: nn.Module) -> None:
        """Give all ranks the first one's buffers."""
        ...

    def ordered_all_reduce(self, parts: Sequence[Tensor]) -> Tensor:
        """Sum over all ranks, in their order.

        Args:
            parts: (parameters,) of each local rank.

        Returns:
            (parameters,)

        Raises:
            RankLost: Another rank does not answer.
        """
        ...


class SimulatedRanks:
    """Ranks that one process computes, one after the other."""

    def __init__(self, count: int) -> None:
        self.count, self.local_ranks = count, range(count)

    def devices(self, name: str) -> str:
        return name

    def broadcast_buffers(self, model: nn.Module) -> None:
        """Do nothing: there is one model, and each epoch starts with what the first rank left in it."""

    def ordered_all_reduce(self, parts: Sequence[Tensor]) -> Tensor:
        return _sum_in_order(parts)


class DistributedRanks:
    """Ranks that are the processes of the default process group, which must be initialised.

    Unlike simulated ranks, they have to agree on what they train.
    """

    def __init__(self) -> None:
        self.count, self.local_ranks = dist.get_world_size(), (dist.get_rank(),)
        # Gloo exchanges in main memory: so ranks may share a GPU, which NCCL refuses.
        self._exchange_device = torch.device("cuda" if dist.get_backend() == "nccl" else "cpu")

    def devices(self, name: str) -> str:
        names: list[str] = [""] * self.count
        with _exchange():
            dist.all_gather_object(names, name)
        return " and ".join(sorted(set(names)))

    def broadcast_buffers(self, model: nn.Module) -> None:
        for buffer in model.buffers():
            shared = buffer.detach().to(self._exchange_device)
            with _exchange():
                dist.broadcast(shared, src=0)
            buffer.detach().copy_(shared)

    def ordered_all_reduce(self, parts: Sequence[Tensor]) -> Tensor:
        """Sum a tensor over the ranks. Each rank sums one segment, so no more is sent than by an all-reduce."""
        [own] = parts
        width = -(-len(own) // self.count)
        sent = own.new_zeros(self.count * width, device=self._exchange_device)
        sent[: len(own)] = own
        received, total = torch.empty_like(sent), torch.empty_like(sent)
        with _exchange():
            dist.all_to_all_single(received, sent)
            dist.all_gather(list(total.split(width)), _sum_in_order(received.split(width)))
        return total[: len(own)].to(own.device)


@contextmanager
def _exchange() -> Iterator[None]:
    """Translate errors of an exchange: raise RankLost if a rank does not answer."""
    try:
        yield
    except RuntimeError as error:
        raise RankLost(one_line(error)) from error


def _sum_in_order(parts: Sequence[Tensor]) -> Tensor:
    total = parts[0].clone()
    for part in parts[1:]:
        total += part
    return total
