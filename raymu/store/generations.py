"""The files of the generations of a run: each sealed, and chained to the one before it.

A file is whole, or a record of the shards that changed since the generation before it.
"""

import hashlib
from collections.abc import Iterable

from raymu.core.events import GenerationPublished
from raymu.core.records import FileRef, Generation
from raymu.errors import FileCorrupt
from raymu.store.codec import seal, unseal
from raymu.store.files.concurrency import map_concurrently
from raymu.store.files.run_files import RunFiles
from raymu.store.keys import RunKeys
from raymu.store.layout import kind_of

_FOLDER = "generations"


class GenerationFiles:
    """Generation files of a run. The journal says which one is current: a file alone may be an old copy, or not committed."""

    def __init__(self, files: RunFiles, keys: RunKeys) -> None:
        self._files, self._keys = files, keys

    def write(self, generation: Generation) -> FileRef:
        """Write the file of a generation. Raises StorageFailed."""
        return self._files.write(generation_path(generation.number), seal(generation, self._keys.hash_key))

    def read(self, published: GenerationPublished) -> Generation:
        """Read a published generation whole: the last whole one, and every record since, in one chain.

        Raises FileMissing, FileCorrupt.
        """
        numbers = published.numbers
        payloads = map_concurrently(self._files.read, [generation_path(number) for number in numbers])
        chain: list[Generation] = []
        sha256, problem = published.manifest_sha256, "not the generation that the journal names"
        for number, payload in zip(reversed(numbers), reversed(payloads), strict=True):
            generation = self._checked(number, payload, sha256, problem)
            if generation.base != (None if number == numbers[0] else numbers[0]):
                raise FileCorrupt(self._source(number), "it builds on another generation than the journal says")
            chain.append(generation)
            sha256, problem = generation.previous_sha256, "not the one that the record after it names"
        *records, whole = chain
        return whole.then(*reversed(records))

    def check(self, published: GenerationPublished) -> None:
        """Compare the file of a generation with the journal, without those that it builds on.

        Raises FileMissing, FileCorrupt.
        """
        number = published.number
        payload = self._files.read(generation_path(number))
        self._checked(number, payload, published.manifest_sha256, "not the generation that the journal names")

    def check_chain(self, published: GenerationPublished) -> None:
        """Compare the files of a generation, and of those that it builds on, with the journal. No whole one is decoded.

        Raises FileMissing, FileCorrupt.
        """
        first, *records = published.numbers
        sha256, problem = published.manifest_sha256, "not the generation that the journal names"
        for number in reversed(records):
            payload = self._files.read(generation_path(number))
            sha256 = self._checked(number, payload, sha256, problem).previous_sha256
            problem = "not the one that the record after it names"
        self._check_bytes(first, self._files.read(generation_path(first)), sha256, problem)

    def _checked(self, number: int, payload: bytes, sha256: str, problem: str) -> Generation:
        self._check_bytes(number, payload, sha256, problem)
        generation: Generation = unseal(Generation, payload, self._keys.hash_key, source=self._source(number))
        return generation

    def _check_bytes(self, number: int, payload: bytes, sha256: str, problem: str) -> None:
        if hashlib.sha256(payload).hexdigest() != sha256:
            raise FileCorrupt(self._source(number), problem)

    def _source(self, number: int) -> str:
        return self._files.display_path(generation_path(number))

    @property
    def numbers(self) -> list[int]:
        """Numbers of the generations that have a file, ascending."""
        return sorted(int(name.removesuffix(".json")) for name in self._files.list(_FOLDER) if _is_generation(name))

    def delete(self, numbers: Iterable[int]) -> None:
        """Destroy the files of these generations. Raises StorageFailed."""
        self._files.delete(*map(generation_path, sorted(numbers)))

    def delete_except(self, *numbers: int) -> None:
        """Destroy the files of all other generations: superseded, or written and never committed. Raises StorageFailed."""
        self.delete(set(self.numbers).difference(numbers))

    def is_behind(self, published: int) -> bool:
        """Return whether the files are an old copy: without the published generation, and without a later one."""
        return not self._files.exists(generation_path(published)) and max(self.numbers, default=0) < published

    def explain_missing(self, event: GenerationPublished) -> str:
        """Return the error for a published generation of which a file is missing, with the remedy."""
        published, newest = event.number, max(self.numbers, default=0)
        if self._files.exists(generation_path(published)):
            lost = min(set(event.numbers).difference(self.numbers), default=published)
            return f"lacks generation {lost}, which generation {published} builds on; run `raymu rebuild`"
        if self.is_behind(published):
            return (
                f"holds an old copy: its newest generation is {newest}, its journal knows {published}; "
                "`raymu settle` repeats the revocations in between"
            )
        return (
            f"lacks generation {published}, which its journal names, and has {newest}: its journal is older than its "
            "files; restore both from the same backup"
        )


def _is_generation(name: str) -> bool:
    return kind_of(f"{_FOLDER}/{name}") == "generation"


def generation_path(number: int) -> str:
    """Return the path of a generation within the run directory."""
    return f"{_FOLDER}/{number:08d}.json"
