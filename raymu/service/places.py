"""Where the shards live that a fleet has in memory."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardPlace:
    """The actor that holds a shard's checkpoints: at work on it, or as it left them. node: its name, as Ray has it"""

    node: str
    node_id: str
    device: str
    """The GPU's name, or the CPU capability, as in the determinism class."""
    gpus: tuple[str, ...]
    """Ray's numbers of the node's GPUs that it may use, a part of one too."""
    workers: int
    """Who train the shard: where there are several, they are up during a training only, on nodes and devices of their own."""
    is_at_work: bool


Places: TypeAlias = Mapping[int, ShardPlace]
"""By shard; a shard that is not there lies in the run's directory only."""
