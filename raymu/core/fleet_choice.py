"""The choice between this process and a Ray cluster, by the seconds that either would take."""

import math
from dataclasses import dataclass
from typing import Literal

START_RAY_S = 4.0
"""Seconds to start Ray on one machine, and to end it. As experiments/commands.py measured."""
START_ACTORS_S = 3.0
"""Seconds until the coordinator's actor and the first shard actors are up, which import PyTorch. Measured there too."""

INGEST_ON_RAY_BYTES = 2**32
"""Bytes of a table's columns beyond which a cluster reads it. One process, whose memory does not grow with the table, reads
about 50 MB a second. A cluster takes some 15 s to begin, and about five times the CPU time, since rows are encrypted and
travel: for a smaller table, eight CPUs or fewer are no earlier."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FleetChoice:
    """Where the work of a call is done, and why. The bits are the same in either place."""

    fleet: Literal["ray", "local"]
    """`ray`, or `local`: this process."""
    reason: str
    """Why, in one line."""
    is_forecast: bool = False
    """Whether only the forecast says so, and nothing that was configured, or that is up."""

    def __str__(self) -> str:
        """Say what was chosen and why."""
        return f"{'Ray' if self.fleet == 'ray' else 'this process'}: {self.reason}"


@dataclass(frozen=True, kw_only=True, slots=True)
class FleetWork:
    """The work of a call, as far as it is known before it begins."""

    shards: int
    """Shards that are trained, at most."""
    seconds: float
    """Compute seconds of all of them together."""


def forecast_fleet(work: FleetWork, *, workers: int) -> FleetChoice:
    """Choose Ray if the work is done earlier there, although Ray has to be started for it.

    Args:
        work: The work.
        workers: Shard actors that this machine has room for.
    """
    side_by_side = max(1, min(workers, work.shards))
    on_ray_s = START_RAY_S + START_ACTORS_S + work.seconds * math.ceil(work.shards / side_by_side) / max(1, work.shards)
    fleet: Literal["ray", "local"] = "ray" if on_ray_s < work.seconds else "local"
    here, there = _about(work.seconds), _about(on_ray_s)
    return FleetChoice(fleet=fleet, reason=f"about {here} of work, {there} with Ray", is_forecast=True)


def free_cpus(*, usable: int, machine: int, load: float) -> float:
    """Return how many CPUs other programs leave to this process, at least one.

    Args:
        usable: CPUs that this process may use.
        machine: CPUs of the machine.
        load: Mean number of processes that wanted to compute in the last minute, this one among them.
    """
    others = max(0.0, load - 1.0) * usable / machine
    return max(1.0, usable - others)


def _about(seconds: float) -> str:
    """Round seconds to what a forecast can tell."""
    return f"{seconds:.1f} s" if seconds < 10.0 else f"{seconds:,.0f} s"
