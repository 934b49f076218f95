"""Strategies for every record that a run may contain."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TypeVar

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from raymu.config import UnlearningConfig
from raymu.config.unlearning import Boundary, BoundaryKind, Strategy
from raymu.core.commands import Decision, RepairReport
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
from raymu.core.prediction_change import PredictionChange
from raymu.core.receipt import Receipt, ShardReceipt
from raymu.core.records import (
    CheckpointRef,
    Constituent,
    Exactness,
    FileRef,
    Generation,
    Remedy,
    ShardLineage,
    ShardState,
)
from raymu.core.requests import ForgetSet, RevocationRequest

times = st.datetimes(min_value=datetime(2000, 1, 1), max_value=datetime(2100, 1, 1), timezones=st.just(UTC))
names = st.text(st.characters(codec="utf-8"), max_size=8)
many_names = st.lists(names, max_size=3).map(tuple)
counts = st.integers(0, 2**40)
amounts = st.floats(0.0, 1e12)
hashes = st.text("0123456789abcdef", min_size=64, max_size=64)
paths = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)
file_refs = st.builds(FileRef, path=paths, sha256=hashes, byte_size=counts)
checkpoint_refs = st.builds(CheckpointRef, stage=counts, file=file_refs, weights_sha256=hashes, descent=hashes)
decisions = st.builds(
    Decision, remedy=st.sampled_from(Remedy), reason=names, passes=amounts, seconds=amounts, fixed_seconds=amounts
)


Item = TypeVar("Item")


def several(items: SearchStrategy[Item]) -> SearchStrategy[tuple[Item, ...]]:
    return st.lists(items, max_size=2).map(tuple)


@st.composite
def lineages(draw: DrawFn) -> ShardLineage:
    slices = draw(st.integers(1, 3))
    tainted_from = draw(st.none() | st.integers(0, slices - 1))
    sound = slices if tainted_from is None else tainted_from
    checkpoints = [draw(st.none() | checkpoint_refs) for _ in range(sound)]
    return ShardLineage(
        shard=draw(counts),
        table=draw(file_refs),
        slice_samples=tuple(draw(counts) for _ in range(slices)),
        checkpoints=(*checkpoints, *[None] * (slices - sound)),
        updates=tuple(draw(st.none() | file_refs) for _ in range(slices)),
        serving=draw(checkpoint_refs),
        tainted_from=tainted_from,
        debts=() if tainted_from is None else (draw(names),),
        seconds_per_pass=draw(amounts),
        seconds_per_stage=draw(amounts),
    )


constituents = st.builds(
    Constituent,
    shard=counts,
    state=st.sampled_from(ShardState),
    checkpoint=st.none() | checkpoint_refs,
    stages_trained=counts,
    samples=counts,
)
boundaries = st.builds(Boundary, kind=st.sampled_from(BoundaryKind), value=st.floats(0.0, 1.0))
forget_sets = st.builds(
    ForgetSet, shard=counts, samples_by_slice=st.dictionaries(st.integers(0, 9), st.integers(1, 9), min_size=1)
)
requests = st.builds(
    RevocationRequest,
    request_id=st.uuids().map(str),
    payload_sha256=hashes,
    key=st.none() | names,
    strategy=st.sampled_from(Strategy),
    boundary=boundaries,
    received_at=times,
    due_at=times,
    forget=several(forget_sets),
)
changes = st.builds(
    PredictionChange, forgotten=st.none() | amounts, retained=st.none() | amounts, unseen=st.none() | amounts
)
reports = st.builds(
    RepairReport,
    command_id=st.uuids().map(str),
    request_ids=many_names,
    planned=decisions,
    remedy=st.sampled_from(Remedy),
    reason=names,
    lineage=lineages(),
    passes=amounts,
    seconds=amounts,
    determinism=names,
    forget_loss=st.none() | amounts,
    unseen_loss=st.none() | amounts,
    change=st.none() | changes,
)
generations = st.builds(
    Generation,
    number=st.integers(0, 10**8 - 1),
    previous_sha256=hashes,
    cause=names,
    request_ids=many_names,
    published_at=times,
    constituents=several(constituents),
    lineages=several(lineages()),
)
shard_receipts = st.builds(
    ShardReceipt,
    shard=counts,
    samples=counts,
    remedy=st.sampled_from(Remedy),
    planned=st.sampled_from(Remedy),
    reason=names,
    exactness=st.sampled_from(Exactness),
    forecast_passes=amounts,
    forecast_seconds=amounts,
    passes=amounts,
    seconds=amounts,
    command_id=names,
    requests=counts,
    settled_by=st.none() | names,
    forget_loss=st.none() | amounts,
    unseen_loss=st.none() | amounts,
    determinism=names,
    change=st.none() | changes,
    residual=st.none() | changes,
)
receipts = st.builds(
    Receipt,
    request_id=st.uuids().map(str),
    hashes=many_names,
    strategy=names,
    boundary=names,
    samples=counts,
    received_at=times,
    due_at=times,
    accepted_at=times,
    generation_before=counts,
    manifest_before=hashes,
    published_at=st.none() | times,
    generation_after=st.none() | counts,
    exactness=st.none() | st.sampled_from(Exactness),
    shards=several(shard_receipts),
)
EVENTS: Sequence[SearchStrategy[Event]] = (
    st.builds(RunTrained, at=times, lineages=several(lineages()), workers=counts),
    st.builds(
        RunExtended,
        at=times,
        tables=several(file_refs),
        slice_samples=several(several(counts)),
        epochs=several(counts),
        left_out=counts,
        conversions=several(names),
    ),
    st.builds(
        RevocationsAccepted,
        at=times,
        requests=st.lists(requests, max_size=2, unique_by=lambda request: request.request_id).map(tuple),
        generation=counts,
    ),
    st.builds(SettleRequested, at=times, shards=several(counts)),
    st.builds(ShardRepaired, at=times, report=reports),
    st.builds(ShardFailed, at=times, shard=counts, command_id=names),
    st.builds(WorkResumed, at=times),
    st.builds(GroupReleased, at=times),
    st.builds(UnlearningConfigured, at=times, unlearning=st.just(UnlearningConfig())),
    st.builds(DamageFound, at=times, first_stages=st.dictionaries(counts, counts)),
    st.builds(
        GenerationPublished,
        at=times,
        number=counts,
        manifest_sha256=hashes,
        rewound=many_names,
        repaired=many_names,
        settled=many_names,
    ),
    st.builds(RequestsPurged, at=times, request_ids=many_names, files=several(file_refs), rows=counts),
    st.builds(GenerationEvaluated, at=times, number=counts, samples=counts, accuracy=st.floats(0.0, 1.0)),
)
"""One strategy for each kind of event."""
