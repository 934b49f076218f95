"""The private parts of Ray that tests use. Those of the package are in raymu/runtime/ray_internals.py."""

import tempfile
import zipfile
from collections.abc import Sequence
from inspect import signature
from pathlib import Path
from typing import Any

import ray
from ray._private.runtime_env.packaging import create_package
from ray.autoscaler._private.util import prepare_config, validate_config


def local_node() -> Any:
    """Return the node that `ray.init` started in this process. `ray.cluster_utils` can add others to it."""
    return ray._private.worker._global_node


def launcher_configuration(tree: dict[str, Any]) -> dict[str, Any]:
    """Return a cluster file with its defaults, as `ray up` checks it before it starts a machine."""
    prepared: dict[str, Any] = prepare_config(tree)
    validate_config(prepared)
    return prepared


def packaged_files(folder: Path, excludes: Sequence[str]) -> list[str]:
    """Return the files that Ray would pack as a job's working directory. Ray only packs when it submits."""
    with tempfile.TemporaryDirectory() as scratch:
        package = Path(scratch) / "package.zip"
        # Older versions of Ray have no such option, and always read .gitignore.
        options: Any = (
            {"include_gitignore": True} if "include_gitignore" in signature(create_package).parameters else {}
        )
        create_package(str(folder), package, excludes=list(excludes), **options)
        return sorted(name for name in zipfile.ZipFile(package).namelist() if not name.endswith("/"))
