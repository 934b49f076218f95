"""The callback `wandb`: settings, losses and scores in Weights & Biases."""

from collections.abc import Mapping
from typing import Any

from raymu.callbacks.callback import Callback, GenerationReport, WatchedRun
from raymu.core.stage_measures import StageReport
from raymu.core.uri import basename
from raymu.errors import ConfigInvalid
from raymu.service.coordinator.calls import TrainingResult


class WandB(Callback):
    """Logs one W&B run for each run of raymu. Models stay in the run: W&B keeps versions, which no purge would reach."""

    def __init__(self, *, project: str = "raymu", **settings: Any) -> None:
        """Choose where to log.

        Args:
            project: The project.
            settings: More arguments of `wandb.init`, such as `entity`, `mode` or `dir`.

        Raises:
            ConfigInvalid: W&B is not installed.
        """
        try:
            import wandb
        except ImportError as error:
            raise ConfigInvalid("callback wandb needs wandb; install raymu[wandb]") from error
        self._wandb: Any = wandb
        self._settings = {"project": project, **settings}
        self._run: Any = None

    def on_begin(self, run: WatchedRun) -> None:
        own = {"id": run.run_id, "name": basename(run.location), "resume": "allow", "config": run.config.tree()}
        self._run = self._wandb.init(**{**own, **self._settings})

    def on_stage_end(self, stage: StageReport) -> None:
        values = {f"{name}/shard-{stage.shard}": value for name, value in stage.measured.items()}
        self._run.log({**values, "stage": stage.stage, f"passes/shard-{stage.shard}": stage.passes})

    def on_generation(self, generation: GenerationReport) -> None:
        self._run.summary["generation"] = generation.number

    def on_receipt(self, receipt: Mapping[str, Any]) -> None:
        self._run.summary["receipts"] = receipt["ledger"]["number"]

    def on_training_end(self, result: TrainingResult) -> None:
        self._run.summary["passes"] = result.passes
