"""Make the table of the example `tokens.yaml`: short texts as the numbers of their tokens.

A text is about one of three subjects, each with tokens of its own among common ones. They are invented, by a generator with a
fixed seed: `python examples/tokens.py tokens.parquet`.
"""

import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

SUBJECTS = ("sport", "weather", "music")
COMMON, OWN = 40, 8
"""Tokens that all texts use, and tokens of each subject. Token 0 fills up."""
VOCABULARY = 1 + COMMON + OWN * len(SUBJECTS)


def texts(count: int = 160, *, seed: int = 0) -> pa.Table:
    """Return a table with one row for each text."""
    random = np.random.default_rng(seed)
    subject = random.integers(0, len(SUBJECTS), count)
    return pa.table(
        {
            "id": np.arange(count),
            "tokens": pa.array([_tokens(number, random) for number in subject], type=pa.list_(pa.int32())),
            "label": [SUBJECTS[number] for number in subject],
        }
    )


def _tokens(subject: int, random: np.random.Generator) -> list[int]:
    length = int(random.integers(6, 15))
    common = random.integers(1, 1 + COMMON, length)
    own = 1 + COMMON + OWN * subject + random.integers(0, OWN, length)
    tokens: list[int] = np.where(random.random(length) < 0.4, own, common).tolist()
    return tokens


if __name__ == "__main__":
    pq.write_table(texts(), sys.argv[1])
