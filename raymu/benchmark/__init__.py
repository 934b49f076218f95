"""Comparisons of unlearning methods on one trained run.

`compare` measures methods beside an oracle and a control, `demo` does so on the bundled letter data, and `demo_result`
prints the outcome.
"""

from raymu.benchmark.demo import run_demo
from raymu.benchmark.demo_result import DemoResult, DemoRow, show_demo

__all__ = ["DemoResult", "DemoRow", "run_demo", "show_demo"]
