"""Quantised tensors of released files, which are brought back window by window.

A scheme keeps a tensor as two, its values and their scales, by whose endings it is known. A row of
``SCHEMES`` says what shape the tensor has, and computes any box of it from boxes of the two.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import ml_dtypes
import numpy as np

from msckpt_jax import boxes
from msckpt_jax.boxes import Box
from msckpt_jax.checkpoint import stored
from msckpt_jax.checkpoint.records import Tensor
from msckpt_jax.conventions import sources, tiles
from msckpt_jax.deferred import jnp
from msckpt_jax.errors import CheckpointError

#: A function that reads a box of a stored tensor.
Read: TypeAlias = Callable[[Box], np.ndarray]
Shape: TypeAlias = tuple[int, ...]

#: Values of 4 bits: a sign, two bits of exponent, one of mantissa.
_E2M1 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6], np.float32)
#: By a byte the two values in it, the low half first, as 8 bytes.
_PAIRS = np.stack([np.tile([*_E2M1, *-_E2M1], 16), np.repeat([*_E2M1, *-_E2M1], 16)], 1)
_PAIRS = _PAIRS.astype(np.float32).view(np.uint64)[:, 0]
#: Powers of two by their biased exponents; the last byte is no number.
_E8M0 = np.ldexp(np.float32(1), np.arange(-127, 129).clip(max=127)).astype(np.float32)
_E8M0[255] = np.nan
_GROUP = 32
#: The number of elements that are computed at one time.
_MOST = 1 << 20


class Scheme(NamedTuple):
    """A way to keep a tensor as two.

    Attributes:
        values, scales: what the names of the two end with, after the tensor's own.
        of_values, of_scales: the dtypes that they may have.
        shape: the tensor's shape from theirs and the size of a block; None if they do not fit.
        read: the elements of a box of the tensor, in float32.
        blocks: True where the config must say the size of a block.
    """

    values: str
    scales: str
    of_values: tuple[np.dtype, ...]
    of_scales: tuple[np.dtype, ...]
    shape: Callable[[Shape, Shape, Shape], Shape | None]
    read: Callable[[Box, Read, Read, Shape], np.ndarray]
    blocks: bool = False


def _scale(part: np.ndarray) -> np.ndarray:
    return _E8M0[part] if part.dtype == np.uint8 else part.astype(np.float32)


def _of_groups(values: Shape, scales: Shape, block: Shape) -> Shape | None:
    """The shape of (experts, rows, groups, 16) bytes, with a scale a group: rows come last."""
    if len(values) != 4 or values[3] != _GROUP // 2 or scales != values[:3]:
        return None
    return values[0], values[2] * _GROUP, values[1]


def _groups(box: Box, values: Read, scales: Read, block: Shape) -> np.ndarray:
    experts, columns, rows = box
    first, last = columns[0] // _GROUP, -(-columns[1] // _GROUP)
    groups = (experts, rows, (first, last))
    bytes_ = values((*groups, (0, _GROUP // 2)))
    wide = _PAIRS.take(bytes_, mode="wrap").view(np.float32)  # no byte is out of range
    wide *= _scale(scales(groups))[..., None]
    skipped = columns[0] - first * _GROUP
    flat = wide.reshape(*wide.shape[:2], -1)[..., skipped : skipped + columns[1] - columns[0]]
    return flat.swapaxes(1, 2)


def _of_blocks(values: Shape, scales: Shape, block: Shape) -> Shape | None:
    """The shape of a matrix, or a stack of them, with a scale a block; the last may be cut off."""
    counts = tuple(-(-n // size) for n, size in zip(values[-2:], block, strict=False))
    return values if len(values) > 1 and scales == (*values[:-2], *counts) else None


def _blocks(box: Box, values: Read, scales: Read, block: Shape) -> np.ndarray:
    grid = tuple((a // size, -(-b // size)) for (a, b), size in zip(box[-2:], block, strict=True))
    scale = _scale(scales((*box[:-2], *grid)))
    for axis, ((start, stop), (first, _), size) in enumerate(
        zip(box[-2:], grid, block, strict=True), -2
    ):
        scale = scale.take(np.arange(start, stop) // size - first, axis)
    out = values(box).astype(np.float32)
    out *= scale
    return out


_BYTES = (np.dtype(np.uint8),)
_FLOATS = *map(np.dtype, (np.float32, ml_dtypes.bfloat16, np.float16)), *_BYTES
_F8 = tuple(map(np.dtype, (ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2)))
#: The schemes by their names in ``quant_method``.
SCHEMES = {
    "mxfp4": Scheme("_blocks", "_scales", _BYTES, _BYTES, _of_groups, _groups),
    "fp8": Scheme("", "_scale_inv", _F8, _FLOATS, _of_blocks, _blocks, blocks=True),
}
_ANY_SCALES = tuple(scheme.scales for scheme in SCHEMES.values())

#: Endings of names in files of schemes that are not known here.
_FOREIGN = {
    "GPTQ or AWQ": (".qweight", ".qzeros", ".g_idx"),
    "bitsandbytes": (".absmax", ".quant_map", ".SCB", ".weight_format"),
    "a scale a tensor or a row": (
        ".weight_scale", ".weight_packed", ".weight_zero_point", ".input_scale",
    ),
}  # fmt: skip
_ANY_FOREIGN = tuple(itertools.chain(*_FOREIGN.values()))
_INSTEAD = (
    "take the release in bfloat16, or have transformers load it dequantised and save it again"
)


def plain(
    parameters: Mapping[str, Any], config: Mapping[str, Any], leaves_out: Callable[[str], bool]
) -> dict[str, Tensor | None]:
    """The tensors that quantised ones make, by the names that they would have if they were not.

    None stands for what is stored for them and no tensor itself. ``config`` is Hugging Face's
    with its ``quantization_config``, and the ``dtype`` that the tensors get.

    Raises:
        CheckpointError: a scheme is not known, the values lack their scales, both do not fit.
    """
    file = stored.file_of(parameters)
    how = config.get("quantization_config")
    how = how if isinstance(how, Mapping) else {}
    method = how.get("quant_method")
    if method is not None and method not in SCHEMES:
        raise CheckpointError(
            f"the config says that the tensors are quantised by {method}: {_INSTEAD} (if the file "
            "holds plain tensors, take quantization_config out of the config)",
            file=file, expected=" or ".join(SCHEMES),
        )  # fmt: skip
    dtype = np.dtype(config["dtype"])
    out: dict[str, Tensor | None] = {}
    block: Shape = ()
    own = [name for name in parameters if not leaves_out(name)]
    for name, scheme in _found(own, parameters):
        values, scales = name + scheme.values, name + scheme.scales
        if scheme.values and name in parameters:
            raise CheckpointError("the file holds the tensor twice, as it is and quantised",
                                  name=name, file=file)  # fmt: skip
        out[values] = out[scales] = None
        block = block or (_block(how, scales, file) if scheme.blocks else ())
        out[name] = _tensor(parameters, name, scheme, block, dtype)
    for name in own:
        if name not in out:
            _check_foreign(name, parameters)
    return out


def plain_names(names: Mapping[str, Any]) -> dict[str, str]:
    """The names that tensors would have if none were quantised, and one under which each lies."""
    out = {name: name for name in names}
    for name, scheme in _found([*names], names):
        del out[name + scheme.scales]
        out.pop(name + scheme.values)
        out[name] = name + scheme.values
    return out


def _found(own: Sequence[str], parameters: Mapping[str, Any]) -> Iterator[tuple[str, Scheme]]:
    """Yield the names of quantised tensors, and their schemes."""
    for key in own:
        for scheme in SCHEMES.values() if key.endswith(_ANY_SCALES) else ():
            ending, other = scheme.scales, scheme.values
            if key.endswith(ending) and key.removesuffix(ending) + other in parameters:
                yield key.removesuffix(ending), scheme


def _check_foreign(name: str, parameters: Mapping[str, Any]) -> None:
    file = stored.file_of(parameters)
    for scheme, endings in _FOREIGN.items() if name.endswith(_ANY_FOREIGN) else ():
        if name.endswith(endings):
            raise CheckpointError(
                f"the file is quantised ({scheme}): {_INSTEAD}", name=name, file=file,
                expected=" or ".join(SCHEMES),
            )  # fmt: skip
    lone = [s for s in SCHEMES.values() if s.values and name.endswith(s.values)]
    dtype = stored.shape_and_dtype(name, parameters)[1]
    if lone or (isinstance(dtype, np.dtype) and dtype in _F8):
        scales = [name.removesuffix(s.values) + s.scales for s in lone or [SCHEMES["fp8"]]]
        raise CheckpointError(
            "the values are quantised, and their scales are missing", name=name, file=file,
            expected=f"a parameter {scales[0]}",
        )  # fmt: skip


def _block(how: Mapping[str, Any], name: str, file: str | None) -> Shape:
    """The size of a block, as the config says it."""
    block = how.get("weight_block_size")
    sizes = block if isinstance(block, Sequence) else ()
    if len(sizes) == 2 and all(type(size) is int and size > 0 for size in sizes):
        return tuple(sizes)
    raise CheckpointError(
        "the tensor has scales, and the config does not say of which blocks: pass the config of "
        "the release, with its quantization_config", name=name, file=file,
        expected="weight_block_size of two whole numbers", found=repr(block),
    )  # fmt: skip


def _tensor(
    parameters: Mapping[str, Any], name: str, scheme: Scheme, block: Shape, dtype: np.dtype
) -> Tensor:
    file = stored.file_of(parameters)
    shapes: list[Shape] = []
    for ending, known in ((scheme.values, scheme.of_values), (scheme.scales, scheme.of_scales)):
        shape, held = stored.shape_and_dtype(name + ending, parameters)
        if held not in known:
            raise CheckpointError(
                "a quantised tensor is not stored so", name=name + ending, file=file, found=held,
                expected=" or ".join(map(str, known)),
            )  # fmt: skip
        shapes.append(shape)
    shape = scheme.shape(shapes[0], shapes[1], block)
    if shape is None:
        of_blocks = f" in blocks of {list(block)}" if block else ""
        raise CheckpointError(
            f"values and scales do not fit each other{of_blocks}", name=name, file=file,
            found=f"{list(shapes[0])} and {list(shapes[1])}",
        )  # fmt: skip
    source = Dequantised(parameters, name, scheme, block, shape, dtype)
    return Tensor(shape, dtype, ((boxes.whole(shape), source),))


class Dequantised:
    """A tensor that is computed when it is indexed: in float32, for ``dtype`` or a wider one.

    A model has many thousands of them: pieces of what is stored are looked up when they are read.

    Raises:
        CheckpointError: values are too great for ``dtype``.
    """

    __slots__ = ("_block", "_name", "_parameters", "_scheme", "dtype", "shape")

    def __init__(
        self, parameters: Mapping[str, Any], name: str, scheme: Scheme, block: Shape, shape: Shape,
        dtype: np.dtype,
    ):  # fmt: skip
        self._parameters, self._name = parameters, name
        self._scheme, self._block = scheme, block
        self.shape, self.dtype = shape, dtype

    def _read(self, box: Box) -> np.ndarray:
        values, scales = (functools.partial(self._stored, self._name + ending)
                          for ending in (self._scheme.values, self._scheme.scales))  # fmt: skip
        return self._scheme.read(box, values, scales, self._block)

    def _stored(self, key: str, box: Box) -> np.ndarray:
        dtype = stored.shape_and_dtype(key, self._parameters)[1]
        return sources.read(stored.pieces(key, self._parameters)[1], dtype, box)

    def __getitem__(self, index: tuple[slice, ...]) -> np.ndarray:
        out = np.empty(boxes.shape_of(boxes.from_index(index, self.shape)), np.float32)
        self.copy_into(out, index)
        return out

    def copy_into(self, out: np.ndarray, index: tuple[slice, ...]) -> None:
        """Do ``out[...] = self[index]`` in parts that take little memory."""
        box = boxes.from_index(index, self.shape)
        for part in boxes.of_range(out.shape, 0, out.size, _MOST):
            moved = tuple((a + o, b + o) for (a, b), (o, _) in zip(part, box, strict=True))
            with np.errstate(over="ignore", invalid="ignore"):
                values = self._read(moved)
            self._check(values)
            tiles.copy(out[boxes.slices(part, boxes.whole(out.shape))], values)

    def _check(self, out: np.ndarray) -> None:
        most = float(jnp.finfo(self.dtype).max)
        if out.size and not (-most <= out.min() and out.max() <= most):  # or there is a NaN
            over = np.abs(out) > most
            if over.any():
                file = stored.file_of(self._parameters)
                raise CheckpointError(
                    f"quantised values do not fit {self.dtype}", name=self._name, file=file,
                    expected=f"{-most} to {most}", found=out[over][0],
                )  # fmt: skip
