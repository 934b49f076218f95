"""Held-out samples, which no shard trains on, and which every shard is validated on."""

from collections.abc import Callable
from functools import cached_property

from raymu.config import TargetName, ValidationConfig
from raymu.core.arrays import Targets
from raymu.data.rows import Rows


class HeldOut:
    """The held-out samples of a run, the same for every shard. They are read when they are first needed."""

    def __init__(
        self, read: Callable[[], tuple[Rows, Targets]], settings: ValidationConfig, target: TargetName
    ) -> None:
        """Name the samples.

        Args:
            read: Returns them: (samples, *input shape) or columns, and (samples,) int64 or (samples, outputs) float32. It
                travels to other processes.
            settings: When they are measured on.
            target: The kind of their targets.
        """
        self._read, self.settings, self.target = read, settings, target

    def __reduce__(
        self,
    ) -> tuple[type["HeldOut"], tuple[Callable[[], tuple[Rows, Targets]], ValidationConfig, TargetName]]:
        return HeldOut, (self._read, self.settings, self.target)

    @cached_property
    def samples(self) -> tuple[Rows, Targets]:
        """The samples and their targets. Raises FileMissing, FileCorrupt."""
        return self._read()

    @property
    def rows(self) -> Rows:
        return self.samples[0]

    @property
    def labels(self) -> Targets:
        return self.samples[1]
