"""An object store (S3, GCS) as a storage. Only this module writes or deletes bytes of a run there."""

from collections.abc import Callable, Sequence

from pyarrow import fs

from raymu.store.files.concurrency import map_concurrently


class ObjectStorage:
    """Files as objects. `write` and `delete_object` are single requests, after each of which a crash may come.

    An object appears whole or not at all. A crash during a large upload leaves no object and nothing that a listing shows.
    The rules of the bucket have to remove such uploads.
    """

    is_local = False

    def __init__(self, system: fs.FileSystem) -> None:
        self._system = system

    def write(self, path: str, payload: bytes, *, mode: int, fence: Callable[[], None]) -> None:  # noqa: ARG002
        """Write an object in one request (up to some megabytes), which follows the caller's fence at once.

        The permissions of the bucket say who may read it, not `mode`.
        """
        with self._system.open_output_stream(path) as file:
            file.write(payload)

    def link(self, source: str, target: str) -> bool:  # noqa: ARG002
        return False  # an object has one name

    def delete_object(self, path: str) -> bool:
        """Delete one object. Returns whether it existed."""
        try:
            self._system.delete_file(path)
        except FileNotFoundError:
            return False
        return True

    def delete(self, paths: Sequence[str]) -> int:
        return sum(map_concurrently(self.delete_object, paths))

    def keeps_versions(self, path: str) -> bool:
        with self._system.open_input_file(path) as file:
            return (file.metadata() or {}).get("VersionId") not in (None, b"null")


def with_delayed_open(uri: str) -> str:
    """Return a URI with which pyarrow writes a small object in one request instead of three."""
    if not uri.startswith("s3://") or "allow_delayed_open" in uri:
        return uri
    return f"{uri}{'&' if '?' in uri else '?'}allow_delayed_open=true"
