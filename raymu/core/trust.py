"""The demands of a run on whoever opens it, and the trust that meets them.

A run directory is data, perhaps someone else's. Its settings can name code to import and machines to connect to, with the
rights and the credentials of whoever opens it. Such a demand is met only if the caller made it in settings of their own,
when they trained the run, or trusts it since.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from raymu.config import Config
from raymu.core.uri import is_uri, locations_of, redacted
from raymu.errors import RunUntrusted
from raymu.text import one_line

_OWN_CLUSTERS = (None, "auto", "local")
"""Addresses that lead to no other cluster than the caller's own."""
_SHOWN = 120
"""Characters of a demand in a message."""


@dataclass(frozen=True, kw_only=True, slots=True, order=True)
class Demand:
    """One setting of a run that has its reader run code, or connect to a machine."""

    setting: str
    """Name of the setting, such as cluster.journal."""
    value: str
    """What it names: a function to import, a database, a cluster, or a file elsewhere."""
    args: str = "{}"
    """Arguments of the function, as canonical JSON."""

    def __str__(self) -> str:
        args = "" if self.args == "{}" else f" with {self.args}"
        return one_line(f"{self.setting} {redacted(self.value)}{args}", longest=_SHOWN)


def demands_of(config: Config) -> tuple[Demand, ...]:
    """Return the demands of a run with these settings."""
    return tuple(_demands(config))


@dataclass(frozen=True, kw_only=True, slots=True)
class Trust:
    """The demands that a caller trusts. It travels to the coordinator and the workers of a run."""

    demands: frozenset[Demand] = frozenset()
    has_all: bool = False
    """True for runs that the caller trusts whatever they ask for."""

    def covers(self, demand: Demand) -> bool:
        """Return whether a demand is trusted."""
        return self.has_all or demand in self.demands

    def require(self, location: str, config: Config, *settings: str) -> None:
        """Raise RunUntrusted if a run makes a demand with one of the settings, and it is not trusted.

        Args:
            location: The run, as messages show it.
            config: The settings of the run.
            settings: Names of settings, or their beginnings, such as cluster.journal.
        """
        for demand in demands_of(config):
            if demand.setting.startswith(settings) and not self.covers(demand):
                raise RunUntrusted(location, str(demand))

    def and_also(self, demands: Iterable[Demand]) -> "Trust":
        """Return this trust with more demands."""
        return Trust(demands=self.demands.union(demands), has_all=self.has_all)


EVERYTHING = Trust(has_all=True)
"""The trust in settings of the caller's own."""
NOTHING = Trust()
"""The trust in a run of anyone."""

CODE = (
    "task.factory",
    "model.factory",
    "training.loss.factory",
    "training.optimizer.factory",
    "training.schedule.factory",
)
"""Settings that name code."""


def _demands(config: Config) -> Iterator[Demand]:
    training = config.training
    components = (config.task, config.model, training.loss, training.optimizer, training.schedule)
    for setting, component in zip(CODE, components, strict=True):
        if component is not None and component.factory is not None:
            args = json.dumps(dict(component.args), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
            yield Demand(setting=setting, value=component.factory, args=args)
    for callback in config.callbacks:  # which write to places, or connect to them
        args = json.dumps(dict(callback.args), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        yield Demand(setting="callbacks", value=str(callback), args=args)
    if config.cluster.journal is not None:
        yield Demand(setting="cluster.journal", value=config.cluster.journal)
    if config.registry is not None:
        yield Demand(setting="registry.url", value=config.registry.url)
        yield Demand(setting="registry.key_file", value=config.registry.key_path)
    if config.cluster.fleet != "local" and config.cluster.address not in _OWN_CLUSTERS:
        yield Demand(setting="cluster.address", value=str(config.cluster.address))
    held_out = config.validation.data if config.validation else None
    files = (("data.train", config.data.train), ("data.test", config.data.test), ("validation.data", held_out))
    for setting, location in files:
        for part in locations_of(location or ""):
            if is_uri(part):
                yield Demand(setting=setting, value=part)
