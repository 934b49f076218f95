import importlib.util
from typing import Any

import pytest

from raymu.errors import ConfigInvalid
from raymu.training.libraries import import_library


def test_an_optional_library_that_is_missing_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    find_spec = importlib.util.find_spec

    def without_timm(name: str, *package: Any) -> Any:
        return None if name == "timm" else find_spec(name, *package)

    monkeypatch.setattr(importlib.util, "find_spec", without_timm)
    with pytest.raises(ConfigInvalid, match=r"^model: needs timm; install raymu\[vision\]$"):
        import_library("timm", setting="model")


@pytest.mark.parametrize("name", ["torchvision.transforms.v2", "timm", "transformers", "peft"])
def test_every_optional_library_can_be_imported_here(name: str) -> None:
    assert import_library(name, setting="model").__name__ == name
