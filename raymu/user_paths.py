"""Paths and tables as users give them, made to mean the same to all processes."""

from pathlib import Path

from raymu.core.uri import is_uri, locations_of, redacted
from raymu.data.frames import TableData, to_table
from raymu.errors import RequestInvalid


def absolute(path: str | Path) -> str:
    """Return a path or URI that means the same to actors, whose working directories differ."""
    return str(path) if is_uri(str(path)) else str(Path(path).absolute())


def local_path(out: str | Path) -> Path:
    """Return a path on a local disk, to write for others. Raises RequestInvalid for a URI."""
    if is_uri(str(out)):
        raise RequestInvalid(f"{redacted(str(out))}: it is written on a local disk; give a path there, and copy it")
    return Path(out).expanduser()


def table_data(data: str | Path | object) -> TableData:
    """Return where a table is, or the table in memory. Raises DataInvalid."""
    return data_location(data) if isinstance(data, str | Path) else to_table(data)


def data_location(location: str | Path) -> str:
    """Return each path, URI or pattern of data, one a line, as `absolute` does."""
    places = [Path(place).expanduser() if not is_uri(place) else place for place in locations_of(str(location))]
    return "\n".join(absolute(place) for place in places)
