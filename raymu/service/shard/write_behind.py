"""Files that a thread writes while the work goes on: one piece of writing at a time, each after the one before it."""

import threading
from collections.abc import Callable
from types import TracebackType


class WriteBehind:
    """Writes in a thread beside the work. At most one piece is not written yet, which bounds the memory that waits.

    As a context, it ends when everything is written. A failure is raised by whatever is called next, and at the end.
    """

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def __enter__(self) -> "WriteBehind":
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        try:
            self.wait()
        except BaseException:
            if error is None:  # else the work has failed by itself, which says more
                raise

    def begin(self, write: Callable[[], object]) -> None:
        """Begin to write, after the piece before is written. Raises what that raised, and begins nothing then."""
        self.wait()
        self._thread = threading.Thread(target=self._run, args=(write,), name="raymu-writing", daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Wait until everything is written. Raises what writing raised."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def _run(self, write: Callable[[], object]) -> None:
        try:
            write()
        except BaseException as error:  # it is raised in the thread that waits
            self._error = error
