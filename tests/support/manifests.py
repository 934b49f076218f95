"""The manifests of runs without samples."""

from dataclasses import replace
from datetime import UTC, datetime

from raymu.config import Config
from raymu.store.manifest import RunManifest

CONFIG = Config.parse({"data": {"train": "letter.parquet"}, "model": {"name": "mlp", "hidden": [8]}})
MANIFEST = RunManifest(
    config=CONFIG.tree(),
    input_shape=(28, 28),
    classes=10,
    has_integer_ids=True,
    created_at=datetime(2024, 5, 6, 7, 8, 9, 10, tzinfo=UTC),
    raymu_version="0.1.0",
)


def with_journal(url: str) -> RunManifest:
    tree = CONFIG.tree()
    tree["cluster"]["journal"] = url
    return replace(MANIFEST, config=tree)
