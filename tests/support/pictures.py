"""Small pictures of two kinds and of different sizes, as files' bytes in a table."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image


def encoded(pixels: npt.NDArray[Any], kind: str = "PNG", **options: Any) -> bytes:
    """Encode a picture, (height, width) or (height, width, 3)."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


def discs_and_squares(count: int, *, side: int = 12) -> tuple[list[npt.NDArray[np.uint8]], list[str]]:
    """Draw discs and squares in any colour, of sides from `side` to twice as much, some of them grey."""
    random = np.random.default_rng(9)
    drawn, kinds = [], []
    for number in range(count):
        height, width = random.integers(side, 2 * side, 2)
        kind = "disc" if random.random() < 0.5 else "square"
        rows, columns = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
        is_inside = rows**2 + columns**2 < 0.7 if kind == "disc" else np.maximum(abs(rows), abs(columns)) < 0.6
        noise = random.integers(0, 60, (height, width, 3))
        colour = random.integers(120, 190, 3)
        pixels = (noise + is_inside[:, :, None] * colour).astype(np.uint8)
        drawn.append(pixels[:, :, 0] if number % 5 == 0 else pixels)
        kinds.append(kind)
    return drawn, kinds


def write_pictures(path: Path, *, count: int = 120, without: Sequence[int] = ()) -> Path:
    """Write pictures as PNG, JPEG and WebP, except the ids in `without`."""
    drawn, kinds = discs_and_squares(count)
    files = [encoded(pixels, ("PNG", "JPEG", "WEBP")[number % 3]) for number, pixels in enumerate(drawn)]
    table = pa.table({"id": np.arange(count), "picture": files, "kind": kinds})
    kept = [row for row in range(count) if row not in set(without)]
    pq.write_table(table.take(pa.array(kept[::-1], pa.int64())), path)
    return path
