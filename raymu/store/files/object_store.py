"""An object store, one request at a time: the only place where a run's bytes are written or deleted there."""

from collections.abc import Callable, Sequence

from pyarrow import fs

from raymu.store.files.concurrency import map_concurrently


class ObjectStore:
    """`write` and `delete` are the steps after which a crash may come; tests fail each of them in turn.

    An object appears whole or not at all. What a crash leaves of a large upload is no object: no listing shows it, and it is
    for the bucket's own rule to remove uploads that broke off.
    """

    def __init__(self, system: fs.FileSystem) -> None:
        self._system = system

    def write(self, path: str, payload: bytes, *, mode: int, fence: Callable[[], None]) -> None:  # noqa: ARG002
        """Write an object, or replace it. Up to some megabytes that is one request, and follows the fence at once.

        mode: who may read it, the bucket says
        """
        with self._system.open_output_stream(path) as file:
            file.write(payload)

    def delete(self, path: str) -> bool:
        """returns: whether it was there"""
        try:
            self._system.delete_file(path)
        except FileNotFoundError:
            return False
        return True

    def delete_each(self, paths: Sequence[str]) -> int:
        """returns: how many were there"""
        return sum(map_concurrently(self.delete, paths))

    def keeps_versions(self, path: str) -> bool:
        """Whether what is deleted stays readable, as an earlier version. path: of an object that was written lately"""
        with self._system.open_input_file(path) as file:
            return (file.metadata() or {}).get("VersionId") not in (None, b"null")

    def link(self, source: str, target: str) -> bool:  # noqa: ARG002
        """An object has one name. returns: False"""
        return False


def as_asked(uri: str) -> str:
    """A URI with what raymu asks of pyarrow: to write a small object by one request instead of three."""
    if not uri.startswith("s3://") or "allow_delayed_open" in uri:
        return uri
    return f"{uri}{'&' if '?' in uri else '?'}allow_delayed_open=true"
