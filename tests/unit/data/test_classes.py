"""The classes of a run, from the labels of its training file."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymu.data.classes import ClassTable, fit_classes
from raymu.data.values import LabelColumn
from raymu.errors import DataInvalid


def column(*labels: Any) -> LabelColumn:
    return LabelColumn(values=list(labels), note="")


FITTED: dict[str, tuple[list[Any], int | None, ClassTable]] = {
    "numbers from 0": ([2, 0, 1, 1], None, ClassTable(count=3)),
    "one number": ([0, 0], None, ClassTable(count=2)),
    "numbers below the configured count": ([0, 3], 7, ClassTable(count=7)),
    "numbers from 0 with a gap": ([4, 0], None, ClassTable(count=5)),
    "numbers from 1": ([3, 1, 7, 2], None, ClassTable(count=4, names=(1, 2, 3, 7))),
    "numbers from 1, counted": ([3, 1, 2], 3, ClassTable(count=3, names=(1, 2, 3))),
    "signs": ([1, -1], None, ClassTable(count=2, names=(-1, 1))),
    "signs, counted": ([1, -1], 2, ClassTable(count=2, names=(-1, 1))),
    "claims": ([True, False], None, ClassTable(count=2, names=(False, True))),
    "text": (["fox", "dog", "Ant"], None, ClassTable(count=3, names=("Ant", "dog", "fox"))),
    "digits as text": (["1", "10", "2"], None, ClassTable(count=3, names=("1", "10", "2"))),
}


@pytest.mark.parametrize(("labels", "configured", "classes"), FITTED.values(), ids=FITTED)
def test_labels_that_are_not_numbers_from_0_have_a_table(
    labels: list[Any], configured: int | None, classes: ClassTable
) -> None:
    fitted = fit_classes("a.parquet", "label", column(*labels), configured)
    assert fitted == classes
    numbers = fitted.numbers("a.parquet", "label", column(*labels))
    assert [fitted.label(number) for number in numbers.tolist()] == labels
    assert bool(fitted.note("label")) == (fitted.names is not None)


REFUSED: dict[str, tuple[list[Any], int | None, str]] = {
    "missing labels": ([0, None, None], None, "column label lacks 2 values; fill them or drop those rows"),
    "a number over the classes": ([0, 1, 3], 3, r"a label is 3, but data\.classes is 3; mend it, or train with more"),
    "fewer labels than classes": (["a", "b"], 3, r"has 2 labels, but data\.classes is 3; leave data\.classes out"),
    "more labels than classes": (["a", "b", "c"], 2, r"has 3 labels, but data\.classes is 2"),
}


@pytest.mark.parametrize(("labels", "configured", "problem"), REFUSED.values(), ids=REFUSED)
def test_labels_that_do_not_fit_are_refused(labels: list[Any], configured: int | None, problem: str) -> None:
    with pytest.raises(DataInvalid, match=problem):
        fit_classes("a.parquet", "label", column(*labels), configured)


@pytest.mark.parametrize(
    ("names", "labels", "numbers"),
    [
        (None, ["1", "0"], [1, 0]),
        (None, [True, False], [1, 0]),
        ((1, 7), ["7", "1"], [1, 0]),
        ((False, True), ["true", "False", "True"], [1, 0, 1]),
        ((False, True), [1, 0], [1, 0]),
        (("1", "2"), [2, 1], [1, 0]),
        (("no", "yes"), ["yes", "no"], [1, 0]),
    ],
)
def test_labels_of_a_test_file_are_found_in_other_forms(
    names: tuple[Any, ...] | None, labels: list[Any], numbers: list[int]
) -> None:
    table = ClassTable(count=2, names=names)
    assert table.numbers("test.parquet", "label", column(*labels)).tolist() == numbers


@pytest.mark.parametrize(
    ("names", "label", "problem"),
    [
        (
            ("cat", "dog"),
            "wolf",
            r"a label in column label is 'wolf', which is not a class of the run \('cat', 'dog'\)",
        ),
        (("cat", "dog"), "Cat", "is 'Cat', which is not a class"),
        ((-1, 1), 0, r"is 0, which is not a class of the run \(-1, 1\)"),
        (None, 2, r"a label is 2, but data\.classes is 2; mend it, or train with more classes"),
        (None, -1, "is -1, but the run's classes"),
        (None, "?", r"is '\?', but the run's classes"),
        (None, None, "column label lacks 1 value"),
    ],
)
def test_a_label_of_no_class_is_refused_by_name(names: tuple[Any, ...] | None, label: Any, problem: str) -> None:
    with pytest.raises(DataInvalid, match=problem) as refusal:
        ClassTable(count=2, names=names).numbers("test.parquet", "label", column(label))
    assert len(str(refusal.value).splitlines()) == 1


@given(st.lists(st.text(min_size=1) | st.integers(), min_size=1), st.randoms())
def test_the_order_of_classes_depends_on_no_order_of_samples(labels: list[Any], random: Any) -> None:
    labels = [str(label) for label in labels] + ["another"]
    shuffled = random.sample(labels, len(labels))
    if len(set(labels)) > 1:
        first, second = (fit_classes("a.parquet", "label", column(*rows), None) for rows in (labels, shuffled))
        assert first == second
