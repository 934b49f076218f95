"""The parts of a run's history of slices, its training and each extension, with the files that the user has of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from raymu.config import PartitionConfig
from raymu.core.partition import Indices, homes
from raymu.core.uri import locations_of
from raymu.data.frames import TableData
from raymu.data.tables import SampleTable


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class HistoryPart:
    """Samples that became slices of a run together."""

    data: TableData
    first: int
    """Index of their first slice in each shard; 0 for the first training."""
    slices: int
    """Number of their slices."""

    def homes(self, table: SampleTable, partition: PartitionConfig) -> tuple[Indices, Indices]:
        """Return the shard and the slice of each sample, two (samples,) int64.

        Args:
            table: The samples.
            partition: The settings of the run.
        """
        if self.first == 0:
            return sample_homes(table, partition)
        return added_homes(table, partition, first=self.first, slices=self.slices)


def sample_homes(table: SampleTable, partition: PartitionConfig) -> tuple[Indices, Indices]:
    """Return the shard and the slice of every row of a table, two (samples,) int64."""
    return homes(table.ids.tolist(), partition, owners=table.owners, risks=table.risks)


def added_homes(table: SampleTable, partition: PartitionConfig, *, first: int, slices: int) -> tuple[Indices, Indices]:
    """Return the shard and the slice of every added sample, by the policy of the run among the added slices.

    Args:
        table: The added samples.
        partition: The settings of the run.
        first: Index of the first added slice.
        slices: Number of added slices.
    """
    among = replace(partition, slices=slices, risk_bands=None)
    shards, added = homes(table.ids.tolist(), among, owners=table.owners, risks=table.risks)
    return shards, added + first


def history_parts(data: TableData, partition: PartitionConfig, extensions: Sequence[int]) -> Iterator[HistoryPart]:
    """Yield the parts of a run that the user's files are of: the files of the training first, then one of each extension.

    Args:
        data: The files, one a line. Without those of the extensions, they are of the training alone.
        partition: The settings of the run.
        extensions: The number of slices of each extension.
    """
    places = locations_of(data) if isinstance(data, str) else []
    first = partition.slices
    if not extensions or len(places) <= len(extensions):
        yield HistoryPart(data=data, first=0, slices=first)
        return
    yield HistoryPart(data="\n".join(places[: -len(extensions)]), first=0, slices=first)
    for place, slices in zip(places[-len(extensions) :], extensions, strict=True):
        yield HistoryPart(data=place, first=first, slices=slices)
        first += slices
