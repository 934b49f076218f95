"""A run, its requests and what was found in it, as tables on standard output."""

from collections.abc import Sequence
from datetime import datetime

from rich.console import Console
from rich.table import Table
from rich.text import Text

from raymu.core.deadlines import Deadline
from raymu.core.receipt import Receipt
from raymu.core.verdict import Verdict
from raymu.service.coordinator.calls import RebuildResult, SettleResult, TrainingResult
from raymu.service.planning.forecast import Forecast
from raymu.service.prediction import Evaluation
from raymu.service.requests.revocation import SubmissionResult
from raymu.service.shard.messages import ShardLocation
from raymu.service.status import RunStatus
from raymu.service.verify.verify import Verification
from raymu.text import plural

_WIDE = 140
_MOST_FINDINGS = 8
_MOST_DEADLINES = 20
_LATE = "bold red"
_COLOURS = {Verdict.PASS: "green", Verdict.FAIL: "bold red", Verdict.INCONCLUSIVE: "yellow"}
_MOST_REFUSALS = 20


def coloured(verdict: Verdict) -> Text:
    return Text(verdict, style=_COLOURS[verdict])


class Screen:
    """Results as tables on standard output."""

    def __init__(self) -> None:
        # Into a file or a pipe there is no width to keep to. Names that people chose may look like markup, and are none.
        width = None if Console().is_terminal else _WIDE
        self._console = Console(width=width, markup=False, emoji=False, highlight=False)

    def say(self, text: str | Text) -> None:
        self._console.print(text)

    def show(self, table: Table) -> None:
        self._console.print(table)

    def training(self, report: TrainingResult, location: str) -> None:
        self.say(
            f"trained {plural(report.samples, 'sample')} into {location}: {report.passes:,.0f} sample passes, "
            f"{report.compute_seconds:.1f} s of compute in {report.seconds:.1f} s"
        )

    def receipt(self, receipt: Receipt) -> None:
        table = Table("shard", "samples", "remedy", "exactness", "passes", "seconds", "why", title=receipt.request_id)
        for part in receipt.shards:
            shared = f" (shared by {part.requests:,} requests)" if part.requests > 1 else ""
            table.add_row(
                str(part.shard),
                str(part.samples),
                part.remedy,
                part.exactness,
                f"{part.passes:,.0f}",
                f"{part.seconds:.3f}",
                part.reason + shared,
            )
        self.show(table)
        self.say(_timeline(receipt))

    def answers(self, answers: Sequence[SubmissionResult]) -> None:
        """What the requests of a table were told: the first refusals, and how many there are."""
        refused = [(row, answer.refusal) for row, answer in enumerate(answers, start=1) if answer.refusal]
        if refused:
            table = Table("row", "refused because")
            for row, refusal in refused[:_MOST_REFUSALS]:
                table.add_row(str(row), str(refusal))
            self.show(table)
        more = " (all of them: --json)" if len(refused) > _MOST_REFUSALS else ""
        self.say(
            f"{len(answers) - len(refused):,} of {plural(len(answers), 'request')} accepted, {len(refused):,} refused{more}"
        )

    def forecast(self, forecast: Forecast) -> None:
        shards = Table(
            "shard", "samples", "from slice", "remedy", "retrain", "passes", "retrain s", "patch s", "expected s", "why"
        )
        for one in forecast.shards:
            shards.add_row(
                str(one.shard),
                str(one.samples),
                str(one.earliest_slice),
                one.remedy,
                f"{one.retrain_fraction:.0%}",
                f"{one.retrain_passes:,.0f}",
                f"{one.retrain_seconds:.2f}",
                f"{one.patch_seconds:.3f}",
                f"{one.interval.low_s:.2g} to {one.interval.high_s:.2g}",
                one.reason,
            )
        self.show(shards)
        strategies = Table("strategy", "passes", "compute s", f"makespan s ({plural(forecast.workers, 'worker')})")
        for strategy, cost in forecast.strategies.items():
            strategies.add_row(strategy, f"{cost.passes:,.0f}", f"{cost.seconds:.2f}", f"{cost.makespan_seconds:.2f}")
        self.show(strategies)

    def status(self, status: RunStatus, *, unknown: str | None = None) -> None:
        """unknown: why it is not known where the shards live"""
        columns = ["shard", "samples", "state", "debt from slice", "weights"]
        is_placed = any(one.place for one in status.shards)
        table = Table(*columns, *(["lives on"] if is_placed else []), title=f"generation {status.generation}")
        for one in status.shards:
            debt = "" if one.tainted_from is None else str(one.tainted_from)
            row = [str(one.shard), str(one.samples), one.state, debt, (one.weights_sha256 or "")[:16]]
            table.add_row(*row, *([_place(one.place)] if is_placed else []))
        self.show(table)
        if unknown:
            self.say(f"where the shards live is not known: {unknown}")
        counts = status.requests
        self.say(
            f"requests: {counts.accepted} accepted, {counts.published} published, {counts.purged} purged, "
            f"{counts.settled} settled; debt: {plural(status.debt.shards, 'shard')}, {status.debt.retrain_passes:,} passes"
        )

        for remedy, pace in status.paces.items():
            self.say(
                f"{remedy}: {pace.remedies} took {pace.seconds:.2f} s of compute, forecast {pace.forecast_seconds:.2f} s; "
                f"the next will take {pace.low:.2f} to {pace.high:.2f} times its forecast"
            )
        if status.deadlines:
            self.show(_deadlines(status.deadlines))
        late = sum(one.is_late for one in status.deadlines)
        if late:
            what = f"{plural(late, 'request')} would be exact too late; run `raymu settle` now, or add workers"
            self.say(Text(what, style=_LATE))

    def rebuilt(self, report: RebuildResult) -> None:
        self.say(
            f"missing or changed: {plural(len(report.files), 'file')}; trained again: {plural(len(report.shards), 'shard')}, "
            f"{report.passes:,.0f} passes, {report.compute_seconds:.1f} s of compute; generation {report.generation}"
        )

    def verification(self, found: Verification) -> None:
        table = Table("check", "objects", "verdict", title=f"generation {found.generation}")
        for check in found.checks:
            table.add_row(check.name, f"{check.checked:,}", coloured(check.verdict))
        self.show(table)
        for check in found.checks:
            for finding in check.findings[:_MOST_FINDINGS]:
                self.say(f"{check.name}: {finding.verdict}: {finding.what}")
            if len(check.findings) > _MOST_FINDINGS:
                self.say(f"{check.name}: {len(check.findings) - _MOST_FINDINGS} more; --json has all")
        self.say(Text.assemble("verdict: ", coloured(found.verdict)))
        if found.anchor:
            self.say("anchor, to be kept elsewhere and given to the next verification:")
            self._console.print(found.anchor, soft_wrap=True)  # in one piece, to be copied

    def settled(self, report: SettleResult) -> None:
        self.say(
            f"settled {plural(len(report.request_ids), 'request')}: retrained {plural(len(report.shards), 'shard')}, "
            f"{report.passes:,.0f} passes, {report.compute_seconds:.1f} s of compute; generation {report.generation}"
        )

    def evaluation(self, evaluation: Evaluation) -> None:
        alone = evaluation.constituent_accuracy.values()
        self.say(
            f"accuracy {evaluation.accuracy:.2%} on {plural(evaluation.samples, 'sample')} "
            f"(generation {evaluation.generation}); {plural(len(alone), 'constituent')} alone: "
            f"{min(alone):.2%} to {max(alone):.2%}"
        )


def _deadlines(deadlines: Sequence[Deadline]) -> Table:
    table = Table("request", "due", "owed by shards", "passes", "exact after, s", "")
    for one in deadlines[:_MOST_DEADLINES]:
        shards = ", ".join(str(shard) for shard in one.shards[:8]) + (", ..." if len(one.shards) > 8 else "")
        table.add_row(
            one.request_id,
            f"{one.due_at:%Y-%m-%d %H:%M}",
            shards,
            f"{one.retrain_passes:,.0f}",
            f"{one.exact_after_s:.2f}",
            Text("late", style=_LATE) if one.is_late else "in time",
        )
    if len(deadlines) > _MOST_DEADLINES:
        table.caption = f"and {len(deadlines) - _MOST_DEADLINES} more"
    return table


def _place(place: ShardLocation | None) -> str:
    if place is None:
        return "disk"
    gpus = f", GPU {'+'.join(place.gpus)}" if place.gpus else ""
    workers = f", trained by {place.workers} workers" if place.workers > 1 else ""
    return f"{place.node}{gpus}, {place.device}{workers}{', at work' if place.is_at_work else ''}"


def _timeline(receipt: Receipt) -> str:
    """How long after it was received a request got how far."""
    steps = {
        "forgotten (rewound)": receipt.rewound_at,
        "repaired": receipt.repaired_at,
        "published": receipt.published_at,
        "purged": receipt.purged_at,
        "settled": receipt.settled_at if receipt.settled_at != receipt.published_at else None,
    }
    times = [f"{name} after {_seconds(receipt.received_at, at):.3f} s" for name, at in steps.items() if at]
    result = receipt.exactness or "not repaired yet"
    return f"{plural(receipt.samples, 'sample')}, {result}: " + ", ".join(times)


def _seconds(start: datetime, end: datetime) -> float:
    return (end - start).total_seconds()
