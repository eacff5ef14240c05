"""Sparse arrays: their products and the like in files are JAX's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import sparse

import msckpt_jax as ms
from msckpt_jax.errors import UnsupportedError
from tests.lowering.equal import check

_RNG = np.random.default_rng(0)
D = _RNG.standard_normal((5, 4)).astype(np.float32) * (_RNG.random((5, 4)) < 0.5)
V = _RNG.standard_normal((4, 3)).astype(np.float32)
M = sparse.BCOO.fromdense(D, nse=12)  # more than there are: some elements are padding
BATCHED = sparse.BCOO.fromdense(jnp.stack([D, D * 2]), nse=12, n_batch=1)
DENSE_ROWS = sparse.BCOO.fromdense(D, n_dense=1)


def _batched(m: Any, v: Any) -> Any:
    numbers = (((2,), (1,)), ((0,), (0,)))
    return sparse.bcoo_dot_general(m, jnp.stack([v, v + 1]), dimension_numbers=numbers)


def _sampled(m: Any, v: Any) -> Any:
    numbers = (((1,), (0,)), ((), ()))
    return sparse.bcoo_dot_general_sampled(v.T, v, m.indices[:, :2], dimension_numbers=numbers)


def _outer(m: Any, v: Any) -> Any:
    return sparse.bcoo_dot_general(m, v, dimension_numbers=(((), ()), ((), ())))


CASES: dict[str, tuple[Callable[..., Any], Any]] = {
    "product": (lambda m, v: m @ v, M),
    "product with a vector": (lambda m, v: m @ v[:, 0], M),
    "product of the transpose": (lambda m, v: m.T @ (m @ v), M),
    "product from the left": (lambda m, v: v.T @ m.T, M),
    "inner product": (lambda m, v: m.reshape(20) @ jnp.tile(v[:, 0], 5), M),
    "outer product": (_outer, M),
    "products": (_batched, BATCHED),
    "products of a batch with one": (lambda m, v: m @ v, BATCHED),
    "rows that are dense": (
        lambda m, v: sparse.bcoo_dot_general(
            m, v[:, :1].T @ v[:, :1] * jnp.ones((5, 2)), dimension_numbers=(((0,), (0,)), ((), ()))
        ),
        DENSE_ROWS,
    ),
    "of two sparse arrays": (lambda m, v: (m @ m.T).todense(), M),
    "sparsified": (sparse.sparsify(lambda m, v: jnp.sin(m @ v) + 1), M),
    "sampled": (_sampled, M),
    "dense": (lambda m, v: (m * 2.0).todense(), M),
    "dense batches": (lambda m, v: m.todense(), BATCHED),
    "from a dense array": (lambda m, v: sparse.BCOO.fromdense(v, nse=12) @ v.T, M),
    "sum": (lambda m, v: m.sum(0).todense(), M),
    "times a dense array": (lambda m, v: (m * v[:, 0]).todense(), M),
    "without duplicates": (lambda m, v: (m + m).sum_duplicates(nse=20).todense(), M),
    "extracted": (lambda m, v: sparse.bcoo_extract(m, jnp.full((5, 4), 2.0)).data, M),
    "BCSR": (lambda m, v: m @ v, sparse.BCSR.fromdense(D, nse=12)),
    "BCSR of a BCOO": (lambda m, v: sparse.BCSR.from_bcoo(m) @ v, sparse.BCOO.fromdense(D)),
    "BCSR, dense": (lambda m, v: m.todense(), sparse.BCSR.fromdense(D, nse=12)),
    "COO": (lambda m, v: (m @ v, m.T @ (m @ v[:, 0]), m.todense()), sparse.COO.fromdense(D)),
    "CSR": (lambda m, v: (m @ v, m @ v[:, 0], m.todense()), sparse.CSR.fromdense(D)),
    "gradient": (jax.grad(lambda m, v: ((m @ v) ** 2).sum(), argnums=1), M),
}


@pytest.mark.parametrize("name", CASES)
def test_as_in_jax(name: str) -> None:
    function, matrix = CASES[name]
    check(function, matrix, V, rtol=1e-6)


def test_padding_meets_nothing() -> None:
    """Elements that pad do not multiply infinities."""
    check(lambda m, v: m @ v, M, jnp.full((4, 3), jnp.inf), rtol=0)


@pytest.mark.parametrize("format", ["MINDIR", "ONNX", "AIR"])
def test_files(format: str, tmp_path: Path) -> None:
    def net(weights: Any, x: Any) -> Any:
        return jnp.tanh(weights["m"] @ x) @ weights["v"]

    weights = {"m": M, "v": _RNG.standard_normal((3, 2)).astype(np.float32)}
    done = ms.export(
        (net, weights), V, file_name=tmp_path / "net", file_format=format,
        verify=format != "MINDIR",
    )  # fmt: skip
    if format == "MINDIR":
        np.testing.assert_allclose(ms.load(done.file)(V), net(weights, V), rtol=1e-6, atol=1e-6)
    assert done.graph is not None
    assert len(done.graph.parameters) == 3


def test_arrays_of_coordinates_are_not_made(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="make a BCOO or BCSR of it"):
        ms.export(lambda x: sparse.COO.fromdense(x, nse=4) @ x.T, V, file_name=tmp_path / "net")
