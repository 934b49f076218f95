"""Long tables: what an experiment found, one row per data set, model, seed, scenario and method."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

Row = dict[str, Any]
"""Column -> text, number, or None where there is nothing to say."""
Rows = list[Row]


def write_rows(rows: Sequence[Row], path: Path) -> None:
    """As CSV. Numbers have six significant digits; whole ones are kept as they are."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows([_text(row.get(column)) for column in columns] for row in rows)


def read_rows(path: Path) -> Rows:
    with path.open(newline="", encoding="utf-8") as file:
        return [{column: _value(text) for column, text in row.items()} for row in csv.DictReader(file)]


def where(rows: Iterable[Row], **wanted: Any) -> Rows:
    """The rows that have these values; a list of values admits each of them."""
    return [row for row in rows if all(_fits(row[column], value) for column, value in wanted.items())]


def column(rows: Iterable[Row], name: str) -> list[Any]:
    """What the rows have there, None left out."""
    return [row[name] for row in rows if row[name] is not None]


def distinct(rows: Iterable[Row], name: str) -> list[Any]:
    """In order of appearance."""
    return list(dict.fromkeys(column(rows, name)))


def mean(rows: Iterable[Row], name: str) -> float:
    """NaN where no row has a value."""
    values = column(rows, name)
    return fmean(values) if values else float("nan")


def spread(rows: Iterable[Row], name: str) -> tuple[float, float]:
    """Least and greatest; NaN where no row has a value."""
    values = column(rows, name)
    return (min(values), max(values)) if values else (float("nan"), float("nan"))


def _fits(value: Any, wanted: Any) -> bool:
    return bool(value in wanted) if isinstance(wanted, (list, tuple, set, frozenset)) else bool(value == wanted)


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else f"{value:.6g}"
    return str(value)


def _value(text: str) -> Any:
    if text == "":
        return None
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
