"""The callback `tensorboard`: losses and scores of stages as scalars, one curve for each shard."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from raymu.callbacks.callback import Callback, GenerationReport, WatchedRun
from raymu.core.stage_measures import StageReport
from raymu.core.uri import basename
from raymu.errors import ConfigInvalid
from raymu.service.coordinator.calls import TrainingResult


class TensorBoard(Callback):
    """Writes event files for TensorBoard. Steps are the numbers of stages."""

    def __init__(self, *, folder: str | None = None) -> None:
        """Choose where to write.

        Args:
            folder: The folder of the event files. The default is `tensorboard/NAME` in the present one.

        Raises:
            ConfigInvalid: TensorBoard is not installed.
        """
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise ConfigInvalid("callback tensorboard needs tensorboard; install raymu[tensorboard]") from error
        self._make_writer: Any = SummaryWriter
        self._folder = folder
        self._writer: Any = None

    def on_begin(self, run: WatchedRun) -> None:
        folder = Path(self._folder) if self._folder else Path("tensorboard") / basename(run.location)
        self._writer = self._make_writer(str(folder))

    def on_stage_end(self, stage: StageReport) -> None:
        for name, value in stage.measured.items():
            self._writer.add_scalar(f"{name}/shard-{stage.shard}", value, stage.stage)
        self._writer.add_scalar(f"passes/shard-{stage.shard}", stage.passes, stage.stage)
        self._writer.flush()

    def on_generation(self, generation: GenerationReport) -> None:
        text = f"published at {generation.published_at:%Y-%m-%d %H:%M:%S} UTC ({generation.cause})"
        self._writer.add_text("generation", text, generation.number)
        self._writer.flush()

    def on_receipt(self, receipt: Mapping[str, Any]) -> None:
        """Write nothing: TensorBoard is no place for documents."""

    def on_training_end(self, result: TrainingResult) -> None:
        self._writer.add_scalar("training/passes", result.passes, 0)
        self._writer.flush()
