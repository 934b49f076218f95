"""Tables of made-up samples that are written in parts, so that they may be larger than the memory."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq


def write_made_up(
    path: Path, samples: int, *, features: int, classes: int, distance: float = 0.0, part: int = 100_000, first: int = 0
) -> None:
    """Write samples with float32 features of a normal distribution, and random labels.

    Args:
        path: The Parquet file.
        samples: Number of samples.
        features: Number of features of each.
        classes: Number of classes.
        distance: By how much each class lies beyond the one before it, in every feature.
        part: Samples of a row group.
        first: The id of the first sample.
    """
    random = np.random.default_rng(first)
    element = pa.list_(pa.field("element", pa.float32()), features)
    schema = pa.schema({"id": pa.int64(), "label": pa.int64(), "features": element})
    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, samples, part):
            count = min(part, samples - start)
            labels = random.integers(classes, size=count)
            values = random.standard_normal((count, features), dtype=np.float32)
            values += np.float32(distance) * labels[:, None].astype(np.float32)
            column = pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), type=element)
            writer.write_table(
                pa.table([np.arange(first + start, first + start + count), labels, column], schema=schema)
            )
