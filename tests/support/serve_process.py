"""`raymu serve` in a process of its own, as its users start it."""

import json
import os
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from types import TracebackType
from typing import Any

from raymu.web.tokens import Role, Tokens

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Answer:
    """The answer to a call."""

    status: int
    headers: Message
    text: str

    @property
    def document(self) -> Any:
        return json.loads(self.text)


class ServeProcess:
    """A service that answers. The end of its context stops it."""

    def __init__(self, folder: Path, *options: str, runs: tuple[Path, ...], certificate: Path | None = None) -> None:
        """Start it, and wait until it answers.

        Args:
            folder: Where its tokens and its access log are.
            options: More options of the command.
            runs: The runs.
            certificate: What `call` takes for the authority of the server's certificate.
        """
        self._folder = folder
        self._tls = None if certificate is None else ssl.create_default_context(cafile=certificate)
        self.process = subprocess.Popen(
            serve_words(folder, *options, runs=runs),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=serve_environment(),
        )
        assert self.process.stdout is not None
        text = ""
        while not text.endswith("}\n"):
            line = self.process.stdout.readline()
            if not line:
                out, err = self.process.communicate()
                raise AssertionError(text + out + err)
            text += line
        document = json.loads(text)
        assert "url" in document, text
        self.url: str = document["url"]

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def token(self, role: Role) -> str:
        """Make a token for a role."""
        tokens = Tokens(self._folder / "tokens.json")
        return tokens.create(f"caller-{len(tokens.all())}", role)

    def call(
        self, path: str, body: Any = None, *, token: str | None = None, url: str | None = None, **headers: str
    ) -> Answer:
        """Call it once.

        Args:
            path: What is called.
            body: JSON to send with POST; None calls with GET.
            token: The caller's token.
            url: Another way to the same service.
            headers: More headers, with _ in place of -.
        """
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if token is not None:
            sent["Authorization"] = f"Bearer {token}"
        payload = None if body is None else json.dumps(body).encode()
        if payload is not None:
            sent.setdefault("Content-Type", "application/json")
        request = urllib.request.Request((url or self.url) + path, payload, sent)
        try:
            with urllib.request.urlopen(request, timeout=60, context=self._tls) as answer:
                return Answer(answer.status, answer.headers, answer.read().decode())
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, error.headers, error.read().decode())

    def stop(self) -> str:
        """End it as a service manager does. Returns what it wrote to its standard error."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            return self.process.communicate(timeout=60)[1]
        except ValueError:  # it was stopped before
            return ""
        finally:
            self.process.kill()

    def __enter__(self) -> "ServeProcess":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def serve_words(folder: Path, *options: str, runs: tuple[Path, ...]) -> list[str]:
    """Return the command that serves runs on a free port."""
    own = ["--tokens", str(folder / "tokens.json"), "--access-log", str(folder / "access.log"), "--json"]
    port = [] if "--port" in options else ["--port", "0"]
    return [sys.executable, "-m", "raymu.cli", "serve", *map(str, runs), *port, *own, *options]


def serve_environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
