"""Transforms as callables and as Grain maps: columns, copies, what is refused, what is needed."""

from __future__ import annotations

import io
import pickle
import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor

import cv2
import grain
import numpy as np
import pytest
from PIL import Image

from msckpt_jax import transforms
from msckpt_jax.errors import TransformError
from msckpt_jax.transforms import Border, ConvertMode, Inter, Pipeline
from tests.transforms import cases

PHOTO = (cases.PHOTOS / "flower.jpg").read_bytes()

EACH = [
    transforms.CenterCrop(24),
    transforms.ConvertColor(ConvertMode.COLOR_RGB2BGR),
    transforms.Crop((1, 2), (3, 4)),
    transforms.Decode(),
    transforms.HWC2CHW(),
    transforms.HorizontalFlip(),
    transforms.Normalize([1.1], [2.2]),
    transforms.NormalizePad([1.1], [2.2], "float16"),
    transforms.OneHot(3, 0.1),
    transforms.Pad((1, 2), 3, Border.EDGE),
    transforms.Rescale(0.1, 1),
    transforms.Resize(7, Inter.AREA),
    transforms.ToTensor("float16"),
    transforms.TypeCast(np.int32),
]


@pytest.mark.parametrize("transform", EACH, ids=lambda t: type(t).__name__)
def test_copies_are_equal_and_others_are_not(transform) -> None:
    assert isinstance(transform, grain.transforms.Map)
    assert pickle.loads(pickle.dumps(transform)) == transform
    assert type(transform).of_params(transform.params()) == transform
    assert [t for t in EACH if t == transform] == [transform]
    assert hash(pickle.loads(pickle.dumps(transform))) == hash(transform)


def huge_png() -> bytes:
    """A header of a million pixels each way, and nothing else."""
    size = (10**6).to_bytes(4)
    header = b"IHDR" + size + size + b"\x08\x02\0\0\0"
    return b"\x89PNG\r\n\x1a\n" + b"\0\0\0\r" + header + zlib.crc32(header).to_bytes(4)


def huge_jpeg() -> bytes:
    """An image that claims to be 65,535 pixels high and wide."""
    file = io.BytesIO()
    Image.new("RGB", (33, 44)).save(file, "JPEG")
    return file.getvalue().replace(b"\x00\x2c\x00\x21", b"\xff" * 4)


def test_columns() -> None:
    image = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    element = {"image": image, "label": np.int32(1)}
    flipped = transforms.HorizontalFlip().map(element)
    assert (flipped["image"] == image[:, ::-1]).all()
    assert flipped["label"] is element["label"]
    assert element["image"] is image
    labelled = Pipeline(transforms.OneHot(3), input_columns=["label"]).map(element)
    assert labelled["label"].tolist() == [0, 1, 0]
    moved = Pipeline([transforms.HWC2CHW()], "image", "pixels").map(element)
    assert sorted(moved) == ["label", "pixels"]
    assert Pipeline([transforms.HWC2CHW()])(image).shape == (3, 2, 4)
    assert Pipeline([transforms.HWC2CHW()]).map(image).shape == (3, 2, 4)
    with pytest.raises(TransformError, match="no column 'image', only \\['label'\\]"):
        transforms.HWC2CHW().map({"label": 1})


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (([],), ValueError, "operations is empty"),
        (([len],), TypeError, "expected msckpt_jax.transforms"),
        (([transforms.HWC2CHW()], ["a", "b"]), ValueError, "one column"),
        (([transforms.HWC2CHW()], "a", []), ValueError, "one column"),
    ],
)
def test_pipelines_refuse(arguments, error, message) -> None:
    with pytest.raises(error, match=message):
        Pipeline(*arguments)


@pytest.mark.parametrize(
    ("name", "arguments", "error", "message"),
    [
        ("Decode", (True,), ValueError, "to_pil=True has no form in a MindIR"),
        ("Resize", (3, Inter.ANTIALIAS), TypeError, "PIL images only"),
        ("Normalize", ([], []), ValueError, "empty"),
        ("TypeCast", (np.complex64,), TypeError, "expected one of bool, int8"),
        ("ToTensor", (str,), TypeError, "expected one of bool, int8"),
    ],
)
def test_what_only_our_constructors_refuse(name, arguments, error, message) -> None:
    with pytest.raises(error, match=message):
        getattr(transforms, name)(*arguments)


@pytest.mark.parametrize(
    ("transform", "data", "message"),
    [
        (transforms.OneHot(3), np.array(-1), "from 0 to 2, found -1"),
        (transforms.OneHot(3, 0.1), np.array([1, 2]), "one label at a time"),
        (transforms.OneHot(3), np.zeros((1, 2), int), r"shape \[\] or \[N\]"),
        (transforms.Resize(3), np.zeros((0, 5, 3), np.uint8), "the image is empty"),
        (transforms.Resize(3), np.zeros((5, 5), "c8"), "found complex64"),
        (transforms.Decode(), b"GIF89a", "JPEG, PNG, BMP or TIFF"),
        (transforms.Decode(), b"", "JPEG, PNG, BMP or TIFF"),
        (transforms.Decode(), PHOTO[:5000], "broken, cut short or huge"),
        (transforms.Decode(), PHOTO[:20], "broken, cut short or huge"),
        (transforms.Decode(), b"BM" + bytes(100), "broken or cut short"),
        (transforms.Decode(), huge_png(), "broken or cut short"),
        (transforms.Decode(), huge_jpeg(), "cut short or huge"),
    ],
)
def test_data_that_is_refused(transform, data, message) -> None:
    with pytest.raises(TransformError, match=message):
        transform(data)


def test_images_of_pillow_are_arrays() -> None:
    image = Image.fromarray(transforms.Decode()(PHOTO))
    assert (transforms.Resize(20)(image) == transforms.Resize(20)(np.asarray(image))).all()
    with pytest.raises(TypeError, match="Decode takes bytes"):
        transforms.Decode()(image)


def test_inputs_are_not_changed() -> None:
    image = transforms.Decode()(PHOTO)[:40, :50]
    image.flags.writeable = False
    for transform in EACH:
        if not isinstance(transform, transforms.Decode | transforms.OneHot):
            assert transform(image).size


def test_threads_agree_and_the_switch_for_ipp_is_put_back() -> None:
    image = transforms.Decode()(PHOTO)
    resize = transforms.Resize((301, 17), Inter.CUBIC)
    before = cv2.ipp.useIPP()
    with ThreadPoolExecutor(4) as pool:
        found = {resized.tobytes() for resized in pool.map(resize, [image] * 16)}
    assert found == {resize(image).tobytes()}
    assert cv2.ipp.useIPP() == before


def test_grain_runs_them() -> None:
    source = [{"image": PHOTO, "label": i} for i in range(4)]
    pipeline = Pipeline([transforms.Decode(), transforms.Resize((8, 6)), transforms.ToTensor()])
    expected = pipeline(PHOTO)
    for dataset in (
        grain.MapDataset.source(source).map(pipeline).batch(2),
        grain.MapDataset.source(source).to_iter_dataset().map(pipeline).batch(2),
    ):
        for batch in dataset:
            assert (batch["image"] == expected).all()
            assert batch["image"].shape == (2, 3, 8, 6)


WITHOUT = """
import sys
for name in ("grain", "cv2", "PIL"):
    sys.modules[name] = None
import numpy as np
from msckpt_jax import transforms
image = np.zeros((4, 5, 3), np.uint8)
steps = [transforms.Pad(2), transforms.CenterCrop(4), transforms.Normalize([1], [2])]
assert transforms.Pipeline(steps)(image).shape == (4, 4, 3)
assert transforms.Pipeline(steps).map({"image": image})["image"].shape == (4, 4, 3)
try:
    transforms.Resize(2)(image)
except ImportError as error:
    assert "pip install 'msckpt_jax[data]'" in str(error)
else:
    raise SystemExit(1)
"""


def test_without_grain_opencv_and_pillow() -> None:
    subprocess.run([sys.executable, "-c", WITHOUT], check=True)
