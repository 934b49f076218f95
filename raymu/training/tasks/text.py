"""The task `text`: every sample is a text, which a tokenizer cuts into tokens, or the numbers of its tokens."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Protocol, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from pydantic import Field, validate_call
from torch import Tensor

from raymu.config.fields import CountFromZero
from raymu.data.arrow_values import is_list, is_text
from raymu.data.values import require_none_missing
from raymu.errors import ConfigInvalid, DataInvalid
from raymu.text import one_line
from raymu.training.inputs import Inputs, Ragged
from raymu.training.libraries import import_library
from raymu.training.tasks.facts import TaskFacts
from raymu.training.tasks.task import Fitted, Task

IDS, MASK, SEGMENTS = "input_ids", "attention_mask", "token_type_ids"
"""Names of the model's inputs, which those of transformers share."""
_LARGEST = 2**31 - 1
_AT_ONCE = 1000
"""Texts that a tokenizer is given at once."""
Padding: TypeAlias = Literal["batch", "longest"]
Length: TypeAlias = Annotated[int, Field(ge=1, le=2**20)]


class Tokenizer(Protocol):
    """What is used of a tokenizer of transformers."""

    pad_token_id: int | None

    def __call__(self, *texts: list[str], **settings: Any) -> Mapping[str, list[list[int]]]: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class TextTask(Task):
    """Texts, or the numbers of their tokens, padded batch by batch."""

    encodes_each_alone: ClassVar[bool] = True

    names: tuple[str, ...]
    """The columns: one text, or two that are read as a pair; or numbers of tokens, and perhaps a mask."""
    tokenizer: str | None
    """Folder of a tokenizer; None for numbers of tokens."""
    max_length: int
    """Most tokens of a sample. Later ones are cut off."""
    padding: Padding
    """`batch` pads to the longest sample of a batch, `longest` to `max_length`."""
    padding_id: int | None
    """Number of the token that fills up. None is the tokenizer's own, or 0."""
    masks: bool
    """Whether the model is also given the mask of the places that hold tokens. Without it, it is called with the numbers
    alone."""

    def check(self, rows: pa.Table, source: str) -> None:
        columns = self._columns(rows)
        for name, column in zip(self.names, columns, strict=True):
            require_none_missing(source, name, column.null_count)
        if all(is_text(column.type) for column in columns):
            if self.tokenizer is None:
                raise ConfigInvalid(
                    "task.tokenizer: texts need a tokenizer; name its folder, as save_pretrained of transformers writes it"
                )
            return
        if self.tokenizer is None and all(is_list(column.type) for column in columns):
            try:
                self._numbered(columns)
            except ValueError as error:
                raise DataInvalid(source, f"{error}") from None
            return
        kinds = ", ".join(one_line(str(column.type)) for column in columns)
        raise DataInvalid(
            source, f"data.features are {kinds}; the task text needs text and a tokenizer, or lists of token numbers"
        )

    def encode(self, rows: pa.Table, fitted: Fitted) -> Inputs:
        """Cut texts into tokens, or take the numbers of tokens."""
        columns = self._columns(rows)
        if all(is_text(column.type) for column in columns):
            return self._tokenized([column.to_pylist() for column in columns])
        return self._numbered(columns)

    def _columns(self, rows: pa.Table) -> list[pa.Array]:
        return [rows[name].combine_chunks() for name in self.names]

    def _numbered(self, columns: list[pa.Array]) -> Inputs:
        """Take numbers of tokens. Places that a mask leaves out are dropped, wherever they are."""
        ids = _sequences(self.names[0], columns[0], self.max_length if len(columns) == 1 else None)
        if len(columns) == 2:
            mask = _sequences(self.names[1], columns[1], None)
            if not torch.equal(mask.offsets, ids.offsets):
                raise ValueError(
                    f"masks in column {one_line(self.names[1])} differ in length from the tokens; mend them"
                )
            ids = _cut(_kept(ids, mask.values != 0), self.max_length)
        return {IDS: ids}

    def _tokenized(self, texts: list[list[str]]) -> Inputs:
        assert self.tokenizer is not None, "the table was checked"
        tokenizer = load_tokenizer(self.tokenizer)
        parts: dict[str, list[list[int]]] = {}
        for start in range(0, len(texts[0]), _AT_ONCE):
            batch = [column[start : start + _AT_ONCE] for column in texts]
            encoded = tokenizer(*batch, truncation=True, max_length=self.max_length, padding=False)
            for name in (IDS, SEGMENTS):
                if name in encoded:
                    parts.setdefault(name, []).extend(encoded[name])
        return {name: _ragged(sequences) for name, sequences in parts.items()} or {IDS: _ragged([])}

    def collate(self, inputs: Any, draws: Tensor | None) -> Inputs:
        """Pad a batch to one length. An empty text is one token that fills up, and that the mask shows."""
        longest = self.max_length if self.padding == "longest" else None
        ids: Ragged = inputs[IDS]
        padded = ids.padded(self._fill, longest=longest)
        if not self.masks:
            return padded
        mask = ids.mask(longest)
        mask[:, 0] |= ids.lengths == 0  # attention over no place at all would be NaN
        others = {name: part.padded(0, longest=longest) for name, part in inputs.items() if name != IDS}
        return {IDS: padded, MASK: mask.long(), **others}

    @property
    def _fill(self) -> int:
        if self.padding_id is not None:
            return self.padding_id
        own = load_tokenizer(self.tokenizer).pad_token_id if self.tokenizer else 0
        return 0 if own is None else own


@validate_call(config={"arbitrary_types_allowed": True})
def build_text(
    facts: TaskFacts,
    *,
    tokenizer: str | None = None,
    max_length: Length = 128,
    padding: Padding = "batch",
    padding_id: CountFromZero | None = None,
    masks: bool = True,
) -> Task:
    """Build the task `text`.

    Args:
        facts: The columns.
        tokenizer: Folder of a tokenizer.
        max_length: Most tokens of a sample.
        padding: `batch` or `longest`.
        padding_id: Number of the token that fills up.
        masks: Whether the model is given `attention_mask` too.
    """
    if len(facts.columns) > 2:
        raise ConfigInvalid("data.features: the task text reads one column, a pair of texts, or tokens and their mask")
    if tokenizer is not None:
        load_tokenizer(tokenizer)
    return TextTask(
        names=facts.columns,
        tokenizer=tokenizer,
        max_length=max_length,
        padding=padding,
        padding_id=padding_id,
        masks=masks,
    )


@cache
def load_tokenizer(folder: str) -> Tokenizer:
    """Load a tokenizer of transformers from a local folder. Nothing is downloaded, and no code of it runs.

    Raises:
        ConfigInvalid: There is none, or transformers is not installed.
    """
    if not Path(folder).is_dir():
        raise ConfigInvalid(
            f"task.tokenizer: {one_line(folder)} is no folder; name one that save_pretrained of transformers wrote"
        )
    transformers = import_library("transformers", setting="task.tokenizer")
    try:
        tokenizer: Tokenizer = transformers.AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    except Exception as error:  # of many kinds, by the files that are missing
        raise ConfigInvalid(f"task.tokenizer: {one_line(folder)} cannot be loaded ({one_line(error)})") from error
    return tokenizer


def tokenizer_files(folder: str) -> tuple[Path, ...]:
    """Return the files that a tokenizer in a folder may consist of."""
    return tuple(sorted(path for path in Path(folder).iterdir() if path.is_file() and path.suffix in _SUFFIXES))


_SUFFIXES = frozenset({".json", ".txt", ".model"})


def _sequences(name: str, column: pa.Array, longest: int | None) -> Ragged:
    """Return lists of numbers, of at most the longest length. Raises ValueError if they are no numbers of tokens."""
    lengths = pc.list_value_length(column).to_numpy().astype(np.int64)
    values = column.flatten()
    if values.null_count or not (pa.types.is_integer(values.type) or pa.types.is_boolean(values.type)):
        raise ValueError(f"column {one_line(name)} is {one_line(str(column.type))}; tokens are lists of whole numbers")
    numbers = torch.from_numpy(values.cast(pa.int64()).to_numpy(zero_copy_only=False).copy())
    if len(numbers) and not (int(numbers.min()) >= 0 and int(numbers.max()) <= _LARGEST):
        raise ValueError(f"column {one_line(name)} has numbers of tokens below 0 or too large; mend them")
    ragged = Ragged.of(numbers, torch.from_numpy(lengths))
    return ragged if longest is None else _cut(ragged, longest)


def _cut(ragged: Ragged, longest: int) -> Ragged:
    places = torch.arange(len(ragged.values)) - torch.repeat_interleave(ragged.offsets[:-1], ragged.lengths)
    return _kept(ragged, places < longest)


def _kept(ragged: Ragged, is_kept: Tensor) -> Ragged:
    """Return the sequences without some of their values."""
    rows = torch.repeat_interleave(torch.arange(len(ragged)), ragged.lengths)
    return Ragged.of(ragged.values[is_kept], torch.bincount(rows[is_kept], minlength=len(ragged)))


def _ragged(sequences: list[list[int]]) -> Ragged:
    lengths = torch.tensor([len(sequence) for sequence in sequences], dtype=torch.int64)
    return Ragged.of(torch.tensor([token for sequence in sequences for token in sequence], dtype=torch.int64), lengths)
