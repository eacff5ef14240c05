"""Products of quantised weights in AIR: GE's WeightQuantBatchMatmulV2, or casts and products."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from msckpt_jax.air import chips
from msckpt_jax.air.described import dtype_name
from msckpt_jax.air.prototypes import kernels
from msckpt_jax.dtypes import of_array
from msckpt_jax.graph.graph import Node
from msckpt_jax.graph.values import Const
from msckpt_jax.lowering import spelling
from msckpt_jax.lowering.spelling import Emit, Product, Spelling

_KIND = "WeightQuantBatchMatmulV2"
#: The sizes that it takes, and the blocks: multiples of the least, and not all of an axis.
_LARGEST, _LEAST_BLOCK = 65535, 32


def spell(product: Product, options: Mapping[str, Any]) -> Spelling:
    """The spelling of a product: GE's operator takes bytes and 16-bit floats.

    Two numbers of 4 bits are unpacked by operators: GE's headers do not say how int4 lies in bytes.
    """
    return _fused if _takes(product, options.get("soc")) else spelling.multiplied


def _takes(product: Product, soc: str | None) -> bool:
    if product.data.wish.bits != 8 or not spelling.is_plain(product):
        return False
    dtype, shape = product.view.type
    block = product.data.wish.block
    if block is not None and not _LEAST_BLOCK <= block < int(shape[0]):
        return False
    row = of_array(dtype)
    name = "" if row is None or row.ge is None else dtype_name(row.ge)
    known = kernels()[_KIND]
    engines = list(known) if soc is None else [chips.named(soc).kernels or ""]
    fits = (name in known.get(engine, {}).get("x", ()) for engine in engines)
    return any(fits) and max(int(n) for n in shape) <= _LARGEST


def _fused(emit: Emit, product: Product) -> Node:
    """MindSpore's WeightQuantBatchMatmul, which has a row."""
    node, data = product.view.node, product.data
    count = data.scale.shape[-1]
    shape = (count,) if data.wish.block is None else data.scale.shape
    numbers = spelling.numbers(emit, product, data.shape)
    scale = spelling.scales(emit, product, shape)
    nothing = [Const(None)] * 4
    flags = node.inputs[2], Const(False), Const(data.wish.block or 0)
    inputs = (node.inputs[0], numbers, scale, *nothing, *flags)
    return replace(node, op="WeightQuantBatchMatmul", inputs=inputs)
