"""A process of Python that runs a module of raymu, and a pipe to it.

What goes through the pipe is in no file and on no command line.
"""

import os
import subprocess
import sys
from multiprocessing import Pipe
from typing import Any


class ChildProcess:
    """A process that runs a module, which is given the number of its end of the pipe as its argument.

    The process has the same modules as this one, whatever its working directory has. What it prints goes to standard error:
    what the user's code prints does not belong to a command's output.
    """

    def __init__(self, module: str) -> None:
        self._connection, theirs = Pipe()
        self._owner = os.getpid()
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(folder or os.getcwd() for folder in sys.path)}
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", module, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=2,
            )

    @property
    def is_alive(self) -> bool:
        """Whether this process started it, and it runs."""
        return self._owner == os.getpid() and self._process.poll() is None

    def send(self, message: Any) -> None:
        """Send a message. Raises OSError if the process has ended."""
        self._connection.send(message)

    def receive(self) -> Any:
        """Wait for a message, and return it. Raises what it is if it is an error, and EOFError if the process has ended."""
        message = self._connection.recv()
        if isinstance(message, BaseException):
            raise message
        return message

    def wait(self) -> int:
        """Wait for the end of the process, and return its exit code."""
        return self._process.wait()

    def close(self) -> None:
        """End the process."""
        if self._owner != os.getpid():  # a fork has the connection, and the process is its parent's
            return
        self._connection.close()
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
