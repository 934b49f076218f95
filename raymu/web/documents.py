"""The bodies that the service takes, and the answers that it gives."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictInt, StrictStr, model_validator

from raymu.config.unlearning import Strategy
from raymu.service.requests.revocation import Revocation

MOST_IDS = 100_000
"""Ids of one request."""
MOST_ROWS = 65_536
"""Rows of one prediction."""

Id = Annotated[StrictInt, Field(ge=-(2**63), lt=2**64)] | Annotated[StrictStr, Field(min_length=1, max_length=4_096)]
Name = Annotated[StrictStr, Field(min_length=1, max_length=256)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class RequestBody(_Body):
    """A deletion: samples by id, or all samples of an owner."""

    ids: Annotated[list[Id], Field(min_length=1, max_length=MOST_IDS)] | None = None
    owner: Id | None = None
    run: Name | None = None
    """One run; without it, every run that holds the subject."""
    strategy: Strategy | None = None
    boundary: Annotated[float, Field(ge=0, allow_inf_nan=False)] | Name | None = None
    due: datetime | None = None
    ignore_unknown: bool = False

    @model_validator(mode="after")
    def _names_one_subject(self) -> "RequestBody":
        if (self.ids is None) == (self.owner is None):
            raise ValueError("give ids, or an owner")
        if self.due is not None and self.due.tzinfo is None:
            raise ValueError("due names no time zone")
        return self

    def revocation(self, key: str | None) -> Revocation:
        """Return the request as a run takes it. Raises RequestInvalid."""
        return Revocation(
            ids=tuple(self.ids or ()),
            owner=self.owner,
            strategy=self.strategy,
            boundary=self.boundary,
            due=self.due,
            key=key,
            ignore_unknown=self.ignore_unknown,
        )


class RunOutcome(BaseModel):
    """What one run answered to a deletion."""

    run: str
    status: Literal["accepted", "revoked before", "not held", "refused", "failed"]
    request_id: str | None = None
    """The request that revokes the samples, this one or an earlier one."""
    earlier_requests: list[str] = []
    """Requests that revoked some of the samples before."""
    location: str | None = None
    """Where the request can be followed."""
    problem: str | None = None


class RequestAnswer(BaseModel):
    """What the runs answered to a deletion."""

    runs: list[RunOutcome]


class GroupState(BaseModel):
    """What a repaired request waits for before predictions come from its repaired states. It is forgotten meanwhile."""

    further_requests: int
    """How many more repaired requests make the group complete."""
    visible_by: datetime
    """When the group becomes visible, however small it is."""
    rewound_shards: int
    """Shards of the request that serve a state from before its samples until then."""
    abstaining_shards: int
    """Shards of the request without a vote until then."""


class RequestState(BaseModel):
    """How far a request has come."""

    run: str
    request_id: str
    stage: str
    """accepted, rewound, published, purged or settled."""
    exactness: str | None
    samples: int
    strategy: str
    received_at: datetime
    due_at: datetime
    due_met: bool | None
    rewound_at: datetime | None
    published_at: datetime | None
    purged_at: datetime | None
    settled_at: datetime | None
    has_receipt: bool
    group: GroupState | None = None
    """What it waits for together with others, if deletions are published in groups; null if it does not wait."""


class PredictionBody(_Body):
    """Samples to predict: rows by the names of their columns, or arrays of features."""

    run: Name | None = None
    """The run; needed if the service has several."""
    rows: Annotated[list[dict[str, Any]], Field(min_length=1, max_length=MOST_ROWS)] | None = None
    features: Annotated[list[Any], Field(min_length=1, max_length=MOST_ROWS)] | None = None
    labels_only: bool = False
    """Leave out the probabilities, which reveal more about single training samples."""

    @model_validator(mode="after")
    def _has_one_form(self) -> "PredictionBody":
        if (self.rows is None) == (self.features is None):
            raise ValueError("give rows, or features")
        return self


class PredictionAnswer(BaseModel):
    """Predictions, all of one generation."""

    run: str
    generation: int
    names: list[str]
    """Classes, labels or columns of numbers."""
    labels: list[Any]
    """For each sample the class, the list of its labels, or its numbers."""
    certain: list[bool] | None = None
    """For each sample whether its class stays the same whatever the shards will say that are rewound, abstain, are patched or
    wait; null for labels and numbers."""
    probabilities: list[list[float]] | None = None
    """(samples, classes); null for numbers, or if they were left out."""


class Problem(BaseModel):
    """Why a call was refused."""

    error: str
