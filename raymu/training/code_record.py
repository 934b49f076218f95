"""Digests of the code and the files that a run's factories are made of."""

import ast
import functools
import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path
from types import ModuleType

import torch
from pydantic import JsonValue
from torch.nn.parameter import is_lazy

from raymu.config import TaskName, Trainable
from raymu.core.code_record import CodeRecord
from raymu.training.checkpoint_format import weights_sha256
from raymu.training.classifier import weights_seed
from raymu.training.determinism import deterministic
from raymu.training.probe import constant_tensors
from raymu.training.randomness import seed_everything
from raymu.training.reachable import is_installed
from raymu.training.spec import TrainingSpec
from raymu.training.tasks.text import tokenizer_files

_NOT_RECORDED = frozenset({"raymu", "torch"})
"""PyTorch's version is in the determinism class. raymu's own changes keep the bits, which tests see to."""
_records: dict[str, CodeRecord] = {}  # spec -> what this process has loaded, which later changes of files do not change


def record_code(spec: TrainingSpec) -> CodeRecord | None:
    """Record the code that a run's factories consist of in this process; None without factories.

    Modules of the user's are followed through their imports. Of installed ones the version is taken. The first record of a
    process is kept: so is the code that it has loaded.

    Raises:
        ConfigInvalid: A factory cannot be imported, or fails.
    """
    if not spec.is_probed and not _own_files(spec) and not _own_libraries(spec):
        return None
    key = repr(spec)
    if key not in _records:
        _records[key] = _record(spec)
    return _records[key]


def _record(spec: TrainingSpec) -> CodeRecord:
    initial_weights = _initial_weights(spec) if spec.model.factory else ""
    modules: dict[str, str] = {}
    distributions = {name: number for top in _own_libraries(spec) for name, number in _versions(top).items()}
    files = {str(path): _digest(path) for path in _own_files(spec)}
    for library in _libraries(spec):
        distributions |= _versions(library)
    for component in spec.factories.values():
        files |= {name: _digest(Path(name)) for name in _named_files(dict(component.args))}
        waiting = [(component.factory or "").partition(":")[0]]
        while waiting:
            name = waiting.pop()
            top = name.partition(".")[0]
            if name in modules or top in sys.stdlib_module_names or top in _NOT_RECORDED:
                continue
            file = _file_of(name)
            if file is None:
                continue
            if is_installed(file):
                distributions |= _versions(top)
                continue
            modules[name] = _digest(Path(file))
            if file.endswith(".py"):
                waiting.extend(_imports(Path(file), name))
    return CodeRecord(
        modules=dict(sorted(modules.items())),
        files=dict(sorted(files.items())),
        distributions=dict(sorted(distributions.items())),
        initial_weights=initial_weights,
        constants=constant_tensors(spec) if spec.has_factory else {},
        torch=torch.__version__,
    )


def _own_libraries(spec: TrainingSpec) -> tuple[str, ...]:
    """Return the libraries that decide on what a built-in task makes of a sample."""
    if spec.task.name is TaskName.IMAGE:
        return ("pillow", "torchvision") if spec.task.args.get("augment") else ("pillow",)
    return ("transformers", "tokenizers") if _own_files(spec) else ()


def _own_files(spec: TrainingSpec) -> tuple[Path, ...]:
    """Return the files that a built-in task consists of."""
    folder = spec.task.args.get("tokenizer") if spec.task.name is TaskName.TEXT else None
    return tokenizer_files(folder) if isinstance(folder, str) and Path(folder).is_dir() else ()


def _libraries(spec: TrainingSpec) -> Iterator[str]:
    """Yield the libraries that build the model."""
    if spec.model.name is not None and spec.model.name.is_library:
        yield str(spec.model.name)
    if spec.model.trainable is Trainable.ADAPTERS:
        yield "peft"


def _initial_weights(spec: TrainingSpec) -> str:
    """Return the digest of the state in which the first shard's model begins."""
    with deterministic(torch.device("cpu"), threads=1):
        seed_everything(weights_seed(spec, 0))
        model = spec.build_model()
    tensors = (*model.named_parameters(), *model.named_buffers())
    return weights_sha256({name: tensor for name, tensor in tensors if not is_lazy(tensor)})


def _named_files(value: JsonValue) -> Iterator[str]:
    """Yield the texts among arguments that name a file."""
    match value:
        case str():
            with suppress(OSError, ValueError):  # too long for a path, or with a zero byte
                if Path(value).is_file():
                    yield value
        case list():
            for each in value:
                yield from _named_files(each)
        case dict():
            for each in value.values():
                yield from _named_files(each)


def _file_of(name: str) -> str | None:
    module: ModuleType | None = sys.modules.get(name)
    file = getattr(module, "__file__", None)
    if file is None and module is None:
        with suppress(ImportError, ValueError, AttributeError):
            spec = importlib.util.find_spec(name)
            file = spec.origin if spec and spec.has_location else None
    return file if isinstance(file, str) and Path(file).is_file() else None


def _imports(file: Path, name: str) -> Iterator[str]:
    """Yield the modules that a module's source names in its imports, and the packages that they are in."""
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError, OSError):
        return
    package = name if file.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                try:
                    base = importlib.util.resolve_name("." * node.level + base, package)
                except ImportError:
                    continue
            names = [base, *(f"{base}.{alias.name}" for alias in node.names)]
        else:
            continue
        for each in names:
            parts = each.split(".")
            yield from (".".join(parts[:length]) for length in range(1, len(parts) + 1))


def _versions(top: str) -> dict[str, str]:
    """Return the versions of the distributions that a top-level package is from."""
    with suppress(PackageNotFoundError):
        return {top: version(top)}
    return {name: version(name) for name in _distributions().get(top, ())}


@functools.cache
def _distributions() -> dict[str, list[str]]:
    return dict(packages_distributions())


def _digest(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
