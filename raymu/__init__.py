"""raymu trains PyTorch models so that any training sample can be taken out of them again, exactly.

`raymu.api` and `raymu.new_run` have what users call. The packages below them are laid out by floor: `config`, `core`, `data`,
`training`, `store`, `service` and `runtime`, each importing only those before it.
"""

import importlib
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from raymu.api import Run, open_run
    from raymu.callbacks.callback import Callback
    from raymu.config import Config
    from raymu.core.receipt import Receipt
    from raymu.core.tuning import Constraints, Search
    from raymu.errors import RaymuError
    from raymu.new_run import train
    from raymu.restored_run import restore
    from raymu.service.audit.forget_set import AuditScope
    from raymu.service.audit.snapshot_report import SnapshotScope
    from raymu.service.planning.forecast import Forecast
    from raymu.service.requests.revocation import Revocation, SubmissionResult
    from raymu.service.verify.verify import Verification
    from raymu.training.inputs import Ragged
    from raymu.training.tasks.task import Task

__version__ = "0.1.0"
__all__ = [
    "AuditScope",
    "Callback",
    "Config",
    "Constraints",
    "Forecast",
    "Ragged",
    "RaymuError",
    "Receipt",
    "Revocation",
    "Run",
    "Search",
    "SnapshotScope",
    "SubmissionResult",
    "Task",
    "Verification",
    "open_run",
    "restore",
    "train",
]

_MODULES: Mapping[str, str] = {
    "AuditScope": "raymu.service.audit.forget_set",
    "Callback": "raymu.callbacks.callback",
    "Config": "raymu.config",
    "Constraints": "raymu.core.tuning",
    "Forecast": "raymu.service.planning.forecast",
    "Ragged": "raymu.training.inputs",
    "RaymuError": "raymu.errors",
    "Receipt": "raymu.core.receipt",
    "Revocation": "raymu.service.requests.revocation",
    "Run": "raymu.api",
    "Search": "raymu.core.tuning",
    "SnapshotScope": "raymu.service.audit.snapshot_report",
    "SubmissionResult": "raymu.service.requests.revocation",
    "Task": "raymu.training.tasks.task",
    "Verification": "raymu.service.verify.verify",
    "open_run": "raymu.api",
    "restore": "raymu.restored_run",
    "train": "raymu.new_run",
}
"""The module that defines each public name."""
_RENAMED: Mapping[str, str] = {"Answer": "SubmissionResult"}
"""Names of version 0.1, which the next version drops."""


def __getattr__(name: str) -> Any:
    """Import a public name on its first use, so that `import raymu` imports neither PyTorch nor Ray."""
    if name in _RENAMED:
        warnings.warn(f"raymu.{name} is now raymu.{_RENAMED[name]}", DeprecationWarning, stacklevel=2)
        name = _RENAMED[name]
    if name not in _MODULES:
        raise AttributeError(f"module 'raymu' has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)
