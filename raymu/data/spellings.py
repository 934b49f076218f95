"""The spellings of one id: a UUID with or without hyphens, a hash in either case, bytes as text or as digits."""

import re
from collections.abc import Container, Iterator
from uuid import UUID

from raymu.core.records import SampleId
from raymu.data.scalars import canonical_text, text_of_bytes

_HYPHENED = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")
_UUID_BYTES, _HYPHENED_LENGTH, _FEWEST_BYTES = 16, 36, 8
_HEX = re.compile(r"(?:[0-9a-f]{2}){8,}", re.IGNORECASE)
"""Digits long enough to be a hash, and not another id."""


def spelling_in(known: Container[SampleId], sample_id: SampleId) -> SampleId:
    """Return the spelling of an id, or of an owner, that is known; the id as it is, if none is."""
    return next((spelling for spelling in spellings(sample_id) if spelling in known), sample_id)


def spellings(sample_id: SampleId) -> tuple[SampleId, ...]:
    """Return the forms in which a run may keep an id, or an owner: as it is, then the others.

    UUIDs and hashes have several: 32 hexadecimal digits may be a UUID, hashes come in either case, and bytes can be given as
    text or as digits. A short text has one form, and decimal digits are not taken for bytes: they could be another id.
    """
    return (sample_id,) if isinstance(sample_id, int) else tuple(dict.fromkeys((sample_id, *_others(sample_id))))


def canonical_key(sample_id: SampleId) -> SampleId:
    """Return what all spellings of a UUID or of a hash have in common, for finding ids that are the same."""
    if isinstance(sample_id, int):
        return sample_id
    digits = sample_id.replace("-", "") if len(sample_id) == _HYPHENED_LENGTH else sample_id
    return digits.lower() if len(digits) >= 2 * _UUID_BYTES and _HEX.fullmatch(digits) else sample_id


def _others(text: str) -> Iterator[str]:
    canonical = canonical_text(text)
    yield canonical
    digits = canonical.replace("-", "") if _HYPHENED.fullmatch(canonical) else canonical
    payload = canonical.encode()
    if _HEX.fullmatch(digits):
        payload = bytes.fromhex(digits)
        yield from (digits.lower(), digits.upper())
        spelled = text_of_bytes(payload)
        if spelled is not None and not digits.isdecimal():
            yield spelled
    elif len(payload) >= _FEWEST_BYTES and not payload.hex().isdecimal():
        yield from (payload.hex(), payload.hex().upper())
    if len(payload) == _UUID_BYTES:
        hyphened = str(UUID(bytes=payload))
        yield from (hyphened, hyphened.upper(), f"{{{hyphened}}}", f"{{{hyphened.upper()}}}")
