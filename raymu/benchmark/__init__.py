"""The demonstration: train on real data, revoke with every strategy, and show what each cost."""

from raymu.benchmark.demo import run_demo
from raymu.benchmark.demo_result import DemoResult, DemoRow, show_demo

__all__ = ["DemoResult", "DemoRow", "run_demo", "show_demo"]
