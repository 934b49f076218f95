"""The code and the files that a run's factories are made of, by their digests."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True, slots=True)
class CodeRecord:
    """What the factories of a run consisted of at one time. Two records are compared, and nothing is run."""

    modules: Mapping[str, str] = field(default_factory=dict)
    """Name of a module of the user's -> SHA-256, in hex, of its source."""
    files: Mapping[str, str] = field(default_factory=dict)
    """File that an argument of a factory names -> SHA-256, in hex."""
    distributions: Mapping[str, str] = field(default_factory=dict)
    """Installed distribution that these modules import -> version."""
    initial_weights: str = ""
    """SHA-256, in hex, of a new model's state, before any training; empty if the model is not a factory's."""
    torch: str = ""
    """Version of PyTorch that drew these weights. Those of two versions are not compared."""

    def differences(self, now: "CodeRecord") -> tuple[str, ...]:
        """Name what is not as it was: `models (its code changed)`. now: the same things, as they are now"""
        changes = [
            *_changed(self.modules, now.modules, "its code changed"),
            *_changed(self.files, now.files, "the file changed"),
            *(
                f"{name} ({version} then, {now.distributions.get(name, 'not installed')} now)"
                for name, version in self.distributions.items()
                if now.distributions.get(name) != version
            ),
        ]
        if not changes and self.torch == now.torch and self.initial_weights != now.initial_weights:
            changes.append("the model (it starts from other weights)")
        return tuple(changes)


def _changed(before: Mapping[str, str], now: Mapping[str, str], how: str) -> list[str]:
    names = [*before, *(name for name in now if name not in before)]
    return [
        f"{name} ({'it is missing' if name not in now else 'it was not there' if name not in before else how})"
        for name in names
        if before.get(name) != now.get(name)
    ]
