"""An S3-compatible server for the tests: moto's, in another process."""

import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import boto3
import pytest

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "raymu-tests",
    "AWS_SECRET_ACCESS_KEY": "raymu-tests-secret",
    "AWS_EC2_METADATA_DISABLED": "true",
}
"""As users give them: in the environment."""
_REGION = "us-east-1"
_ADDRESS = re.compile(r"http://127\.0\.0\.1:(\d+)")
_REQUEST = re.compile(r'"(?:\x1b\[[\d;]*m)*([A-Z]+) /\S* HTTP')
"""In the server's log, which colours some."""


@contextmanager
def credentials() -> Iterator[None]:
    """Put the credentials into the environment of this process and of those that it starts."""
    with pytest.MonkeyPatch.context() as environment:
        for name, value in CREDENTIALS.items():
            environment.setenv(name, value)
        yield


class ObjectStoreServer:
    """Listens on a free port of this machine, and keeps everything in memory."""

    def __init__(self) -> None:
        self._log = Path(mkdtemp(prefix="raymu-s3-")) / "log"
        with self._log.open("wb") as log:
            command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, **CREDENTIALS})
        self._numbers = count(1)
        try:
            self._port = self._wait()
        except BaseException:
            self.stop()
            raise

    @property
    def client(self) -> Any:
        """A client for what pyarrow's file systems lack: versions and interrupted uploads."""
        return boto3.client(
            "s3",
            endpoint_url=f"http://127.0.0.1:{self._port}",
            region_name=_REGION,
            aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        )

    def new_bucket(self, *, is_versioned: bool = False) -> str:
        bucket = f"bucket-{next(self._numbers)}"
        self.client.create_bucket(Bucket=bucket)
        if is_versioned:
            self.client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        return bucket

    @property
    def port(self) -> int:
        return self._port

    def uri(self, path: str, *, port: int | None = None) -> str:
        """Return the URI of `path`, a bucket and a key. port: of a proxy before the server"""
        return f"s3://{path}?endpoint_override=127.0.0.1:{port or self._port}&scheme=http&region={_REGION}"

    @contextmanager
    def counted(self) -> Iterator[Counter[str]]:
        """Count the requests in this context by method. The counts are filled in at its end."""
        requests: Counter[str] = Counter()
        before = self._log.stat().st_size
        yield requests
        requests.update(_REQUEST.findall(self._log.read_text()[before:]))

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(30)
        self._log.unlink()
        self._log.parent.rmdir()

    def _wait(self) -> int:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if address := _ADDRESS.search(self._log.read_text()):
                return int(address[1])
            assert self._process.poll() is None, f"the server did not start: {self._log.read_text()}"
            time.sleep(0.05)
        raise AssertionError(f"the server is not up: {self._log.read_text()}")
