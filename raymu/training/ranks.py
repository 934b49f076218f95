"""The ranks that share the batches of a shard: each computes its part of a batch, and all of them take the same step.

A batch's gradient is the sum of its parts' gradients, each weighted by the part's share of the batch, and always added in
the order of the ranks. So its bits depend on the number of ranks alone: not on whether each of them is a process, or one
process plays them all.
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
    """What training asks of them. own: the ranks that this process plays, in ascending order"""

    @property
    def count(self) -> int: ...

    @property
    def own(self) -> Sequence[int]: ...

    def devices(self, name: str) -> str:
        """What all ranks compute on, given this process's device: its name, or several where they are not alike."""
        ...

    def share_buffers(self, model: nn.Module) -> None:
        """Give all ranks the first one's buffers."""
        ...

    def add_up(self, parts: Sequence[Tensor]) -> Tensor:
        """The sum over all ranks. parts: (parameters,) of each own rank. returns: (parameters,). Raises RankLost."""
        ...


class SimulatedRanks:
    """One process plays all ranks, one after the other."""

    def __init__(self, count: int) -> None:
        self.count, self.own = count, range(count)

    def devices(self, name: str) -> str:
        return name

    def share_buffers(self, model: nn.Module) -> None:
        """There is one model, and each epoch starts with what the first rank left in it."""

    def add_up(self, parts: Sequence[Tensor]) -> Tensor:
        return _in_order(parts)


class DistributedRanks:
    """Every rank is a process of the default process group, which is there already.

    Unlike ranks that one process plays, they have to agree on what they train.
    """

    def __init__(self) -> None:
        self.count, self.own = dist.get_world_size(), (dist.get_rank(),)
        # Gloo meets in main memory: so ranks may share a GPU, which NCCL refuses.
        self._meets_at = torch.device("cuda" if dist.get_backend() == "nccl" else "cpu")

    def agree(self, number: int) -> int:
        """What the first rank says. Raises RankLost."""
        said = torch.tensor([number], device=self._meets_at)
        with _exchange():
            dist.broadcast(said, src=0)
        return int(said)

    def devices(self, name: str) -> str:
        names: list[str] = [""] * self.count
        with _exchange():
            dist.all_gather_object(names, name)
        return " and ".join(sorted(set(names)))

    def share_buffers(self, model: nn.Module) -> None:
        for buffer in model.buffers():
            shared = buffer.detach().to(self._meets_at)
            with _exchange():
                dist.broadcast(shared, src=0)
            buffer.detach().copy_(shared)

    def add_up(self, parts: Sequence[Tensor]) -> Tensor:
        """Each rank adds up one segment of the gradient, so no more is sent than by an all-reduce, whose order is its own."""
        [own] = parts
        width = -(-len(own) // self.count)
        sent = own.new_zeros(self.count * width, device=self._meets_at)
        sent[: len(own)] = own
        received, whole = torch.empty_like(sent), torch.empty_like(sent)
        with _exchange():
            dist.all_to_all_single(received, sent)
            dist.all_gather(list(whole.split(width)), _in_order(received.split(width)))
        return whole[: len(own)].to(own.device)


@contextmanager
def _exchange() -> Iterator[None]:
    """Raises RankLost where a rank does not answer."""
    try:
        yield
    except RuntimeError as error:
        raise RankLost(one_line(error)) from error


def _in_order(parts: Sequence[Tensor]) -> Tensor:
    total = parts[0].clone()
    for part in parts[1:]:
        total += part
    return total
