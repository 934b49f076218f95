"""Settings of the branch `cluster`: the resources of each shard, and where they are."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from raymu.config import limits
from raymu.config.fields import STRICT, Count, Name, NonNegative, Positive

_OWN_SETTINGS: Mapping[str, str] = {
    "CPU": "cpus_per_shard",
    "GPU": "gpus_per_shard",
    "memory": "memory_gb_per_shard",
    "accelerator_type": "accelerator",
}
"""Ray's own resources -> the settings that request them."""


@dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class ClusterConfig:
    """Resources of each shard's actor, and how actors are placed."""

    address: str | None = None
    """A Ray cluster's address. Null joins the cluster in RAY_ADDRESS or one on this machine, or else starts one there."""
    fleet: Literal["auto", "ray", "local"] = "auto"
    """`ray`; `local`: every shard in this process, one after the other, without Ray; or `auto`: Ray where a cluster is
    joined, where another setting needs it, or where the forecast says that it pays. The bits are the same."""
    cpus_per_shard: Positive = 1
    """CPUs that Ray reserves for each shard actor."""
    gpus_per_shard: NonNegative = 0
    """GPUs that Ray reserves for each shard actor; with 0.25, four shards share one."""
    memory_gb_per_shard: NonNegative = 0
    """Main memory that is reserved for a shard actor, in 10^9 bytes; 0 reserves none."""
    resources_per_shard: Mapping[Name, Positive] = Field(default_factory=dict)
    """Custom resources of the cluster's nodes, by their names in Ray."""
    accelerator: Name | None = None
    """Ray's accelerator_type, such as A100: one kind of GPU for all actors, and so one determinism class."""
    placement: Literal["any", "spread", "pack"] = "any"
    """Whether a placement group spreads the shard actors over the nodes, packs them on few, or neither."""
    workers_per_shard: Annotated[int, Field(ge=1, le=limits.MAX_RANKS)] = 1
    """Processes that share the batches of a shard, each with a shard's CPUs and GPUs. Part of the determinism class."""
    shards_per_lane: Annotated[int, Field(ge=1, le=limits.MAX_LANE)] = 1
    """Shards that a worker trains side by side, as one batched computation. Part of the determinism class."""
    threads: Annotated[int, Field(ge=1, le=limits.MAX_THREADS)] = 1
    """Threads of each operation. Part of the determinism class: another thread count gives other bits."""
    loading_threads: Annotated[int, Field(ge=0, le=limits.MAX_THREADS)] = 2
    """Threads that decode and augment pictures ahead of each step; 0 does it between the steps. No bit depends on them."""
    samples_memory_gb: NonNegative = 4
    """Main memory for the samples of a shard, in 10^9 bytes. A shard with more is read from a temporary file, batch by batch.
    No bit depends on it."""
    journal: str | None = None
    """Database URL of the journal (postgresql://...), without a password. By default SQLite beside the run."""
    live_actors: Count | None = None
    """Most shard actors alive at once. By default as many as the cluster's resources allow."""
    autoscaling: bool = False
    """Request up to live_actors even if there is no room yet: the cluster grows for them, and shrinks afterwards."""

    @property
    def setting_for_ray(self) -> str | None:
        """The first setting that only Ray can follow; None if this process can do the work as well."""
        values: Mapping[str, object] = {
            "address": self.address not in (None, "local"),
            "gpus_per_shard": self.gpus_per_shard,
            "memory_gb_per_shard": self.memory_gb_per_shard,
            "resources_per_shard": self.resources_per_shard,
            "placement": self.placement != "any",
            "workers_per_shard": self.workers_per_shard > 1,
            "live_actors": self.live_actors is not None,
        }
        return next((f"cluster.{name}" for name, value in values.items() if value), None)

    @model_validator(mode="after")
    def _amounts_are_countable(self) -> "ClusterConfig":
        amounts = (self.cpus_per_shard, self.gpus_per_shard, *self.resources_per_shard.values())
        if any(round(amount, 4) != amount for amount in amounts):
            raise ValueError("CPUs, GPUs and custom resources are counted in steps of 0.0001, as Ray does")
        if self.gpus_per_shard > 1 and self.gpus_per_shard % 1:
            raise ValueError("gpus_per_shard is a part of one GPU, or a whole number of them")
        return self

    @model_validator(mode="after")
    def _each_resource_has_one_setting(self) -> "ClusterConfig":
        for name in self.resources_per_shard:
            if setting := _OWN_SETTINGS.get(name.partition(":")[0]):
                raise ValueError(f"resources_per_shard: {name} is set by {setting}")
        if self.accelerator and not self.gpus_per_shard:
            raise ValueError("accelerator is a kind of GPU; it needs gpus_per_shard, such as 1 or 0.25")
        return self

    @model_validator(mode="after")
    def _growth_has_a_bound(self) -> "ClusterConfig":
        if self.autoscaling and self.live_actors is None:
            raise ValueError("autoscaling needs live_actors, the most shard actors that the cluster may grow to")
        if self.autoscaling and self.placement != "any":
            raise ValueError(
                f"placement {self.placement} reserves room for all actors at once, autoscaling adds it one by one; "
                "leave one of them out"
            )
        return self
