"""Samples and owners that a new run is made without, as they were named and as its table spells them."""

from collections.abc import Collection
from dataclasses import dataclass

from raymu.core.records import SampleId
from raymu.data.ids import as_sample_ids
from raymu.data.scalars import as_id
from raymu.data.spellings import spelling_in, spellings
from raymu.errors import RequestInvalid, UnknownOwner, UnknownSamples
from raymu.service.placed_facts import PlacedFacts
from raymu.text import one_line


@dataclass(frozen=True, kw_only=True, slots=True)
class NamedSamples:
    """The samples and owners that are left out, as they were named."""

    ids: tuple[SampleId, ...]
    """Ids of samples, of the type that the table has."""
    owners: tuple[str, ...]
    """Owners whose samples are left out too."""
    has_integer_ids: bool
    """Whether ids are integers."""
    problem: RequestInvalid | None = None
    """What is wrong with a name. The table's own problems come first."""

    @classmethod
    def of(cls, ids: Collection[SampleId], owners: Collection[SampleId], *, has_integer_ids: bool) -> "NamedSamples":
        """Take ids and owners. has_integer_ids: Whether the table has integers for ids"""
        try:
            return cls(
                ids=tuple(as_sample_ids(ids, integers=has_integer_ids)),
                owners=tuple(str(_id_as_kept(owner)) for owner in owners),
                has_integer_ids=has_integer_ids,
            )
        except RequestInvalid as error:
            return cls(ids=(), owners=(), has_integer_ids=has_integer_ids, problem=error)

    @property
    def spelled_ids(self) -> frozenset[SampleId]:
        """All forms in which the table may have the ids."""
        return frozenset(form for sample_id in self.ids for form in spellings(sample_id))

    @property
    def spelled_owners(self) -> frozenset[str]:
        """All forms in which the table may have the owners."""
        return frozenset(str(form) for owner in self.owners for form in spellings(owner))

    def left_out_ids(self, facts: PlacedFacts) -> Collection[SampleId]:
        """Return the ids that are left out, as the table spells them. Raises RequestInvalid, UnknownSamples."""
        if self.problem is not None:
            raise self.problem
        known = frozenset(row.sample_id for row in facts.named)
        excluded = frozenset(spelling_in(known, sample_id) for sample_id in self.ids)
        if unknown := sorted(excluded - known, key=str):
            raise UnknownSamples([str(sample_id) for sample_id in unknown[:3]], len(unknown))
        return excluded

    def left_out_owners(self, facts: PlacedFacts, *, has_owners: bool) -> Collection[str]:
        """Return the owners whose samples are left out, as the table spells them. Raises RequestInvalid, UnknownOwner."""
        if self.owners and not has_owners:
            raise RequestInvalid(
                "owners can be left out of a run that knows them: set data.owner, or exclude samples by id"
            )
        known = frozenset(row.owner for row in facts.named if row.owner is not None)
        excluded = frozenset(str(spelling_in(known, owner)) for owner in self.owners)
        if unknown := sorted(excluded - known):
            raise UnknownOwner(unknown[0])
        return excluded


def _id_as_kept(value: SampleId) -> SampleId:
    try:
        return as_id(value)
    except ValueError as error:
        raise RequestInvalid(f"{one_line(error)}; leave it out") from error
