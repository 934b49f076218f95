"""The fields of an event's log line: numbers, remedies and the random ids of requests.

A log never contains what a request names: no sample, owner or idempotency key, no hash of one, and no text from outside.
"""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from raymu.core.events import (
    DamageFound,
    Event,
    GenerationEvaluated,
    GenerationPublished,
    GroupReleased,
    RequestsPurged,
    RevocationsAccepted,
    RunExtended,
    RunTrained,
    SettleRequested,
    ShardFailed,
    ShardRepaired,
    UnlearningConfigured,
    WorkResumed,
)

MOST_REQUESTS = 20
"""Most request ids in one log line, which also says how many requests there are. The journal has all of them."""

LogValue: TypeAlias = str | int | float | tuple[str, ...]


def log_fields(event: Event) -> Mapping[str, LogValue]:
    """Return what may be logged of an event."""
    match event:
        case RunTrained(lineages=lineages, workers=workers):
            samples = sum(lineage.samples for lineage in lineages)
            return {"shards": len(lineages), "samples": samples, "workers": workers}
        case RunExtended(slice_samples=slice_samples, epochs=epochs):
            return {"shards": len(slice_samples), "samples": event.samples, "slices": len(epochs)}
        case RevocationsAccepted(requests=requests, generation=generation):
            return {
                "generation": generation,
                "samples": sum(request.samples for request in requests),
                "shards": len({part.shard for request in requests for part in request.forget}),
                **logged_requests([request.request_id for request in requests]),
            }
        case SettleRequested(shards=shards):
            return {"shards": len(shards)}
        case ShardRepaired(report=report):
            return {
                "shard": report.shard,
                "remedy": report.remedy,
                "exactness": report.exactness,
                "passes": report.passes,
                "seconds": report.seconds,
                **logged_requests(report.request_ids),
            }
        case ShardFailed(shard=shard):
            return {"shard": shard}
        case WorkResumed() | GroupReleased():
            return {}
        case DamageFound(first_stages=first_stages):
            return {"shards": len(first_stages)}
        case UnlearningConfigured(unlearning=unlearning):
            return {"strategy": unlearning.strategy, "boundary": str(unlearning.boundary)}
        case GenerationPublished(number=number, rewound=rewound, repaired=repaired, settled=settled):
            counts = {"rewound": len(rewound), "repaired": len(repaired), "settled": len(settled)}
            return {"generation": number, **counts, **logged_requests((*rewound, *repaired, *settled))}
        case RequestsPurged(request_ids=request_ids, files=files, rows=rows):
            return {"files": len(files), "rows": rows, **logged_requests(request_ids)}
        case GenerationEvaluated(number=number, samples=samples, accuracy=accuracy):
            return {"generation": number, "samples": samples, "accuracy": accuracy}


def logged_requests(request_ids: Sequence[str]) -> Mapping[str, LogValue]:
    """Return the fields that name requests by their random ids."""
    return {"requests": len(request_ids), "request_ids": tuple(request_ids[:MOST_REQUESTS])}
