"""The task `text`: tokens of texts and of pairs, numbers of tokens with masks, padding, and what is refused."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch

from raymu.config import TargetName, TaskConfig
from raymu.errors import ConfigInvalid, DataInvalid
from raymu.training.tasks import Task, TaskFacts, build_task
from tests.support.tokenizers import WORDS, save_tokenizer

CAT, SAT, DOG, PAD, UNK, CLS, SEP = (WORDS.index(word) for word in ("cat", "sat", "dog", *WORDS[:4]))


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_tokenizer(tmp_path_factory.mktemp("tokenizer")))


def make_task(columns: tuple[str, ...] = ("text",), **settings: Any) -> Task:
    facts = TaskFacts(
        columns=columns, column_kinds={}, target=TargetName.CLASSES, normalize="shard", takes_integers=False
    )
    return build_task(TaskConfig(name="text", **settings), facts)  # type: ignore[arg-type]


def batch_of(task: Task, **columns: Any) -> Any:
    return task.collate(task.encode(pa.table(columns), {}), None)


def test_texts_are_padded_to_the_longest_of_a_batch(tokenizer: str) -> None:
    batch = batch_of(make_task(tokenizer=tokenizer), text=["cat sat", "cat", "zebra"])
    assert batch["input_ids"].tolist() == [[CLS, CAT, SAT, SEP], [CLS, CAT, SEP, PAD], [CLS, UNK, SEP, PAD]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 1], [1, 1, 1, 0], [1, 1, 1, 0]]


def test_pairs_of_texts_have_segments_and_long_ones_are_cut(tokenizer: str) -> None:
    task = make_task(("first", "second"), tokenizer=tokenizer, max_length=6)
    batch = batch_of(task, first=["cat sat", "cat"], second=["dog", "dog sat sat sat sat"])
    assert batch["input_ids"].tolist()[0] == [CLS, CAT, SAT, SEP, DOG, SEP]
    assert batch["input_ids"].shape == (2, 6)
    assert batch["token_type_ids"].tolist()[0] == [0, 0, 0, 0, 1, 1]


@pytest.mark.parametrize("kind", [pa.list_(pa.int32()), pa.large_list(pa.uint8()), pa.list_(pa.int64(), 3)])
def test_numbers_of_tokens_need_no_tokenizer(kind: pa.DataType) -> None:
    batch = batch_of(make_task(("tokens",), masks=False, max_length=2), tokens=pa.array([[1, 2, 3], [4, 5, 6]], kind))
    assert torch.equal(batch, torch.tensor([[1, 2], [4, 5]]))


def test_a_mask_drops_places_wherever_they_are() -> None:
    task = make_task(("tokens", "mask"), padding="longest", max_length=4, padding_id=9)
    batch = batch_of(task, tokens=[[7, 1, 2], [3], []], mask=[[0, 1, 1], [1], []])
    assert batch["input_ids"].tolist() == [[1, 2, 9, 9], [3, 9, 9, 9], [9, 9, 9, 9]]
    assert batch["attention_mask"].tolist() == [[1, 1, 0, 0], [1, 0, 0, 0], [1, 0, 0, 0]]


@pytest.mark.parametrize(
    ("columns", "problem"),
    [
        ({"text": ["a", None]}, "column text lacks 1 value"),
        ({"text": [1.5]}, "the task text needs text and a tokenizer, or lists of token numbers"),
        ({"text": [[1.5]]}, "tokens are lists of whole numbers"),
        ({"text": [[-1]]}, "numbers of tokens below 0"),
        ({"text": [[1, None]]}, "tokens are lists of whole numbers"),
    ],
)
def test_what_is_no_text_is_refused(columns: dict[str, Any], problem: str) -> None:
    with pytest.raises(DataInvalid, match=problem):
        make_task().check(pa.table(columns), "the table")


def test_masks_of_other_lengths_are_refused() -> None:
    with pytest.raises(DataInvalid, match="differ in length from the tokens"):
        make_task(("text", "mask")).check(pa.table({"text": [[1, 2]], "mask": [[1]]}), "the table")


def test_texts_without_a_tokenizer_and_folders_without_one_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match="texts need a tokenizer; name its folder"):
        make_task().check(pa.table({"text": ["a"]}), "the table")
    with pytest.raises(ConfigInvalid, match="nothere is no folder"):
        make_task(tokenizer="nothere")
    with pytest.raises(ConfigInvalid, match="cannot be loaded"):
        make_task(tokenizer=str(tmp_path))
    with pytest.raises(ConfigInvalid, match="reads one column, a pair of texts, or tokens and their mask"):
        make_task(("a", "b", "c"))
