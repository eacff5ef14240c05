"""What is compared with MindSpore: inputs, and transforms as text that both sides evaluate."""

from __future__ import annotations

import io
from itertools import product
from pathlib import Path

import numpy as np
import sklearn.datasets
from PIL import Image

PHOTOS = Path(sklearn.datasets.__file__).parent / "images"


def encoded() -> dict[str, bytes]:
    """Two photographs, and a smooth image in every format and mode that MindSpore decodes."""
    rng = np.random.default_rng(0)
    noise = Image.fromarray(rng.integers(0, 256, (37, 53, 3), np.uint8))
    smooth = noise.resize((211, 133), Image.Resampling.BICUBIC)
    alpha = smooth.copy()
    alpha.putalpha(smooth.convert("L"))
    turned = Image.Exif()
    turned[0x112] = 6
    deep = Image.fromarray(np.asarray(smooth.convert("L")).astype(np.uint16) * 251)
    found = {name: (PHOTOS / name).read_bytes() for name in ("china.jpg", "flower.jpg")}
    for name, image, options in (
        ("png", smooth, {}),
        ("png grey", smooth.convert("L"), {}),
        ("png alpha", alpha, {}),
        ("png grey alpha", alpha.convert("LA"), {}),
        ("png palette", smooth.convert("P"), {}),
        ("png bits", smooth.convert("1"), {}),
        ("png 16", deep, {}),
        ("png turned", smooth, {"exif": turned}),
        ("jpeg", smooth, {"quality": 80}),
        ("jpeg 444", smooth, {"quality": 95, "subsampling": 0}),
        ("jpeg 422", smooth, {"subsampling": 1}),
        ("jpeg grey", smooth.convert("L"), {}),
        ("jpeg cmyk", smooth.convert("CMYK"), {}),
        ("jpeg progressive", smooth, {"progressive": True}),
        ("jpeg turned", smooth, {"exif": turned}),
        ("bmp", smooth, {}),
        ("tiff", smooth, {}),
        ("gif", smooth, {}),
        ("webp", smooth, {}),
    ):
        file = io.BytesIO()
        image.save(file, name.split()[0], **options)
        found[name] = file.getvalue()
    for name in ("jpeg", "png"):
        found[f"{name} cut"] = found[name][:3000]
    return found | {"text": b"hello world" * 9}


def images() -> dict[str, np.ndarray]:
    """Pixels of every dtype, rank and number of channels, of odd sizes."""
    with Image.open(PHOTOS / "china.jpg") as photo:
        china = np.asarray(photo)
    odd = china[100:197, 200:301]
    return {
        "photo": china,
        "odd": odd,
        "grey": odd[..., 0],
        "one channel": odd[..., :1],
        "alpha": np.dstack([odd, odd[..., :1]]),
        "two channels": odd[..., :2],
        "five channels": np.dstack([odd, odd[..., :2]]),
        "chw": odd.transpose(2, 0, 1),
        "columns first": np.asfortranarray(odd),
        "frames": np.stack([odd, odd[::-1]]),
        "more frames": odd[None, None],
        "narrow": odd[:66, :29],
        "wide": odd[:15, :71],
        "pixel": odd[:1, :1],
        "row": odd[:1],
        "vector": odd[0, 0],
        "float32": (odd.astype(np.float32) - 100) / 57,
        "float64": odd.astype(np.float64) * 1.1,
        "float16": odd.astype(np.float16),
        "int8": (odd // 2).astype(np.int8),
        "int16": odd.astype(np.int16) - 99,
        "int32": odd.astype(np.int32),
        "int64": odd.astype(np.int64),
        "uint16": odd.astype(np.uint16) * 200,
        "uint32": odd.astype(np.uint32),
        "uint64": odd.astype(np.uint64),
        "bool": odd > 100,
    }


_SIZES = (
    "32",
    "1",
    "87",
    "90",
    "(32, 32)",
    "(17, 301)",
    "(300, 31)",
    "(97, 101)",
    "(1, 1)",
    "(194, 202)",
)
_INTERPOLATIONS = ("LINEAR", "NEAREST", "CUBIC", "AREA", "PILCUBIC")
_BORDERS = ("CONSTANT", "EDGE", "REFLECT", "SYMMETRIC")
_DTYPES = ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
           "float16", "float32", "float64")  # fmt: skip

#: Each of these runs on each of ``images()``.
TRANSFORMS = [
    *(f"Resize({s}, Inter.{i})" for s, i in product(_SIZES, _INTERPOLATIONS)),
    *(f"CenterCrop({s})" for s in ("24", "(24, 36)", "97", "(101, 97)", "200", "(31, 300)", "3",
                                   "500")),
    *(f"Crop({a})" for a in ("(0, 0), 24", "(5, 7), (10, 20)", "(90, 90), 24", "(90, 94), 7",
                             "(200, 0), 5", "(96, 100), 1", "(97, 100), 1")),
    *(f"Pad({p}, {f}, Border.{b})" for p, f, b in product(
        ("3", "(1, 2)", "(5, 6, 7, 8)", "120", "0"), ("7", "(1, 2, 3)"), _BORDERS)),
    "HorizontalFlip()",
    "HWC2CHW()",
    *(f"{n}({a})" for n, a in product(("Normalize", "NormalizePad"), (
        "[123.675, 116.28, 103.53], [58.395, 57.12, 57.375]",
        "[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]",
        "[121.0, 115.0, 100.0], [70, 68, 71], is_hwc=False",
        "[121.0], [70.1]",
        "[1, 2, 3, 4], [5, 6, 7, 8.1]"))),
    "NormalizePad([121.1, 115.0, 100.0], [70.0, 68.0, 71.0], 'float16')",
    *(f"Rescale({a})" for a in ("1 / 255, 0", "1 / 127.5, -1.0", "2, 0.5", "0.0, 3.0")),
    *(f"ToTensor({t!r})" for t in _DTYPES),
    "ToTensor()",
    *(f"TypeCast({t!r})" for t in _DTYPES),
    *(f"ConvertColor(ConvertMode({m}))" for m in range(12)),
]  # fmt: skip

#: Constructor calls, right and wrong.
ARGUMENTS = [
    *(f"{name}({size})" for name, size in product(("Resize", "CenterCrop"), (
        "0", "-1", "1.5", "'3'", "(1,)", "(1, 2, 3)", "16777216", "16777217", "(2**31, 1)",
        "[3, 4]", "(3, 4.0)", "[True, 3]", "None", "np.int64(3)", "(np.int32(3), 4)", ""))),
    "CenterCrop(True)",
    "Resize((2**31 - 1, 1))",
    "CenterCrop((2**31 - 1, 1))",
    *(f"Resize(3, {i})" for i in ("Inter.AREA", "0", "'linear'", "Border.EDGE")),
    *(f"Crop({a})" for a in ("(0.5, 1), 3", "(-1, 1), 3", "3, 3", "(1, 1, 1), 3", "[0, 0], [3, 3]",
                             "(0, 0), 0", "(2**31, 0), 3", "(0, 0)")),
    *(f"Pad({a})" for a in ("-1", "1.5", "True", "(1, 2, 3)", "[1, 2]", "(1, -2)", "2**31", "'1'",
                            "1, 256", "1, -1", "1, (1, 2)", "1, [1, 2, 3]", "1, (1, 2, 300)",
                            "1, 1.5", "1, 0, 'edge'", "1, 0, 1", "1, padding_mode=Border.EDGE")),
    *(f"{name}({a})" for name, a in product(("Normalize", "NormalizePad"), (
        "[1], [1, 2]", "[256.0], [1]", "[-1], [1]", "[0.0], [0]", "[0.0], [-1]", "1.0, 1.0",
        "['a'], [1]", "[1], ['a']", "np.array([1.0]), [1]", "[True], [1]", "(1, 2), [3, 4]",
        "[1], [1], is_hwc=1", "[1], [1], is_hwc=False", "[1]"))),
    *(f"NormalizePad([1], [1], {d})" for d in ("'float64'", "'float16'", "np.float32")),
    *(f"Rescale({a})" for a in ("'a', 1", "1e9, 1", "1, -1e9", "True, 1", "np.float32(0.5), 1",
                                "np.float64(0.5), 1", "1", "None, 1")),
    *(f"{name}({t})" for name, t in product(("ToTensor", "TypeCast"), (
        "'foo'", "None", "'float16'", "np.float32", "float", "int", "np.dtype('uint8')", "bool"))),
    *(f"OneHot({a})" for a in ("0", "-1", "1.5", "True", "3, 1.5", "3, -0.1", "3, None", "3, 1",
                               "3, True", "3, '0'")),
    *(f"ConvertColor({a})" for a in ("4", "ConvertMode.COLOR_BGR2RGB", "'BGR2RGB'", "")),
    "Decode(1)",
    "Decode(False)",
    "HWC2CHW()",
    "HorizontalFlip()",
]  # fmt: skip

LABELS = {
    "label": np.array(2),
    "label in a vector": np.array([1], np.uint8),
    "labels": np.array([0, 4], np.int32),
    "too great": np.array([5]),
    "float": np.array([1.0]),
}
ONE_HOTS = ["OneHot(5)", "OneHot(5, 0)", "OneHot(3)"]
SMOOTH_ONE_HOTS = ["OneHot(5, 0.1)", "OneHot(7, 0.3)", "OneHot(5, 1.0)"]


def jobs() -> list[tuple[str, str]]:
    """Pairs of a transform and the name of its input."""
    return [
        *(("Decode()", name) for name in encoded()),
        *product(TRANSFORMS, images()),
        *product(ONE_HOTS, LABELS),
        *product(SMOOTH_ONE_HOTS, ["label", "label in a vector"]),
    ]


def inputs() -> dict[str, np.ndarray]:
    data = {name: np.frombuffer(value, np.uint8) for name, value in encoded().items()}
    return data | images() | LABELS


_MEAN = "[0.485 * 255, 0.456 * 255, 0.406 * 255], [0.229 * 255, 0.224 * 255, 0.225 * 255]"

#: Data sets: for each ``map`` its column and transforms, and the size of batches.
PIPELINES: dict[str, tuple[list[tuple[str, list[str]]], int]] = {
    "tutorial": ([("image", ["Decode()", "Resize(256)", "CenterCrop(224)",
                             f"Normalize({_MEAN})", "HWC2CHW()"])], 1),
    "a_map_each": ([("image", ["Decode()"]), ("image", ["Resize((32, 40), Inter.NEAREST)"]),
                    ("image", ["HWC2CHW()"])], 2),
    "cubic": ([("image", ["Decode()", "Resize((33, 47), Inter.CUBIC)", "ToTensor()"])], 2),
    "area": ([("image", ["Decode()", "Resize(64, Inter.AREA)", "Rescale(1 / 255, 0)",
                         "Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])"])], 1),
    "chw": ([("image", ["Decode()", "Resize((64, 64))", "HWC2CHW()",
                        "Normalize((121, 115, 100), (70, 68, 71), False)"])], 1),
    "borders": ([("image", ["Decode()", "Pad((1, 2), (9, 8, 7))", "Pad(3, 5, Border.EDGE)",
                            "Pad((1, 2, 3, 4), 0, Border.REFLECT)",
                            "Pad(2, padding_mode=Border.SYMMETRIC)"])], 2),
    "crop": ([("image", ["Decode()", "Crop((5, 7), (40, 50))", "HorizontalFlip()",
                         "TypeCast('float16')"])], 2),
    "grey": ([("image", ["Decode()", "ConvertColor(ConvertMode.COLOR_RGB2GRAY)",
                         "ToTensor('float16')"])], 2),
    "pillow": ([("image", ["Decode()", "Resize((40, 30), Inter.PILCUBIC)",
                           "NormalizePad([1, 2.1, 3], [4, 5, 0.3], 'float16')"])], 2),
    "labels": ([("label", ["OneHot(10, 0.1)"]), ("image", ["Decode()", "Resize(8)"]),
                ("label", ["TypeCast('float32')"])], 1),
    "numbers": ([("image", ["Decode()", "Rescale(1e-10, 16777216)", "Rescale(3e-5, 123456.789)",
                            "Rescale(1e7, 1e-5)"])], 1),
}  # fmt: skip
