"""Training in a process of its own, beside threads that could disturb it.

Dropout and its like draw from generators that all threads of a process share: a thread that predicts, or that only saves and
restores the state of a generator, changes the bits of a training. So does another number of threads. Where no other thread is
alive, stages are trained in this process.
"""

import signal
import sys
import threading
import weakref
from collections.abc import Generator, Iterator
from contextlib import suppress
from multiprocessing.connection import Connection

from raymu.errors import RaymuError, TrainingFailed
from raymu.text import one_line
from raymu.training.child_process import ChildProcess
from raymu.training.stages import StageResult, StageTask, train_stages

_HARMLESS = (
    "raymu.service.shard.write_behind",
    "raymu.store.presence",
    "raymu.training.loading",
    "rich.",
    "tqdm.",
    "ray.",
    "IPython.",
    "ipykernel.",
    "zmq.",
    "fsspec.",
    "tensorboard.",
    "mlflow.",
    "wandb.",
    "pytest_timeout",
    "pydevd",
    "_pydev",
)
"""Modules whose threads give signs of life, make batches, show progress, or wait for input.

They draw no random numbers that a model draws too.
Not all of raymu's: a thread may be there to predict or to revoke, with a method of a `Run` as its target."""


def has_other_threads() -> bool:
    """Tell whether a thread of Python's is alive that might compute beside this one."""
    others = (thread for thread in threading.enumerate() if thread is not threading.current_thread())
    return not all(_module(thread).startswith(_HARMLESS) for thread in others)


class UndisturbedTraining:
    """Trains stages here, or in a process of its own if another thread is alive. It is a `StageTrainer`."""

    def __init__(self) -> None:
        self._process: _OwnProcess | None = None

    def __call__(self, task: StageTask) -> Generator[StageResult, None, None]:
        """Yield the stages as `train_stages` does.

        Raises TrainingFailed also if the process of its own ends.
        """
        here: Iterator[StageResult] | None = None
        last: StageResult | None = None
        for _stage in range(task.first, task.end):
            result = None
            if not has_other_threads():
                here = here or train_stages(task)
                result = next(here)
            if result is None or has_other_threads():  # it began while the stage was trained
                yield from self._train_apart(task.after(last) if last else task)
                return
            yield result
            last = result

    def close(self) -> None:
        """End the process, if there is one."""
        if self._process is not None:
            self._process.close()
            self._process = None

    def _train_apart(self, task: StageTask) -> Iterator[StageResult]:
        if self._process is None or not self._process.is_alive:
            self._process = _OwnProcess()
            weakref.finalize(self, self._process.close)
        is_done = False
        try:
            yield from self._process.train(task)
            is_done = True
        except RaymuError:
            is_done = self._process.is_alive
            raise
        finally:
            if not is_done:
                self.close()


class _OwnProcess(ChildProcess):
    """A process that trains what it is sent."""

    def __init__(self) -> None:
        super().__init__("raymu.training.own_process")

    def train(self, task: StageTask) -> Iterator[StageResult]:
        """Yield the stages of a task as they come. Raises what fails there."""
        stage = task.first
        try:
            self.send(task)
            while (message := self.receive()) is not None:
                stage = message.stage + 1
                yield message
        except (EOFError, OSError) as error:
            problem = f"the process that trains it ended with {self.wait()}; it may lack memory"
            raise TrainingFailed(task.shard, stage, problem) from error


def _module(thread: threading.Thread) -> str:
    """Name the module of what a thread does."""
    target = getattr(thread, "_target", None)
    return str(getattr(target, "__module__", None) or type(thread).__module__)


def _serve(connection: Connection) -> None:
    """Train tasks until the other side closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of the terminal: the other side decides
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            task: StageTask = connection.recv()
            try:
                for result in train_stages(task):
                    connection.send(result)
                connection.send(None)
            except RaymuError as error:
                connection.send(error)
            except Exception as error:
                connection.send(TrainingFailed(task.shard, task.first, f"{type(error).__name__}: {one_line(error)}"))


if __name__ == "__main__":
    _serve(Connection(int(sys.argv[1])))
