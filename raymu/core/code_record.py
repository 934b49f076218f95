"""The code and the files that a run's factories are made of, by their digests."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True, slots=True)
class CodeRecord:
    """The parts of a run's factories at one time. Two records are compared, and nothing is run."""

    modules: Mapping[str, str] = field(default_factory=dict)
    """Name of a module of the user's -> SHA-256, in hex, of its source."""
    files: Mapping[str, str] = field(default_factory=dict)
    """File that an argument of a factory names -> SHA-256, in hex."""
    distributions: Mapping[str, str] = field(default_factory=dict)
    """Installed distribution that these modules import -> version."""
    initial_weights: str = ""
    """SHA-256, in hex, of a new model's state, before any training; empty if the model is not a factory's."""
    constants: Mapping[str, str] = field(default_factory=dict)
    """Tensor that code keeps outside of checkpoints, and that training does not change -> its checksum."""
    torch: str = ""
    """Version of PyTorch that drew these weights. Those of two versions are not compared, and constants neither."""

    def differences(self, now: "CodeRecord") -> tuple[str, ...]:
        """Name what is not as it was: `models (its code changed)`. now: the same things, as they are now"""
        # An argument that names no file here is none of its factory's files: that would fail without it.
        files = [name for name, digest in self.files.items() if now.files.get(name, digest) != digest]
        modules = sorted(
            name for name in {*self.modules, *now.modules} if self.modules.get(name) != now.modules.get(name)
        )
        changes = [
            *(f"{name} ({_change(self.modules.get(name), now.modules.get(name))})" for name in modules),
            *(f"{name} (the file changed)" for name in files),
            *(
                f"{name} ({version} then, {now.distributions.get(name, 'not installed')} now)"
                for name, version in self.distributions.items()
                if now.distributions.get(name) != version
            ),
        ]
        if changes or self.torch != now.torch:
            return tuple(changes)
        if self.initial_weights != now.initial_weights:
            return ("the model (it starts from other weights)",)
        # One that is not there yet, or no more, is such as a table that the first prediction fills.
        return tuple(
            f"{name} (it has another value in each process; draw it with a seed of its own)"
            for name, checksum in self.constants.items()
            if now.constants.get(name, checksum) != checksum
        )


def _change(before: str | None, now: str | None) -> str:
    if before is None:
        return "it was not used then"
    return "it is not used now" if now is None else "its code changed"
