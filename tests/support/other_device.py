"""Another device in name only: what it computes stays the same, its determinism class does not."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from raymu.training.determinism import DeterminismClass


@contextmanager
def on(device: str) -> Iterator[None]:
    """As if this process ran on a device of that name; what it computes stays the same."""
    own = DeterminismClass.json
    with pytest.MonkeyPatch.context() as patch:
        named = {"device": device}
        patch.setattr(DeterminismClass, "json", lambda it: json.dumps(json.loads(own(it)) | named, sort_keys=True))
        yield
