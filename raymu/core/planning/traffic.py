"""Kinds of request traffic, as rows of a table. A trace follows from the kind, the population and a seed."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from raymu.core.arrays import Floats
from raymu.core.partition import derive_seed, identity_hashes, keyed_uniforms
from raymu.core.planning.trace import RevocableSamples, Trace, TracedRequest
from raymu.errors import TraceInvalid

STORM_SHARE = 0.9
"""Share of a storm's requests that belong to the storm itself; the others are spread over the whole duration."""
STORM_LENGTH = 1 / 50
"""Mean time of a storm's request after its outbreak, as a share of the duration."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Traffic:
    """A kind of requests, and their number."""

    kind: str
    count: int
    over_s: float = 3600.0
    """Duration in seconds."""
    size: int = 10
    """Requests of one burst."""
    label: int | None = None
    """Class of class-targeted requests; None draws it by the seed."""
    seed: int = 0
    """Another seed gives another trace of the same traffic."""

    def __post_init__(self) -> None:
        if self.kind not in TRAFFIC:
            raise TraceInvalid(f"{self.kind!r} is not a kind of traffic; choose among {', '.join(TRAFFIC)}")
        if self.count < 1 or self.size < 1 or self.seed < 0 or not 0.0 < self.over_s < float("inf"):
            raise TraceInvalid(f"traffic {self}: count, size and over must be positive, and seed 0 or more")

    def __str__(self) -> str:
        """Return the text that `parse_traffic` reads."""
        defaults = {field.name: field.default for field in fields(self)}
        options = {name: getattr(self, _OPTIONS[name][0]) for name in _OPTIONS}
        changed = [
            f",{name}={value!r}".removesuffix(".0")
            for name, value in options.items()
            if value != defaults[_OPTIONS[name][0]]
        ]
        return f"{self.kind}:{self.count}" + "".join(changed)


_OPTIONS: Mapping[str, tuple[str, type[int] | type[float]]] = {
    "over": ("over_s", float),
    "size": ("size", int),
    "label": ("label", int),
    "seed": ("seed", int),
}
"""The field and its type, by the name of the option."""


def parse_traffic(text: str) -> Traffic:
    """Read `uniform:50`, or with options `burst:200,size=20,over=600,seed=1`. Raises TraceInvalid for anything else."""
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
            f"{text!r} is not traffic; write it as uniform:50 or burst:200,size=20 (options: {', '.join(_OPTIONS)})"
        ) from None


def draw_trace(traffic: Traffic, population: RevocableSamples) -> Trace:
    """Draw a trace of this traffic.

    Samples are drawn by a race in which the time of each follows from its identity and the seed alone (Efraimidis and
    Spirakis, 2006): if a sample is missing, the next one takes its place and nothing else changes.

    Raises TraceInvalid if the population has too few samples, or no owners.
    """
    pattern = TRAFFIC[traffic.kind]
    times = pattern.arrivals(traffic, np.random.default_rng(derive_seed(traffic.seed, traffic.kind, "arrivals")))
    if pattern.is_by_owner:
        owners = _first_owners(traffic, population)
        requests = [TracedRequest(at_s=at, owner=owner) for at, owner in zip(times.tolist(), owners, strict=True)]
    else:
        ids = population.ids[_first(traffic, population.hashes, _weights(traffic, population), "samples")].tolist()
        requests = [TracedRequest(at_s=at, ids=(drawn,)) for at, drawn in zip(times.tolist(), ids, strict=True)]
    return Trace(requests=tuple(requests))


def slice_prior(traffic: Traffic, slice_samples: Floats) -> Floats:
    """Return the probability that a request's sample is in each slice. Argument and result are (slices,) float64."""
    weights = TRAFFIC[traffic.kind].slice_bias(len(slice_samples)) * slice_samples
    return weights / weights.sum()


def _weights(traffic: Traffic, population: RevocableSamples) -> Floats:
    """(samples,) float64 relative probability of each sample to be named."""
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
    return [owners[index] for index in _first(traffic, hashes, np.ones(len(owners)), "owners")]


def _first(traffic: Traffic, hashes: npt.NDArray[np.uint64], weights: Floats, what: str) -> npt.NDArray[np.int64]:
    """Draw without replacement, by hashes (candidates,) uint64 and weights (candidates,) float64. Returns (count,) int64."""
    candidates = np.flatnonzero(weights)
    if len(candidates) < traffic.count:
        raise TraceInvalid(
            f"traffic {traffic} names {traffic.count} {what}, and there are {len(candidates)}; lower the count"
        )
    uniforms = keyed_uniforms(hashes[candidates], seed=derive_seed(traffic.seed, traffic.kind, what))
    times = -np.log1p(-uniforms) / weights[candidates]
    return candidates[np.lexsort((hashes[candidates], times))[: traffic.count]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Pattern:
    """A row of the table of traffic."""

    arrivals: Callable[[Traffic, np.random.Generator], Floats]
    """Draws ascending times, (count,) float64 seconds."""
    slice_bias: Callable[[int], Floats] = np.ones
    """Returns the relative probability of a sample of each slice, (slices,) float64."""
    is_by_class: bool = False
    is_by_owner: bool = False
    together: Callable[[Traffic], int] = lambda _traffic: 1
    """Returns how many requests arrive at the same moment."""


def _one_by_one(traffic: Traffic, random: np.random.Generator) -> Floats:
    return np.sort(random.random(traffic.count)) * traffic.over_s


def _in_bursts(traffic: Traffic, random: np.random.Generator) -> Floats:
    """Draw bursts of `size` requests, each at one moment. The last may be smaller."""
    bursts = -(-traffic.count // traffic.size)
    return np.repeat(np.sort(random.random(bursts)) * traffic.over_s, traffic.size)[: traffic.count]


def _in_a_storm(traffic: Traffic, random: np.random.Generator) -> Floats:
    """Draw an outbreak within the first half that abates exponentially, and a few requests at any time."""
    stormy = round(STORM_SHARE * traffic.count)
    outbreak = random.random() / 2
    # Inverse of the exponential distribution, cut off at the end of the duration.
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
