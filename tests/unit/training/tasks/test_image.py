"""The task `image`: forms of pictures, sizes, normalisation, augmentation by identity, and what is refused."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch import Tensor

from raymu.config import Normalization, TargetName, TaskConfig
from raymu.errors import ConfigInvalid, DataInvalid
from raymu.training.tasks import Task, TaskFacts, build_task
from raymu.training.tasks.images.augmentation import Augmentation
from tests.support.pictures import encoded

COLOURS = np.random.default_rng(1).integers(0, 256, (6, 8, 3), dtype=np.uint8)
GREY = COLOURS[:, :, 0]
AS_COLOURS = torch.from_numpy(COLOURS).permute(2, 0, 1)


def make_task(normalize_setting: Any = "shard", columns: tuple[str, ...] = ("picture",), **settings: Any) -> Task:
    facts = TaskFacts(
        columns=columns, column_kinds={}, target=TargetName.CLASSES, normalize=normalize_setting, takes_integers=False
    )
    return build_task(TaskConfig(name="image", **({"size": [6, 8]} | settings)), facts)  # type: ignore[arg-type]


def batch_of(pictures: pa.Array, draws: Tensor | None = None, **settings: Any) -> Any:
    task, rows = make_task(**settings), pa.table({"picture": pictures})
    task.check(rows, "the table")
    return task.collate(task.encode(rows, task.fit(rows)), draws)


def tensors_of(arrays: np.ndarray[Any, Any]) -> pa.Array:
    return pa.FixedShapeTensorArray.from_numpy_ndarray(np.ascontiguousarray(np.concatenate([arrays, arrays])))


PNG = encoded(COLOURS)
FORMS = {
    "binary": pa.array([PNG]),
    "large_binary": pa.array([PNG], pa.large_binary()),
    "structure": pa.array([{"bytes": PNG, "path": "a.png"}]),
    "webp": pa.array([encoded(COLOURS, "WEBP", lossless=True)]),
    "lists": pa.array([COLOURS.tolist()]),
    "bytes in lists": pa.array([COLOURS.tolist()], pa.list_(pa.list_(pa.list_(pa.uint8())))),
    "channels first": pa.array([COLOURS.transpose(2, 0, 1).tolist()], pa.large_list(pa.list_(pa.list_(pa.int16(), 8)))),
    "tensor": tensors_of(COLOURS[None]),
    "tensor, channels first": tensors_of(COLOURS.transpose(2, 0, 1)[None]),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_picture_has_the_same_pixels_in_every_form(form: str) -> None:
    batch = batch_of(FORMS[form])
    assert batch.dtype == torch.uint8
    assert torch.equal(batch[0], AS_COLOURS)


def test_grey_and_colours_become_each_other() -> None:
    files = pa.array([encoded(GREY), PNG])
    assert torch.equal(batch_of(files)[0], torch.from_numpy(GREY.copy()).expand(3, 6, 8))
    assert batch_of(files, channels=1).shape == (2, 1, 6, 8)
    deep = pa.array([encoded(GREY.astype(np.uint16) * 257)])
    assert torch.equal(batch_of(deep, channels=1)[0, 0], torch.from_numpy(GREY.copy()))
    floats = pa.array([(COLOURS / 255.0).tolist(), (COLOURS / 255.0).tolist()])
    assert batch_of(floats, channels=1).shape == (2, 1, 6, 8)
    assert batch_of(pa.array([(GREY / 255.0).tolist()])).dtype == torch.float32


@pytest.mark.parametrize("is_float", [False, True])
def test_pictures_of_different_sizes_get_one_size(is_float: bool) -> None:
    wide = np.zeros((10, 30, 3), dtype=np.uint8)
    wide[:, 10:20] = 200
    shown = [picture / 255.0 if is_float else picture for picture in (wide, COLOURS)]
    files = pa.array([picture.tolist() for picture in shown])
    squashed, cropped = batch_of(files, size=10), batch_of(files, size=10, resize="crop")
    assert squashed.shape == cropped.shape == (2, 3, 10, 10)
    assert float(squashed[0].double().max()) > float(squashed[0, 0, 0, 0])
    assert len(cropped[0].unique()) == 1  # the middle, which has one colour


def test_pictures_are_upright() -> None:
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    turned = encoded(COLOURS, "WEBP", lossless=True, exif=exif.tobytes())
    assert torch.equal(batch_of(pa.array([turned]), size=[8, 6])[0], AS_COLOURS.rot90(-1, (1, 2)))


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("unit", AS_COLOURS / 255.0),
        ("none", AS_COLOURS.float()),
        (Normalization(mean=0.5, std=0.25), (AS_COLOURS / 255.0 - 0.5) / 0.25),
        (
            {"mean": [0.5, 0.25, 0.0], "std": 0.5},
            (AS_COLOURS / 255.0 - torch.tensor([[[0.5]], [[0.25]], [[0.0]]])) / 0.5,
        ),
        ("imagenet", None),
        ("shard", None),
    ],
)
def test_pixels_are_normalised_on_the_device(setting: Any, expected: Tensor | None) -> None:
    is_given = isinstance(setting, dict) or setting == "imagenet"
    task = make_task(normalize=setting) if is_given else make_task(setting)
    rows = pa.table({"picture": [PNG]})
    fitted = task.fit(rows)
    batch: Any = task.normalize(task.collate(task.encode(rows, fitted), None), fitted)  # type: ignore[arg-type]
    assert batch.dtype == torch.float32
    if expected is not None:
        assert torch.allclose(batch[0], expected, atol=1e-4)
    if setting == "shard":
        assert torch.allclose(batch.mean((0, 2, 3)), torch.zeros(3), atol=1e-5)
        assert torch.allclose(batch.std((0, 2, 3), unbiased=False), torch.ones(3), atol=1e-5)


TRANSFORMS: list[Any] = [
    "AugMix",
    "AutoAugment",
    "RandAugment",
    "TrivialAugmentWide",
    "RandomHorizontalFlip",
    "RandomVerticalFlip",
    "RandomGrayscale",
    "RandomErasing",
    "RandomPhotometricDistort",
    "RandomChannelPermutation",
    "RandomAutocontrast",
    {"name": "RandomCrop", "size": [6, 8], "padding": 2},
    {"name": "RandomResizedCrop", "size": [6, 8], "interpolation": "nearest"},
    {"name": "RandomAffine", "degrees": 20, "translate": [0.1, 0.1]},
    {"name": "RandomRotation", "degrees": 30},
    {"name": "RandomPerspective", "distortion_scale": 0.6},
    {"name": "ElasticTransform", "alpha": 20.0, "sigma": 0.5},
    {"name": "GaussianBlur", "kernel_size": 3},
    {"name": "ColorJitter", "brightness": 0.4, "hue": 0.1},
    {"name": "RandomPosterize", "bits": 2},
    {"name": "RandomSolarize", "threshold": 99},
    {"name": "RandomApply", "p": 0.5, "transforms": [{"name": "RandomInvert", "p": 0.5}]},
    {
        "name": "RandomChoice",
        "transforms": ["RandomVerticalFlip", {"name": "RandomAdjustSharpness", "sharpness_factor": 2}],
    },
]


@pytest.mark.parametrize("transform", TRANSFORMS, ids=lambda each: each if isinstance(each, str) else each["name"])
def test_a_transform_draws_from_each_samples_seed_alone(transform: Any) -> None:
    augmentation = Augmentation.of([transform])
    augmentation.check((3, 6, 8), torch.uint8)
    pictures, draws = AS_COLOURS.expand(24, 3, 6, 8).contiguous(), torch.arange(24) + 2**62
    torch.manual_seed(0)
    first, state = augmentation.apply(pictures, draws), torch.get_rng_state()
    torch.manual_seed(0)
    assert torch.equal(state, torch.get_rng_state())  # the model's random numbers are left alone
    torch.manual_seed(1)
    order = torch.tensor([7, 3, 19])
    assert torch.equal(augmentation.apply(pictures[order], draws[order]), first[order])
    assert len(first.unique(dim=0)) > 1


def test_augmentation_is_for_training_alone() -> None:
    files, flip = pa.array([PNG, PNG]), [{"name": "RandomHorizontalFlip", "p": 1.0}]
    assert torch.equal(batch_of(files, augment=flip)[0], AS_COLOURS)
    assert torch.equal(batch_of(files, torch.arange(2), augment=flip)[0], AS_COLOURS.flip(2))


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"size": 0}, "task.size: must be at least 1"),
        ({"columns": ("a", "b")}, "data.features: the task image reads one column"),
        ({"augment": ["RandomHorizontalFlop"]}, "has no RandomHorizontalFlop; did you mean RandomHorizontalFlip"),
        ({"augment": [{"name": "RandomCrop"}]}, "task.augment: RandomCrop cannot be built .*; check its arguments"),
        ({"augment": [{"size": 3}]}, "task.augment: give names of transforms"),
        ({"normalize": "imagenet", "channels": 1}, "task.normalize: imagenet has three channels"),
        ({"normalize": {"mean": [0.1, 0.2], "std": 1.0}}, "task.normalize: mean has 2 values for 3 channels"),
    ],
)
def test_settings_that_fit_no_picture_are_refused(settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigInvalid, match=problem):
        make_task(**settings)


def test_an_augmentation_must_give_back_the_size() -> None:
    with pytest.raises(
        ConfigInvalid, match=r"of shape \(3, 4, 4\) of torch.uint8 .* the type and the size of task.size"
    ):
        batch_of(pa.array([PNG]), augment=[{"name": "RandomCrop", "size": 4}])


@pytest.mark.parametrize(
    ("pictures", "problem"),
    [
        (pa.array(["a.png"]), "column picture is string; the task image reads files' bytes"),
        (pa.array([[1, 2, 3]]), "column picture is list<.*>; the task image reads"),
        (pa.array([PNG, None]), "column picture lacks 1 value"),
        (pa.array([PNG, PNG[:50], b"", b"GIF"]), r"3 of 4 pictures .* cannot be decoded \(.*\); mend or drop them"),
        (pa.array([[[1, 2], [3]]]), "1 of 1 picture .* differ in length"),
        (pa.array([[[1, 300]]]), "beyond 0 to 255"),
        (pa.array([[[0.5, float("nan")]]]), "NaN or infinite"),
        (pa.array([np.zeros((5, 5, 2)).tolist()]), r"shape \(5, 5, 2\) is no picture"),
    ],
)
def test_pictures_that_cannot_be_read_are_counted(pictures: pa.Array, problem: str) -> None:
    with pytest.raises(DataInvalid, match=problem):
        batch_of(pictures)
