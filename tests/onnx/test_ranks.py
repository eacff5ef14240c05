"""Operators that repeat their operands themselves, and products with matrices of any rank."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import onnx
import pytest
from jax import lax

import msckpt_jax as ms
from tests.onnx.test_networks import counts


def exported(function: Callable[..., Any], folder: Path, *shapes: Any) -> Any:
    """How often each operator is there, in a file that is equal to JAX."""
    specs = [ms.TensorSpec(shape, "float32") for shape in shapes]
    out = ms.export(function, *specs, file_name=folder / "net", file_format="ONNX", verify=True,
                    engine="native")  # fmt: skip
    onnx.checker.check_model(str(out.file), full_check=True)
    return counts(onnx.load(out.file).graph)


#: Functions of arrays of these shapes, and how many expansions stay.
EXPANSIONS: dict[str, Any] = {
    "a mask": (lambda x, y: jnp.where(y > 0, x, -1e9), [("b", 2, "t"), (1, "t")], 0),
    "a mask that has fewer sizes": (
        lambda x, y: jnp.where(y > 0, x, -1e9), [("b", 2, "t"), (2, 1)], 0,
    ),
    "both": (lambda x, y: x + y, [("b", 1), (1, "t")], 0),
    "a result": (lambda x: jnp.broadcast_to(x, (3, *x.shape)), [("b", "t")], 1),
    "an operand of another operator": (
        lambda x, y: jnp.concatenate([jnp.broadcast_to(y, x.shape), x]), [("b", 3), (1, 3)], 1,
    ),
    "the only one that is so large": (
        lambda x: jnp.maximum(jnp.broadcast_to(x, (3, *x.shape)), 1.0), [("b", "t")], 1,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", EXPANSIONS)
def test_expansions(name: str, tmp_path: Path) -> None:
    function, shapes, stay = EXPANSIONS[name]
    assert exported(function, tmp_path, *shapes)["Expand"] == stay


def _looped(x: jax.Array, w: jax.Array) -> jax.Array:
    """A product that only the body of a loop takes."""
    y = x @ w
    return lax.fori_loop(0, 3, lambda _, z: z + y.reshape(z.shape), jnp.zeros(y.shape))


def _flat(x: jax.Array, w: jax.Array) -> Any:
    rows = x.reshape(-1, x.shape[-1]) @ w
    return rows.reshape(*x.shape[:-1], -1), rows


#: Functions of an array and a matrix, and how many reshapes stay.
PRODUCTS: dict[str, Any] = {
    "one": (lambda x, w: x @ w, 0),
    "two in a row": (lambda x, w: jnp.sin(x @ w) @ w.T, 0),
    "heads": (lambda x, w: (x @ w).reshape(*x.shape[:2], 2, 2), 1),
    "of a loop": (_looped, None),
    "rows that are taken, too": (_flat, 2),
}


@pytest.mark.parametrize("name", PRODUCTS)
def test_products(name: str, tmp_path: Path) -> None:
    function, stay = PRODUCTS[name]
    counted = exported(function, tmp_path, ("b", "t", 8), (8, 4))
    assert stay is None or counted["Reshape"] == stay
