"""Gather and scatter in every mode, with batching axes, windows and indices out of bounds."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from jax import lax

from tests.lowering.equal import check


@st.composite
def cases(draw):
    """An operand, indices and dimension numbers of a gather, some indices out of bounds."""
    shape = draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    axes = range(len(shape))
    batching = draw(st.lists(st.sampled_from(axes), unique=True, max_size=1))
    rest = [axis for axis in axes if axis not in batching]
    mapped = draw(st.permutations(rest))[: draw(st.integers(0, len(rest)))]
    sizes = [1 if a in batching else draw(st.integers(1, n)) for a, n in enumerate(shape)]
    collapsed = [a for a in sorted(mapped) if sizes[a] == 1 and draw(st.booleans())]
    batch = draw(st.lists(st.integers(1, 3), max_size=2))
    places = []
    for axis in batching:
        places.append(draw(st.integers(0, len(batch))))
        batch.insert(places[0], shape[axis])
    offsets = len(shape) - len(batching) - len(collapsed)
    rank = offsets + len(batch)
    offset_dims = sorted(draw(st.permutations(range(rank)))[:offsets])
    index = draw(
        st.lists(
            st.integers(-2, 5),
            min_size=(count := int(np.prod(batch, dtype=int)) * len(mapped)),
            max_size=count,
        )
    )
    dtype = draw(st.sampled_from([np.int32, np.int8, np.uint32]))
    indices = np.array(index, np.int64).reshape(*batch, len(mapped)).astype(dtype)
    operand = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    dims = {"mapped": mapped, "collapsed": collapsed, "offsets": offset_dims}
    return operand, indices, {**dims, "batching": batching, "places": places, "sizes": sizes}


@settings(max_examples=20)
@given(cases(), st.sampled_from(["clip", "fill"]), st.booleans())
def test_gather(case, mode, known):
    operand, indices, dims = case
    numbers = lax.GatherDimensionNumbers(
        offset_dims=tuple(dims["offsets"]),
        collapsed_slice_dims=tuple(dims["collapsed"]),
        start_index_map=tuple(dims["mapped"]),
        operand_batching_dims=tuple(dims["batching"]),
        start_indices_batching_dims=tuple(dims["places"]),
    )

    def gather(operand, indices):
        return lax.gather(operand, indices, numbers, tuple(dims["sizes"]), mode=mode)

    if known:
        # XLA folds constants of uint32 past 2**31 as negative ones; arguments it takes for large
        assume(indices.max(initial=0) < 2**31)
        check(lambda x: gather(x, indices), operand)
    else:
        check(gather, operand, indices)


SCATTERS = ["scatter", "scatter_add", "scatter_sub", "scatter_mul", "scatter_min", "scatter_max"]


@settings(max_examples=20)
@given(cases(), st.sampled_from(SCATTERS), st.sampled_from(["clip", "drop"]), st.booleans())
def test_scatter(case, name, mode, known):
    operand, indices, dims = case
    assume(dims["mapped"])  # of updates that all go to one place XLA takes but one
    numbers = lax.ScatterDimensionNumbers(
        update_window_dims=tuple(dims["offsets"]),
        inserted_window_dims=tuple(dims["collapsed"]),
        scatter_dims_to_operand_dims=tuple(dims["mapped"]),
        operand_batching_dims=tuple(dims["batching"]),
        scatter_indices_batching_dims=tuple(dims["places"]),
    )
    windows = iter(
        [n for a, n in enumerate(dims["sizes"]) if a not in dims["batching"] + dims["collapsed"]]
    )
    batch = iter(indices.shape[:-1])
    rank = indices.ndim - 1 + len(dims["offsets"])
    shape = [next(windows) if i in dims["offsets"] else next(batch) for i in range(rank)]
    # equal numbers: which of several updates of one place wins is not defined
    updates = np.full(shape, 7, np.float32)

    def scatter(operand, indices, updates):
        return getattr(lax, name)(operand, indices, updates, numbers, mode=mode)

    if known:
        check(lambda x, u: scatter(x, indices, u), operand, updates)
    else:
        check(scatter, operand, indices, updates)


X = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
PLACES = np.array([1, -1, 7, -9, 0], np.int32)

INDEXING = {
    "take": lambda x, i: x[i],
    "take_axis": lambda x, i: jnp.take(x, i, axis=1),
    "take_clip": lambda x, i: jnp.take(x, i, axis=2, mode="clip"),
    "take_wrap": lambda x, i: jnp.take(x, i, axis=2, mode="wrap"),
    "take_fill": lambda x, i: jnp.take(x, i, axis=2, mode="fill", fill_value=5),
    "two": lambda x, i: x[:, i, i],
    "apart": lambda x, i: x[i, :, i],
    "take_along_axis": lambda x, i: jnp.take_along_axis(x, i[None, :, None] % 3, axis=1),
    "scalar": lambda x, i: x[i[0], i[1]],
    "known": lambda x, i: x[jnp.array([1, 0])],
    "reversed": lambda x, i: x[:, ::-1, ::2],
    "vmapped_slice": lambda x, i: jax.vmap(lambda j: lax.dynamic_slice(x, (0, j, 0), (2, 2, 4)))(i),
    "vmapped_take": lambda x, i: jax.vmap(lambda y, j: y[j])(x, i[:2]),
    "set": lambda x, i: x.at[:, i].set(1),
    "add": lambda x, i: x.at[i].add(1),
    "apply": lambda x, i: x.at[:, i].apply(jnp.sin),
    "apply_unique": lambda x, i: x.at[:, jnp.arange(2)].apply(jnp.sin, unique_indices=True),
    "multiply": lambda x, i: x.at[i, :, i].multiply(2),
    "vmapped_add": lambda x, i: jax.vmap(lambda y, j: y.at[j].add(1))(x, i[:2]),
    "everything": lambda x, i: x.at[...].set(i[0]),
    "scalar_operand": lambda x, i: x[0, 0, 0].at[()].set(3),
    "grad": lambda x, i: jax.grad(lambda x: (x[:, i] ** 2).sum())(x),
    "integers": lambda x, i: jnp.take(x.astype(np.int32), i, axis=0, mode="fill"),
    "booleans": lambda x, i: (x > 3).at[i].set(True),
    "keys": lambda x, i: jax.random.split(jax.random.key(1), 3)[i[:2]],
    "of_vmapped_update": lambda x, i: jax.vmap(
        lambda y, j: lax.dynamic_update_slice(y, jnp.ones((1, 2)), (j, j))
    )(x, i[:2]),
}


@pytest.mark.parametrize("name", INDEXING)
def test_indexing(name):
    check(INDEXING[name], X, PLACES)


def test_symbolic_batch():
    (b,) = jax.export.symbolic_shape("b")
    from msckpt_jax.lowering.canonical import canonicalise

    x = jax.ShapeDtypeStruct((b, 4), jnp.float32)
    i = jax.ShapeDtypeStruct((b,), jnp.int32)
    jaxpr = canonicalise(jax.make_jaxpr(lambda x, i: (x[i], jnp.take(X, i, axis=1)))(x, i))
    assert jaxpr.out_avals[1].shape == (2, b, 4)
