"""An audit on the page: a row for each request, with its verdict and what it rests on, and a row for each attack."""

from dataclasses import dataclass
from typing import Any

from raymu.core.audit.attacks import TWO_GENERATIONS_NOTE
from raymu.text import words

_MOST_REQUESTS = 20
_VERDICTS = ("fail", "inconclusive", "pass")
"""In the order in which requests are listed: what needs attention comes first."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Interval:
    """An estimate and its 95% interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.2f} ({self.low:.2f} to {self.high:.2f})"


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditRow:
    """The audit of one request, or of all together."""

    name: str
    samples: int
    verdict: str
    reason: str
    remembered: Interval
    """How much more probable the served model holds the true classes than retrained models do."""
    served_loss: float
    """In nats, as the others."""
    oracle_loss: float
    control_loss: float


@dataclass(frozen=True, kw_only=True, slots=True)
class AttackRow:
    """One attack: its AUC against each model."""

    name: str
    served: Interval
    oracle: Interval
    control: Interval


@dataclass(frozen=True, kw_only=True, slots=True)
class ForestRow:
    """A line of the forest plot: one attack against one model. Places are from 0 to 1, as an AUC is."""

    heading: str
    """Name of the attack, before its first line; empty otherwise."""
    label: str
    kind: str
    """Name of the symbol."""
    low: float
    value: float
    high: float
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditSummary:
    """The summary of an audit."""

    verdict: str
    rows: tuple[AuditRow, ...]
    """All requests together, and then each of some."""
    failed: int
    """Requests that fail by themselves."""
    others: int
    """Requests that have no row here."""
    attacks: tuple[AttackRow, ...]
    forest: tuple[ForestRow, ...]
    """The same, as a plot."""
    note: str
    """What the attack by two generations finds; empty without it."""


def audit_summary(tree: Any) -> AuditSummary | None:
    """Read an audit's JSON. None if the document does not have what the page shows."""
    try:
        requests = [_row(part["request_ids"][0], part) for part in tree["requests"]]
        requests.sort(key=lambda row: _VERDICTS.index(row.verdict))
        listed = requests[:_MOST_REQUESTS] if len(requests) > 1 else []
        attacks = tuple(_attack(attack) for attack in tree["together"]["attacks"])
        has_two_generations = any(attack["attack"] == "two_generations" for attack in tree["together"]["attacks"])
        return AuditSummary(
            verdict=_VERDICTS[_VERDICTS.index(tree["verdict"])],
            rows=(_row("all together", tree["together"]), *listed),
            failed=sum(row.verdict == "fail" for row in requests),
            others=len(requests) - len(listed) if len(requests) > 1 else 0,
            attacks=attacks,
            forest=tuple(row for attack in attacks for row in _forest(attack)),
            note=f"The attack by two generations {TWO_GENERATIONS_NOTE}." if has_two_generations else "",
        )
    except (KeyError, TypeError, ValueError, OverflowError, IndexError, AttributeError):
        return None


def _row(name: Any, part: Any) -> AuditRow:
    """Read a part. Raise KeyError, TypeError or ValueError if it is none."""
    losses = part["loss"]
    return AuditRow(
        name=str(name),
        samples=int(part["samples"]),
        verdict=_VERDICTS[_VERDICTS.index(part["verdict"])],
        reason=str(part["reason"]),
        remembered=_interval(part["comparison"]["served"]["difference"]),
        served_loss=float(losses["served"]),
        oracle_loss=float(losses["oracle"]),
        control_loss=float(losses["control"]),
    )


def _attack(attack: Any) -> AttackRow:
    models = attack["auc"]
    return AttackRow(
        name=words(str(attack["attack"])),
        served=_interval(models["served"]),
        oracle=_interval(models["oracle"]),
        control=_interval(models["control"]),
    )


def _forest(attack: AttackRow) -> list[ForestRow]:
    models = {"served": attack.served, "oracle": attack.oracle, "control": attack.control}
    return [
        ForestRow(
            heading=attack.name if name == "served" else "",
            label=name,
            kind="served-model" if name == "served" else name,
            low=_place(auc.low),
            value=_place(auc.value),
            high=_place(auc.high),
            text=f"{auc.value:.2f}",
        )
        for name, auc in models.items()
    ]


def _place(auc: float) -> float:
    return min(max(auc, 0.0), 1.0)


def _interval(estimate: Any) -> Interval:
    return Interval(value=float(estimate["value"]), low=float(estimate["low"]), high=float(estimate["high"]))
