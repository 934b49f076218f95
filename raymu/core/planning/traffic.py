"""The usual kinds of request traffic, each as a row of a table; a trace of one follows from who is there and a seed."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from raymu.core.arrays import Floats
from raymu.core.partition import derive_seed, draw_fractions, identity_hashes
from raymu.core.planning.trace import RevocableSamples, Trace, TracedRequest
from raymu.errors import TraceInvalid

STORM_SHARE = 0.9
"""Of a storm's requests, those of the storm itself; the others come before and after it."""
STORM_LENGTH = 1 / 50
"""Of the duration, the mean time that a storm's request comes after its outbreak."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Traffic:
    """What kind of requests, and how many. seed: another one gives another trace of the same traffic"""

    kind: str
    count: int
    over_s: float = 3600.0
    """Time within which the requests come."""
    size: int = 10
    """Requests of one burst."""
    label: int | None = None
    """The class that class-targeted requests are about; drawn by the seed where not given."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.kind not in TRAFFIC:
            raise TraceInvalid(f"{self.kind!r} is no kind of traffic; choose among {', '.join(TRAFFIC)}")
        if self.count < 1 or self.size < 1 or self.seed < 0 or not 0.0 < self.over_s < float("inf"):
            raise TraceInvalid(f"traffic {self}: count, size and over must be positive, and seed 0 or more")

    def __str__(self) -> str:
        """As `parse_traffic` takes it."""
        defaults = {one.name: one.default for one in fields(self)}
        options = {name: getattr(self, _OPTIONS[name][0]) for name in _OPTIONS}
        given = [
            f",{name}={value!r}".removesuffix(".0")
            for name, value in options.items()
            if value != defaults[_OPTIONS[name][0]]
        ]
        return f"{self.kind}:{self.count}" + "".join(given)


_OPTIONS: Mapping[str, tuple[str, type[int] | type[float]]] = {
    "over": ("over_s", float),
    "size": ("size", int),
    "label": ("label", int),
    "seed": ("seed", int),
}
"""Name in the text -> field and its type."""


def parse_traffic(text: str) -> Traffic:
    """`uniform:50`, or with options: `burst:200,size=20,over=600,seed=1`. Raises TraceInvalid for anything else."""
    head, *options = text.split(",")
    kind, _, count = head.partition(":")
    values: dict[str, int | float] = {}
    try:
        for option in options:
            name, _, value = option.strip().partition("=")
            field, kind_of_value = _OPTIONS[name]
            values[field] = kind_of_value(value)
        return Traffic(kind=kind.strip(), count=int(count), **values)  # type: ignore[arg-type]
    except (ValueError, KeyError):
        raise TraceInvalid(
            f"{text!r} is no traffic; write it as uniform:50 or burst:200,size=20 (options: {', '.join(_OPTIONS)})"
        ) from None


def draw_trace(traffic: Traffic, population: RevocableSamples) -> Trace:
    """A trace of this traffic. Raises TraceInvalid where the population has too few samples, or no owners, for it.

    Who asks is a race in which everyone's time follows from identity and seed alone (Efraimidis and Spirakis, 2006): a
    sample that is not there leaves its place to the next one and changes nothing else.
    """
    pattern = TRAFFIC[traffic.kind]
    times = pattern.arrivals(traffic, np.random.default_rng(derive_seed(traffic.seed, traffic.kind, "arrivals")))
    if pattern.is_by_owner:
        owners = _first_owners(traffic, population)
        requests = [TracedRequest(at_s=at, owner=owner) for at, owner in zip(times.tolist(), owners, strict=True)]
    else:
        ids = population.ids[_first(traffic, population.hashes, _weights(traffic, population), "samples")].tolist()
        requests = [TracedRequest(at_s=at, ids=(one,)) for at, one in zip(times.tolist(), ids, strict=True)]
    return Trace(requests=tuple(requests))


def slice_prior(traffic: Traffic, slice_samples: Floats) -> Floats:
    """How probable it is that a request's sample lives in each slice. slice_samples, returns: (slices,) float64"""
    weights = TRAFFIC[traffic.kind].slice_bias(len(slice_samples)) * slice_samples
    return weights / weights.sum()


def _weights(traffic: Traffic, population: RevocableSamples) -> Floats:
    """How readily each sample is named, relative to others. returns: (samples,) float64"""
    pattern = TRAFFIC[traffic.kind]
    weights = pattern.slice_bias(population.slice_count)[population.slices]
    if not pattern.is_by_class:
        return weights
    label = traffic.label
    if label is None:
        labels = np.unique(population.labels)
        label = int(labels[derive_seed(traffic.seed, "label") % len(labels)])
    return np.where(population.labels == label, weights, 0.0)


def _first_owners(traffic: Traffic, population: RevocableSamples) -> list[str]:
    owners = sorted(population.rows_of_owner)
    if not owners:
        raise TraceInvalid(f"traffic {traffic} needs owners, and these data name none: set data.owner to their column")
    hashes = identity_hashes(owners, seed=0, purpose="traffic")
    return [owners[place] for place in _first(traffic, hashes, np.ones(len(owners)), "owners")]


def _first(traffic: Traffic, hashes: npt.NDArray[np.uint64], weights: Floats, what: str) -> npt.NDArray[np.int64]:
    """Who comes first in the race. hashes: (runners,) uint64; weights: (runners,) float64; returns: (count,) int64"""
    racing = np.flatnonzero(weights)
    if len(racing) < traffic.count:
        raise TraceInvalid(
            f"traffic {traffic} names {traffic.count} {what}, and there are {len(racing)}; lower the count"
        )
    fractions = draw_fractions(hashes[racing], seed=derive_seed(traffic.seed, traffic.kind, what))
    times = -np.log1p(-fractions) / weights[racing]
    return racing[np.lexsort((hashes[racing], times))[: traffic.count]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Pattern:
    """arrivals: (count,) float64 seconds, ascending; slice_bias: slices -> (slices,) float64, relative, of a sample"""

    arrivals: Callable[[Traffic, np.random.Generator], Floats]
    slice_bias: Callable[[int], Floats] = np.ones
    is_by_class: bool = False
    is_by_owner: bool = False
    together: Callable[[Traffic], int] = lambda _traffic: 1
    """How many requests come at the same moment."""


def _one_by_one(traffic: Traffic, random: np.random.Generator) -> Floats:
    return np.sort(random.random(traffic.count)) * traffic.over_s


def _in_bursts(traffic: Traffic, random: np.random.Generator) -> Floats:
    """Bursts of `size` requests, each at one moment; the last may be smaller."""
    bursts = -(-traffic.count // traffic.size)
    return np.repeat(np.sort(random.random(bursts)) * traffic.over_s, traffic.size)[: traffic.count]


def _in_a_storm(traffic: Traffic, random: np.random.Generator) -> Floats:
    """An outbreak within the first half, that abates exponentially; a few requests come whenever."""
    stormy = round(STORM_SHARE * traffic.count)
    outbreak = random.random() / 2
    # the inverse of the distribution, cut off at the end of the duration
    cut = -np.expm1(-(1.0 - outbreak) / STORM_LENGTH)
    storm = outbreak - STORM_LENGTH * np.log1p(-cut * random.random(stormy))
    return np.sort(np.concatenate([storm, random.random(traffic.count - stormy)])) * traffic.over_s


def _towards_early(slices: int) -> Floats:
    return np.arange(slices, 0, -1, dtype=np.float64)


def _towards_late(slices: int) -> Floats:
    return np.arange(1, slices + 1, dtype=np.float64)


TRAFFIC: Mapping[str, Pattern] = {
    "uniform": Pattern(arrivals=_one_by_one),
    "burst": Pattern(arrivals=_in_bursts, together=lambda traffic: min(traffic.size, traffic.count)),
    "owner": Pattern(arrivals=_one_by_one, is_by_owner=True),
    "early": Pattern(arrivals=_one_by_one, slice_bias=_towards_early),
    "late": Pattern(arrivals=_one_by_one, slice_bias=_towards_late),
    "class": Pattern(arrivals=_one_by_one, is_by_class=True),
    "storm": Pattern(arrivals=_in_a_storm),
}
