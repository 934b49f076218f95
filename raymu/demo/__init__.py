"""The demonstration: train on real data, revoke with every strategy, and show what each cost."""

from raymu.demo.result import DemoResult, DemoRow, show_demo
from raymu.demo.run import run_demo

__all__ = ["DemoResult", "DemoRow", "run_demo", "show_demo"]
