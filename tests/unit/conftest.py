import sys

import pytest
from hypothesis import settings

# No deadline: the first example pays for imports and for a cold disk.
settings.register_profile("unit", deadline=None, max_examples=30)
settings.load_profile("unit")


@pytest.fixture(autouse=True)
def no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)  # importing Ray now raises ImportError
