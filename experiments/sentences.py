"""What the results say, with numbers: a sentence for each experiment, of its rows or its documents."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from rows import Rows, column, distinct, mean, spread, where
from wording import count, less, percent, points, speedup, times

BULK, SINGLES = "1%", "20 singles"

Document = Mapping[str, Any]
"""A result that is kept as JSON."""


def strategies(rows: Rows) -> str:
    images = where(rows, data="fashion-mnist", model="mlp")
    share = 1.0 / less(images, BULK, "ohs", "from scratch", "seconds")
    lost = points(where(images, scenario=BULK, method="ohs"))
    return (
        f"Fashion-MNIST, 1% at once: ohs loses {lost} points at {share:.1%} of exact retraining's compute; table below"
    )


def partitions(rows: Rows) -> str:
    letters = where(rows, data="letter", method="sisa", slices=5)
    shards = sorted(distinct(letters, "shards"))
    few, many = (where(letters, shards=one) for one in (shards[0], shards[-1]))
    work = mean(few, "passes") / mean(many, "passes")
    return (
        f"letter: with {shards[-1]} shards instead of {shards[0]}, {times(work)} less work for a request, and accuracy "
        f"{percent(many, 'test_accuracy')}% instead of {percent(few, 'test_accuracy')}%"
    )


def boundary(rows: Rows) -> str:
    images = where(rows, data="fashion-mnist", method="hs")
    exact = mean(where(images, boundary=1.0), "passes")
    cells = [
        f"{boundary:g}: {times(exact / mean(where(images, boundary=boundary), 'passes'))}, "
        f"{100.0 * mean(where(images, boundary=boundary), 'accuracy_lost'):+.2f} points"
        for boundary in sorted(distinct(images, "boundary"))
        if 0.0 < boundary < 1.0
    ]
    return f"Fashion-MNIST, hs, times less work than sisa and accuracy lost at boundary {'; '.join(cells)}"


def contributions(rows: Rows) -> str:
    patched = where(rows, method="dpus", scenario=BULK)
    cells = []
    for reading in distinct(rows, "reading"):
        calibrated, published = (where(patched, reading=reading, calibration=text) for text in ("True", "False"))
        lost = [f"{100.0 * mean(found, 'accuracy_lost'):.1f}" for found in (published, calibrated)]
        far = [f"{mean(found, 'forget_distance'):.2f}" for found in (published, calibrated)]
        cells.append(f"{reading}: {lost[0]} to {lost[1]} points lost, distance {far[0]} to {far[1]}")
    return f"1% at once, patched only, without and with calibration: {'; '.join(cells)}"


def forgetting_time(rows: Rows) -> str:
    singles = where(rows, data="letter", kind="latency")
    rewound, first = (column(where(singles, method=one), "seconds") for one in ("rewind, then patch", "retrain first"))
    return (
        f"letter, one by one: rewound in {1000.0 * np.median(rewound):.1f} ms (99 of 100 within "
        f"{1000.0 * np.quantile(rewound, 0.99):.1f} ms); retrained first in {1000.0 * np.median(first):.0f} ms"
    )


def limits(rows: Rows) -> str:
    many = where(rows, scenario="many at once")
    most = max(distinct(many, "per_shard"))
    work = {
        per_shard: mean(where(many, method="from scratch", per_shard=per_shard), "passes")
        / mean(where(many, method="sisa", per_shard=per_shard), "passes")
        for per_shard in (1, most)
    }
    voters = mean(where(many, method="sisa", per_shard=most), "voters")
    small = where(rows, scenario="small models", samples=min(distinct(rows, "samples")))
    milliseconds, accuracy = (
        {one: scale * mean(where(small, method=one), name) for one in ("sisa", "unsharded")}
        for name, scale in (("repaired_s", 1000.0), ("test_accuracy", 100.0))
    )
    return (
        f"1 sample for each shard: sisa {times(work[1])} less work than training anew; {most}: {times(work[most])}, and "
        f"{voters:.1f} shards left to vote. {min(distinct(rows, 'samples'))} samples in all: sisa takes "
        f"{milliseconds['sisa']:.0f} ms and is {accuracy['sisa']:.0f}% accurate, one model anew "
        f"{milliseconds['unsharded']:.0f} ms and {accuracy['unsharded']:.0f}%"
    )


def forecast(rows: Rows) -> str:
    wrong = sum(row["passes"] != row["forecast_passes"] for row in rows)
    return f"passes wrong in {wrong} of {len(rows)}; seconds: median error {np.median(column(rows, 'error')):.0%}"


def throughput(rows: Rows) -> str:
    cells = []
    for reading in distinct(rows, "reading"):
        found = where(rows, reading=reading)
        least, greatest = spread(found, "ratio")
        megabytes = mean(found, "update_bytes") / 1e6
        cells.append(
            f"{reading} {np.median(column(found, 'ratio')):.2f} ({least:.2f} to {greatest:.2f}), {megabytes:.0f} MB"
        )
    return f"samples per second as a share of the bare loop's, and recorded for a shard: {'; '.join(cells)}"


def scaling(rows: Rows) -> str:
    weak, strong = (speedup(where(rows, scaling=kind)) for kind in ("weak", "strong"))
    return f"twice the shards for two workers (weak scaling): {weak}; as many for both (strong scaling): {strong}"


def fine_tuning(rows: Rows) -> str:
    cells = []
    for method in distinct(rows, "method"):
        if method.startswith("ohs"):
            found = where(rows, method=method)
            cells.append(
                f"{method.removeprefix('ohs, ')}: {points(found)} points lost at {mean(found, 'share_of_passes'):.1%} of the "
                f"oracle's sample passes, {mean(found, 'share_of_seconds'):.1%} of its seconds"
            )
    return f"Fashion-MNIST, 1% at once, epochs at most {'; '.join(cells)}"


def many_shards(rows: Rows) -> str:
    few, many = (where(rows, shards=one) for one in (min(distinct(rows, "shards")), max(distinct(rows, "shards"))))
    cells = []
    for found in (few, many):
        plan, single = where(found, what="plan"), where(found, what="single")
        [every] = where(found, what="every shard")
        cells.append(
            f"{found[0]['shards']} shards: forecast {1000.0 * np.median(column(plan, 'seconds')):.0f} ms, a request "
            f"{1000.0 * np.median(column(single, 'coordinator_s')):.0f} ms of the coordinator, one that touches every shard "
            f"{every['coordinator_s'] / every['touched'] * 1000.0:.1f} ms for each, {every['coordinator_mb']:.0f} MB"
        )
    return "; ".join(cells)


def traffic(rows: Rows) -> str:
    exact = where(rows, method="sisa")
    alone, storm = (mean(where(exact, scenario=one), "passes") for one in ("one by one", "storm of 40"))
    uniform, owner = (mean(where(exact, scenario=f"owners, {one}"), "passes") for one in ("uniform", "owner"))
    return (
        f"sisa: 40 requests at once take {times(alone / storm)} less work than one by one; owners' requests "
        f"{times(uniform / owner)} less where the samples of an owner share a slice"
    )


def tuning(rows: Rows) -> str:
    fresh = where(rows, trace="fresh", is_chosen="True")
    cells = []
    for name in distinct(fresh, "data"):
        chosen = where(fresh, data=name)
        regrets = column(chosen, "regret")
        best = sum(regret <= 1e-9 for regret in regrets)
        cells.append(
            f"{name}: the best on fresh traffic in {best} of {len(regrets)}, greatest regret {max(regrets):.3f}"
        )
    return "; ".join(cells)


def kills(found: Document) -> str:
    victims = ", ".join(f"{killed} {victim}s" for victim, killed in found["by_victim"].items())
    return (
        f"{found['kills']} kills ({victims}): {found['requests_lost']} of {found['requests_acknowledged']} acknowledged "
        f"requests lost, {found['requests_accepted_twice'] + found['repairs_applied_twice']} carried out twice; "
        f"{found['runs_equal_to_the_undisturbed_one']} of {found['runs']} runs equal to the undisturbed one, "
        f"{found['runs_that_verify_passes_after_replay']} pass `verify --replay`"
    )


def acknowledgements(*documents: Document) -> str:
    cells = []
    for one in documents:
        single, many = one["single"], one["submission"]
        cells.append(
            f"{one['database']}: one by one {count(single['per_second'])} a second, 99 of 100 within "
            f"{single['p99_ms']:.1f} ms; {count(many['requests'])} at once "
            f"{count(many['acknowledged_per_second'])} a second, all served after {many['purged_after_s']:.0f} s, "
            f"with {many['peak_memory_mb']:.0f} MB"
        )
    return "; ".join(cells)


def audit_power(*documents: Document) -> str:
    cells = []
    for one in documents:
        found = {size["samples"]: size["forgot_nothing_found"] for size in one["forget_sets"]}
        alarms = [size[name] for size in one["forget_sets"] for name in ("exact_remembers", "exact_over_forgets")]
        finds = ", ".join(f"{share:.0%} of {samples}" for samples, share in found.items() if samples > 1)
        cells.append(
            f"{one['data'].removesuffix('-train.parquet')}: a model that forgot nothing fails {finds} samples' audits, an "
            f"exact retraining at most {max(alarms):.1%}"
        )
    return "; ".join(cells)


def lira_agreement(found: Document) -> str:
    ranks = [rank for one in found["comparisons"] for rank in one["spearman"].values()]
    samples, version = found["samples"], found["comparisons"][0]["sacroml"]
    return f"Spearman's rank correlation over {count(samples)} samples at least {min(ranks):.4f} (sacroml {version})"


def capacity(found: Document) -> str:
    samples, coordinator, patched = found["samples"], found["coordinator"], found["requests"]["patched"]
    return (
        f"a sample: {samples['index_bytes']:.0f} bytes in the coordinator; a shard of {coordinator['slices']} slices: "
        f"{coordinator['generation_bytes_per_shard'] / 1000:.1f} kB in each generation; a request: "
        f"{patched['bytes'] / 1000:.1f} kB in the journal, {patched['message_bytes'] / 1000:.1f} kB to a worker and back"
    )
