"""Another device by name: the computation stays the same, and its determinism class differs."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from raymu.training.determinism import DeterminismClass


@contextmanager
def on(device: str) -> Iterator[None]:
    """Let this process report a device of that name. The computation stays the same."""
    own = DeterminismClass.json
    with pytest.MonkeyPatch.context() as patch:
        named = {"device": device}
        patch.setattr(DeterminismClass, "json", lambda it: json.dumps(json.loads(own(it)) | named, sort_keys=True))
        yield
