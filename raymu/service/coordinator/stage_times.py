"""The phases of a call to a coordinator, as its progress tells them: training, and what follows the last stage."""

from collections.abc import Iterator
from contextlib import contextmanager

from raymu.service.phase import PUBLISHING, TRAINING, current_times
from raymu.service.shard.messages import Progress, StageProgress


@contextmanager
def stages_timed(progress: Progress) -> Iterator[Progress]:
    """Time the training of stages, and what comes after the last one.

    Yields:
        A listener that passes stages on.
    """
    times = current_times()
    if times is None:
        yield progress
        return

    def listen(stage: StageProgress) -> None:
        if times.phase != TRAINING:
            times.begin(TRAINING, earlier_s=stage.seconds)
        progress(stage)
        if stage.stage + 1 == stage.first + stage.stages:  # of the last shard, or another one begins
            times.begin(PUBLISHING)

    yield listen
    times.begin(None)
