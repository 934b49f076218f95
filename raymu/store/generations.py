"""The files of the generations of a run: each sealed, and chained to the one before it."""

import hashlib

from raymu.core.events import GenerationPublished
from raymu.core.records import FileRef, Generation
from raymu.errors import FileCorrupt
from raymu.store.codec import seal, unseal
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
        """Read a published generation. Raises FileMissing, FileCorrupt."""
        path = generation_path(published.number)
        payload, source = self._files.read(path), self._files.display_path(path)
        if hashlib.sha256(payload).hexdigest() != published.manifest_sha256:
            raise FileCorrupt(source, "not the generation that the journal names")
        generation: Generation = unseal(Generation, payload, self._keys.hash_key, source=source)
        return generation

    @property
    def numbers(self) -> list[int]:
        """Numbers of the generations that have a file, ascending."""
        return sorted(int(name.removesuffix(".json")) for name in self._files.list(_FOLDER) if _is_generation(name))

    def delete_except(self, number: int) -> None:
        """Destroy the files of all other generations: superseded, or written and never committed."""
        self._files.delete(*(generation_path(other) for other in self.numbers if other != number))

    def is_behind(self, published: int) -> bool:
        """Return whether the files are an old copy: without the published generation, and without a later one."""
        numbers = self.numbers
        return published not in numbers and max(numbers, default=0) < published

    def explain_missing(self, published: int) -> str:
        """Return the error for a published generation whose file is missing, with the remedy."""
        newest = max(self.numbers, default=0)
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
