"""The spelling by which a run knows an id or an owner that a request names in another."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from raymu.core.records import SampleId
from raymu.data.ids import as_sample_id
from raymu.data.scalars import as_id
from raymu.data.spellings import spellings
from raymu.errors import RequestInvalid
from raymu.service.pseudonyms import Kind, identity_text, pseudonym
from raymu.service.requests.sample_index import SampleIndex
from raymu.store.journal.journal_reader import JournalReader
from raymu.store.run import RunStore


@dataclass(frozen=True, kw_only=True, slots=True)
class Owned:
    """An owner as the run knows it."""

    pseudonym: str
    sample_ids: Sequence[SampleId]
    """The samples of the owner that the run holds."""


class Identities:
    """Finds ids and owners in the samples that a run holds, and in those that it has forgotten."""

    def __init__(self, samples: SampleIndex, journal: JournalReader, store: RunStore) -> None:
        self._samples, self._journal, self._store = samples, journal, store

    def owned_by(self, owners: Iterable[SampleId]) -> dict[SampleId, Owned]:
        """Return what the run knows of each owner, by its text in any spelling."""
        forms = {owner: owner_forms(owner) for owner in owners}
        every = list(dict.fromkeys(form for each in forms.values() for form in each))
        held = dict(zip(every, self._samples.owned_by(every), strict=True))
        known = self._revoked("owner", (form for each in forms.values() if len(each) > 1 for form in each))
        result = {}
        for owner, each in forms.items():
            spelled = next(
                (form for form in each if held[form]), next((form for form in each if form in known), each[0])
            )
            result[owner] = Owned(pseudonym=self.pseudonym("owner", spelled), sample_ids=held[spelled])
        return result

    def spelled(self, sample_ids: Iterable[SampleId]) -> Mapping[SampleId, SampleId]:
        """Return the run's spelling of those ids that have several and are known by another than the given one."""
        forms = {sample_id: spellings(sample_id) for sample_id in sample_ids}
        several = {sample_id: each for sample_id, each in forms.items() if len(each) > 1}
        every = list(dict.fromkeys(form for each in several.values() for form in each))
        held = {form for form, home in zip(every, self._samples.homes(every), strict=True) if home} if every else set()
        known = self._revoked("id", (form for each in several.values() if held.isdisjoint(each) for form in each))
        spelled = {
            sample_id: next(form for form in each if form in held or form in known)
            for sample_id, each in several.items()
            if not (held.isdisjoint(each) and known.isdisjoint(each))
        }
        return self._padded([text for text in forms if isinstance(text, str) and text not in spelled]) | spelled

    def _padded(self, texts: Sequence[str]) -> dict[SampleId, SampleId]:
        """Return the ids with space around them, which version 0.1 kept, of texts that the run never held without it."""
        homes = self._samples.homes(texts) if texts else []
        unknown = [text for text, home in zip(texts, homes, strict=True) if home is None]
        padded = self._samples.padded(unknown) if unknown else {}
        held = [text for text in unknown if text in padded]
        revoked = self._revoked("id", held)
        return {text: padded[text] for text in held if text not in revoked}

    def verbatim(self, sample_ids: Iterable[SampleId]) -> set[str]:
        """Return the texts that the run holds, or has revoked, as they are given: version 0.1 kept ids with space around."""
        texts = [text for text in sample_ids if isinstance(text, str) and _is_converted(text)]
        if not texts:
            return set()
        held = {text for text, home in zip(texts, self._samples.homes(texts), strict=True) if home}
        return held | {str(text) for text in self._revoked("id", texts)}

    def pseudonym(self, kind: Kind, value: SampleId) -> str:
        return pseudonym(identity_text(kind, value), self._store.keys.hash_key)

    def _revoked(self, kind: Kind, forms: Iterable[SampleId]) -> set[SampleId]:
        """Return those of these spellings that some request has revoked."""
        by_pseudonym = {self.pseudonym(kind, form): form for form in forms}
        return {by_pseudonym[each] for each in self._journal.revoked_by(list(by_pseudonym))} if by_pseudonym else set()


def id_forms(sample_id: SampleId, *, integers: bool) -> tuple[SampleId, ...]:
    """Return the forms in which a run may know an id: of text as it is given, and its spellings. None if it is no id.

    Args:
        sample_id: The id, as somebody gives it.
        integers: Whether the ids of the run are integers.
    """
    try:
        kept = as_sample_id(sample_id, integers=integers)
    except RequestInvalid:
        return ()
    verbatim = (sample_id,) if isinstance(sample_id, str) and not integers else ()
    return tuple(dict.fromkeys((*verbatim, *spellings(kept))))


def _is_converted(text: str) -> bool:
    try:
        return as_id(text) != text
    except ValueError:
        return True


def owner_forms(owner: SampleId) -> tuple[str, ...]:
    """Return the texts by which a run may know an owner. Version 0.1 kept them with the space around them."""
    try:
        kept = as_id(owner)
    except ValueError:
        return (str(owner),)
    return tuple(dict.fromkeys((str(owner), *map(str, spellings(kept)))))
