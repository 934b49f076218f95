"""What a person sees on a terminal: progress bars and tables."""

from raymu.console.progress import stage_progress, trial_progress
from raymu.console.tables import Screen

__all__ = ["Screen", "stage_progress", "trial_progress"]
