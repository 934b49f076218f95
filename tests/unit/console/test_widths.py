"""What every command shows is whole on terminals of any width."""

from collections.abc import Callable
from pathlib import Path

import pytest

from raymu.benchmark.demo_result import show_demo
from raymu.console.planning_tables import show_capacity, show_tuning
from raymu.console.request_tables import show_forecast, show_receipt
from raymu.console.run_tables import show_settlement, show_status, show_verification
from raymu.console.screen import Screen
from raymu.core.findings import FindingKind
from raymu.core.verdict import Check, Verdict, leaves_open
from raymu.service.verify.verify import Verification
from tests.support.shown_results import (
    a_demo,
    a_forecast,
    a_plan,
    a_receipt,
    a_settlement,
    a_status,
    a_tuning,
)
from tests.support.terminal import faults, rendered

FINDING = leaves_open(FindingKind.OPEN_JOURNAL, "shard 1 is approximate")
VERIFICATION = Verification(
    verdict=Verdict.INCONCLUSIVE,
    generation=11,
    anchor=None,
    checks=(
        Check(
            name="lineage", checked=944_990, findings=(leaves_open(FindingKind.OPEN_JOURNAL, "shard 1 is approximate"),)
        ),
    ),
)
SHOWN: dict[str, Callable[[Screen], None]] = {
    "status": lambda screen: show_status(screen, a_status()),
    "plan": lambda screen: show_forecast(screen, a_forecast()),
    "plan, certain": lambda screen: show_forecast(screen, a_forecast(low_s=0.017, high_s=0.053)),
    "receipts": lambda screen: show_receipt(screen, a_receipt()),
    "settle": lambda screen: show_settlement(screen, a_settlement()),
    "simulate": lambda screen: show_capacity(screen, a_plan()),
    "tune": lambda screen: show_tuning(screen, a_tuning(), Path("runs/letter-tuning")),
    "demo": lambda screen: show_demo(a_demo(), screen),
    "verify": lambda screen: show_verification(screen, VERIFICATION),
}


@pytest.mark.parametrize("command", SHOWN)
@pytest.mark.parametrize("width", [160, 100, 80, 60, 40])
def test_nothing_is_broken_at_any_width(command: str, width: int) -> None:
    assert list(faults(SHOWN[command], width)) == []


def test_an_uncertain_forecast_is_called_so_and_a_certain_one_is_a_range() -> None:
    assert "uncertain" in " ".join(rendered(SHOWN["plan"], 100))
    assert "17 to 53 ms" in " ".join(rendered(SHOWN["plan, certain"], 100))
    assert "e-05" not in " ".join(rendered(SHOWN["plan"], 100))


def test_the_boundary_is_shown() -> None:
    for width in (40, 80):
        assert "boundary" in " ".join(rendered(SHOWN["tune"], width))
        assert "0.87" in " ".join(rendered(SHOWN["simulate"], width))
        assert "boundary 0.35" in " ".join(" ".join(rendered(SHOWN["plan"], width)).split())
