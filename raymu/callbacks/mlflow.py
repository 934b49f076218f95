"""The callback `mlflow`: settings, losses, receipts, and each generation as a version of a registered model."""

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from raymu.callbacks.callback import Callback, GenerationReport, PurgeReport, WatchedRun
from raymu.core.stage_measures import StageReport
from raymu.core.uri import basename
from raymu.errors import ConfigInvalid
from raymu.service.coordinator.calls import TrainingResult

_RUN, _GENERATION = "raymu.run", "raymu.generation"
"""Tags: id of the run, and number of the generation."""
_PARAMS_AT_ONCE = 100
"""Most settings that MLflow takes in one request."""
_LONGEST = 500
"""Characters of a setting. Older servers take no longer ones."""


class MLflow(Callback):
    """Logs one MLflow run for each run of raymu, and keeps one version of its model: that of the served generation.

    A purge deletes the versions of superseded generations, and their artifacts. What an interruption left is deleted when
    the run is next worked on.
    """

    def __init__(
        self,
        *,
        tracking_uri: str | None = None,
        experiment: str = "raymu",
        model: str | None = None,
        formats: Sequence[str] = ("safetensors",),
    ) -> None:
        """Choose where to log.

        Args:
            tracking_uri: The server or the store. The default is MLflow's, which MLFLOW_TRACKING_URI sets.
            experiment: Name of the experiment, which is created if it does not exist.
            model: Name of the registered model. The default is the name of the run.
            formats: What a version consists of: any of pt2, onnx and safetensors.

        Raises:
            ConfigInvalid: MLflow is not installed.
        """
        try:
            from mlflow import MlflowClient
        except ImportError as error:
            raise ConfigInvalid("callback mlflow needs mlflow; install raymu[mlflow]") from error
        self._client: Any = MlflowClient(tracking_uri=tracking_uri)
        self._experiment, self._model, self._formats = experiment, model, tuple(formats)
        self._run: Any = None
        self._watched: WatchedRun | None = None

    def on_begin(self, run: WatchedRun) -> None:
        self._watched = run
        self._model = self._model or basename(run.location)
        self._run = self._run_of(run)
        self._delete_versions(except_of=run.generation)

    def on_stage_end(self, stage: StageReport) -> None:
        values = stage.measured | {"passes": stage.passes, "seconds": stage.seconds}
        self._log({f"{name}/shard-{stage.shard}": value for name, value in values.items()}, step=stage.stage)

    def on_generation(self, generation: GenerationReport) -> None:
        """Add a version of the model, unless the same call has superseded the generation."""
        self._log({"generation": generation.number}, step=generation.number)
        if not generation.is_current or self._watched is None:
            return
        folder = _folder_of(generation.number)
        with TemporaryDirectory() as scratch:
            self._watched.export(Path(scratch) / folder, formats=self._formats)
            self._client.log_artifacts(self._id, str(Path(scratch) / folder), artifact_path=folder)
        self._register()
        self._client.create_model_version(
            self._model,
            source=f"{self._run.info.artifact_uri}/{folder}",
            run_id=self._id,
            tags={_RUN: self._watched.run_id, _GENERATION: str(generation.number)},
            description=f"generation {generation.number} ({generation.cause})",
        )

    def on_receipt(self, receipt: Mapping[str, Any]) -> None:
        self._client.log_dict(self._id, dict(receipt), f"receipts/{receipt['ledger']['number']:06d}.json")

    def on_purge(self, purge: PurgeReport) -> None:
        self._delete_versions(except_of=purge.generation)

    def on_training_end(self, result: TrainingResult) -> None:
        names = ("samples", "passes", "compute_seconds", "seconds")
        self._log({f"training/{name}": getattr(result, name) for name in names}, step=0)

    @property
    def _id(self) -> str:
        return str(self._run.info.run_id)

    def _run_of(self, run: WatchedRun) -> Any:
        """Return the MLflow run of a run, created with its settings if there is none."""
        from mlflow.entities import Param

        experiment = self._client.get_experiment_by_name(self._experiment)
        experiment_id = experiment.experiment_id if experiment else self._client.create_experiment(self._experiment)
        known = self._client.search_runs([experiment_id], filter_string=f"tags.`{_RUN}` = '{run.run_id}'")
        if known:
            return known[0]
        own = self._client.create_run(experiment_id, run_name=basename(run.location), tags={_RUN: run.run_id})
        settings = [Param(name, str(value)[:_LONGEST]) for name, value in _flat(run.config.tree())]
        for start in range(0, len(settings), _PARAMS_AT_ONCE):
            self._client.log_batch(own.info.run_id, params=settings[start : start + _PARAMS_AT_ONCE])
        return own

    def _log(self, values: Mapping[str, float], *, step: int) -> None:
        """Log several metrics in one request."""
        from mlflow.entities import Metric

        now_ms = time.time_ns() // 1_000_000
        metrics = [Metric(name, float(value), now_ms, step) for name, value in values.items()]
        self._client.log_batch(self._id, metrics=metrics)

    def _register(self) -> None:
        """Create the registered model if it does not exist."""
        if not self._client.search_registered_models(filter_string=f"name = '{self._model}'"):
            self._client.create_registered_model(self._model)

    def _delete_versions(self, *, except_of: int | None) -> None:
        """Delete the versions of all generations of the run but one, and their artifacts, whether registered or not."""
        assert self._watched is not None, "a callback begins before anything is purged"
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        for version in self._client.search_model_versions(f"name = '{self._model}'"):
            is_own = version.tags.get(_RUN) == self._watched.run_id
            if is_own and version.tags.get(_GENERATION) != str(except_of):
                self._client.delete_model_version(self._model, version.version)
        kept = None if except_of is None else _folder_of(except_of)
        repository: Any = get_artifact_repository(self._run.info.artifact_uri)
        for artifact in self._client.list_artifacts(self._id):
            if artifact.path.startswith(_FOLDER) and artifact.path != kept:
                repository.delete_artifacts(artifact.path)


_FOLDER = "generation-"


def _folder_of(generation: int) -> str:
    return f"{_FOLDER}{generation}"


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the settings of a tree by their dotted names."""
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
