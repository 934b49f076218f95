"""What a run is, fixed when it is created."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal
from uuid import uuid4

from raymu.core.records import FileRef

FORMAT = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class RunManifest:
    """config: the settings as plain JSON values; tables: each shard's samples as they were when the run was created"""

    config: Mapping[str, Any]
    input_shape: tuple[int, ...]
    classes: int
    has_integer_ids: bool
    has_batch_norm: bool = False
    created_at: datetime
    raymu_version: str
    run_id: str = field(default_factory=lambda: uuid4().hex)
    tables: tuple[FileRef, ...] = ()
    format: int = FORMAT
    kind: Literal["raymu run"] = field(default="raymu run")
