"""Checks of the shards of a new run by what is known of its placed samples."""

import numpy as np

from raymu.config import Config, TargetName
from raymu.errors import DataInvalid
from raymu.service.placed_facts import PlacedFacts
from raymu.text import plural

_SHOWN = 8
"""Shards that a line names."""


def check_shards(config: Config, facts: PlacedFacts, path: str) -> None:
    """Raise DataInvalid for shards that cannot be trained. Excluded samples count."""
    partition = config.partition
    assert facts.lowest is not None
    assert facts.highest is not None
    if (facts.lowest.min(axis=0) == facts.highest.max(axis=0)).all():
        raise DataInvalid(
            path,
            f"column {', '.join(config.data.label_columns)} has the same label in all rows; training needs two or more",
        )
    for shard, count in enumerate(facts.counts.tolist()):
        what = f"shard {shard} of {partition.shards}"
        if not count:
            raise DataInvalid(path, f"{what} would hold no samples; use fewer shards")
        if count < partition.slices:
            held = plural(count, "sample")
            raise DataInvalid(path, f"{what} would hold {held} for {partition.slices} slices; use fewer")


def shards_of_one_class(facts: PlacedFacts, target: TargetName) -> list[str]:
    """Return the line that says which shards hold a single class, if some do: they are trained all the same."""
    if target is not TargetName.CLASSES:
        return []
    assert facts.lowest is not None
    assert facts.highest is not None
    single, count = np.flatnonzero(facts.lowest[:, 0] == facts.highest[:, 0]).tolist(), len(facts.counts)
    if not single:
        return []
    shown = ", ".join(str(shard) for shard in single[:_SHOWN]) + (", ..." if len(single) > _SHOWN else "")
    noun = "shard" if len(single) == 1 else "shards"
    return [
        f"{noun} {shown} of {count}: a single class, which is all that they can learn; fewer shards would mix classes"
    ]
