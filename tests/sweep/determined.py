"""The numbers of a result that its primitive determines: factors of matrices, unstable sorts.

Eigenvectors have any phase, eigenvalues any order, equal keys of an unstable sort any order, and
nothing is said of the upper half of a Cholesky factor. What is determined takes their place before
results are compared, on both sides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

Results: TypeAlias = Sequence[np.ndarray]


def determined(
    group: str, params: Mapping[str, Any], inputs: Sequence[np.ndarray], results: Results
) -> Results:
    """The results of a harness in a form that has one value."""
    if group == "approx_top_k":
        return _top_k(inputs[0], *results)
    function = _FORMS.get(group)
    if function is None or any(0 in x.shape for x in results):
        return results
    return function(params, *map(_computable, results))


def _top_k(operand: np.ndarray, values: np.ndarray, places: np.ndarray) -> Results:
    """The values, and those in the operand's last axis at the places, which must differ."""
    count = [len(np.unique(row)) for row in places.reshape(-1, places.shape[-1])]
    return [values, np.take_along_axis(operand, places, -1), np.array(count)]


def _computable(x: np.ndarray) -> np.ndarray:
    """The array in a dtype that NumPy's linear algebra takes."""
    return x.astype(np.float32) if x.dtype.itemsize < 4 and x.dtype.kind in "fV" else x


def _transposed(x: np.ndarray) -> np.ndarray:
    return np.swapaxes(x, -1, -2).conj()


def _gram(x: np.ndarray) -> np.ndarray:
    return _transposed(x) @ x


def _cholesky(params: Mapping[str, Any], factor: np.ndarray) -> Results:
    """The product of the factor and itself, for rows of length 1, and these lengths."""
    lower = np.tril(factor)
    lengths = np.linalg.norm(lower, axis=-1, keepdims=True)
    rows = lower / lengths
    return [lengths, rows @ _transposed(rows)]


def _eigh(params: Mapping[str, Any], vectors: np.ndarray, values: np.ndarray) -> Results:
    product = (vectors * values[..., None, :]) @ _transposed(vectors)
    return [values, product, _gram(vectors)]


def _eig(params: Mapping[str, Any], values: np.ndarray, *vectors: np.ndarray) -> Results:
    """The eigenvalues by their power sums, each set of vectors by the matrix that it makes."""
    powers = [np.mean(values**k, -1) for k in range(1, values.shape[-1] + 1)]
    whole = list(vectors)
    if params["compute_left_eigenvectors"]:
        whole[0] = _product(vectors[0], values.conj())
    if params["compute_right_eigenvectors"]:
        whole[-1] = _product(vectors[-1], values)
    lengths = [np.linalg.norm(each, axis=-2) for each in vectors]
    return [
        *(power / np.abs(values).max() ** k for k, power in enumerate(powers)),
        *whole,
        *lengths,
    ]


def _product(vectors: np.ndarray, values: np.ndarray) -> np.ndarray:
    return (vectors * values[..., None, :]) @ np.linalg.inv(vectors)


def _qr(params: Mapping[str, Any], q: np.ndarray, r: np.ndarray) -> Results:
    return [q @ r, _gram(q), np.abs(r[..., : q.shape[-2], :][..., : min(r.shape[-2:]), :])]


def _svd(params: Mapping[str, Any], values: np.ndarray, *vectors: np.ndarray) -> Results:
    if not vectors:
        return [values]
    u, v = vectors
    count = values.shape[-1]
    product = (u[..., :count] * values[..., None, :]) @ v[..., :count, :]
    return [values, product, _gram(u), v @ _transposed(v)]


def _sort(params: Mapping[str, Any], *arrays: np.ndarray) -> Results:
    """The keys as they are; all arrays sorted by all arrays."""
    if params["is_stable"]:
        return arrays
    axis = params["dimension"]
    order = np.lexsort([np.moveaxis(x, axis, -1) for x in arrays[::-1]])
    order = np.moveaxis(order, -1, axis)
    whole = [np.take_along_axis(x, order, axis) for x in arrays]
    return [*arrays[: params["num_keys"]], *whole]


_FORMS: dict[str, Callable[..., Results]] = {
    "cholesky": _cholesky,
    "eig": _eig,
    "eigh": _eigh,
    "qr": _qr,
    "sort": _sort,
    "svd": _svd,
}
