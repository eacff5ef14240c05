"""Kernels of Pallas compute in files what JAX's interpreter computes of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array, lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

import msckpt_jax as ms
from msckpt_jax.errors import UnsupportedError
from msckpt_jax.lowering.canonical import canonicalise
from tests.lowering.equal import check, leftovers

f32, i32 = jnp.float32, jnp.int32
Block, Shape = pl.BlockSpec, jax.ShapeDtypeStruct


def numbers(*shape: int) -> Array:
    return jnp.asarray(np.random.default_rng(sum(shape)).standard_normal(shape), f32)


def call(kernel: Callable[..., None], out: Any, **how: Any) -> Callable[..., Any]:
    return pl.pallas_call(kernel, out_shape=out, interpret=True, **how)


def _add(x: Any, y: Any, out: Any) -> None:
    out[...] = x[...] + y[...]


def _twice(x: Any, out: Any) -> None:
    out[...] = x[...] * 2


def _product(x: Any, y: Any, out: Any, total: Any) -> None:
    step = pl.program_id(2)

    @pl.when(step == 0)
    def _() -> None:
        total[...] = jnp.zeros_like(total)

    total[...] += jnp.dot(x[...], y[...], preferred_element_type=f32)

    @pl.when(step == pl.num_programs(2) - 1)
    def _() -> None:
        out[...] = total[...]


def _sum(x: Any, out: Any) -> None:
    @pl.when(pl.program_id(0) == 0)
    def _() -> None:
        out[...] = jnp.zeros_like(out)

    out[...] += x[...]


def _softmax(x: Any, out: Any) -> None:
    e = jnp.exp(x[...] - x[...].max(-1, keepdims=True))
    out[...] = e / e.sum(-1, keepdims=True)


def _norm(x: Any, scale: Any, bias: Any, out: Any) -> None:
    y = x[...] - x[...].mean(-1, keepdims=True)
    out[...] = y * lax.rsqrt((y * y).mean(-1, keepdims=True) + 1e-5) * scale[...] + bias[...]


def _by_slices(x: Any, out: Any) -> None:
    def step(i: Array, carry: Array) -> Array:
        out[pl.ds(i * 2, 2), :] = x[pl.ds(i * 2, 2), :] + carry
        return carry + x[i, 0]

    lax.fori_loop(0, 20, step, f32(0))


def _two_results(x: Any, out: Any, numbers: Any) -> None:
    i = pl.program_id(0)
    out[...] = x[...] * i
    numbers[...] = jnp.full_like(numbers, 1) * (i + pl.num_programs(0))


def _scoped(x: Any, out: Any) -> None:
    def run(memory: Any) -> None:
        memory[...] = x[...] * 2
        out[...] = memory[...] + 1

    pl.run_scoped(run, pltpu.VMEM((2, 4), f32))


def _by_row(index: Any, x: Any, out: Any) -> None:
    out[...] = x[...] * index[pl.program_id(0)]


def _window(x: Any, out: Any) -> None:
    out[...] = x[...].sum(0, keepdims=True)[:, :4]


_LINE = Block((8,), lambda i: (i,))
_SQUARE = Block((4, 4), lambda i, j: (i, j))
_ROWS = Block((2, 8), lambda i: (i, 0))
_VECTOR = Block((8,), lambda i: (0,))
add = call(_add, Shape((32,), f32), grid=(4,), in_specs=[_LINE] * 2, out_specs=_LINE)
product = call(
    _product, Shape((12, 8), f32), grid=(3, 2, 4),
    in_specs=[Block((4, 4), lambda i, j, k: (i, k)), Block((4, 4), lambda i, j, k: (k, j))],
    out_specs=Block((4, 4), lambda i, j, k: (i, j)), scratch_shapes=[pltpu.VMEM((4, 4), f32)],
)  # fmt: skip
EXACT: dict[str, tuple[Any, ...]] = {
    "without a grid": (call(_add, Shape((32,), f32)), numbers(32), numbers(32) + 1),
    "in blocks": (add, numbers(32), numbers(32) + 1),
    "in a jit": (lambda x: jax.jit(add)(x, x) + 1, numbers(32)),
    "a sum": (
        call(
            _sum, Shape((3, 4), f32), grid=(5,), out_specs=Block((3, 4), lambda i: (0, 0)),
            in_specs=[Block((None, 3, 4), lambda i: (i, 0, 0))],
        ),
        numbers(5, 3, 4),
    ),
    "blocks that do not fit": (
        call(_twice, Shape((7, 9), f32), grid=(2, 3), in_specs=[_SQUARE], out_specs=_SQUARE),
        numbers(7, 9),
    ),
    "blocks that are not written": (
        call(_twice, Shape((9, 9), i32), grid=(2, 2), in_specs=[_SQUARE], out_specs=_SQUARE),
        jnp.arange(81, dtype=i32).reshape(9, 9),
    ),
    "in the memory of an input": (
        call(_add, Shape((32,), f32), grid=(2,), in_specs=[_LINE] * 2, out_specs=_LINE,
             input_output_aliases={0: 0}),
        numbers(32), numbers(32) + 1,
    ),
    "by scalars": (
        call(_by_row, Shape((4, 8), f32), grid_spec=pltpu.PrefetchScalarGridSpec(
            num_scalar_prefetch=1, grid=(4,), in_specs=[Block((1, 8), lambda i, at: (at[i], 0))],
            out_specs=Block((1, 8), lambda i, at: (i, 0)))),
        jnp.array([2, 0, 3, 1], i32), numbers(4, 8),
    ),
    "by elements, padded": (
        call(_window, Shape((6, 4), f32), grid=(6,), out_specs=Block((1, 4), lambda i: (i, 0)),
             in_specs=[Block((pl.Element(3, (1, 1)), pl.Element(4)), lambda i: (i, 0))]),
        numbers(6, 4),
    ),
    "by slices": (call(_by_slices, Shape((40, 3), f32)), numbers(40, 3)),
    "several results": (
        call(_two_results, [Shape((8, 4), f32), Shape((4,), i32)], grid=(4,),
             in_specs=[Block((2, 4), lambda i: (i, 0))],
             out_specs=[Block((2, 4), lambda i: (3 - i, 0)), Block((1,), lambda i: (i,))]),
        numbers(8, 4),
    ),
    "memory for a while": (call(_scoped, Shape((2, 4), f32)), numbers(2, 4)),
    "mapped": (jax.vmap(add), numbers(3, 32), numbers(3, 32) + 1),
    "of a dynamic grid": (
        lambda n, x: call(_add, Shape((32,), f32), grid=(n,), in_specs=[_LINE] * 2,
                          out_specs=_LINE, input_output_aliases={1: 0})(x, x + 1),
        i32(2), numbers(32),
    ),
}  # fmt: skip
CLOSE: dict[str, tuple[Any, ...]] = {
    "product": (product, numbers(12, 16), numbers(16, 8)),
    "products": (jax.vmap(product, (0, None)), numbers(2, 12, 16), numbers(16, 8)),
    "softmax": (
        call(_softmax, Shape((6, 8), f32), grid=(3,), in_specs=[_ROWS], out_specs=_ROWS),
        numbers(6, 8),
    ),
    "norm": (
        call(_norm, Shape((6, 8), f32), grid=(3,), in_specs=[_ROWS, _VECTOR, _VECTOR],
             out_specs=_ROWS),
        numbers(6, 8), numbers(8), numbers(8) + 1,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", EXACT)
def test_bit_by_bit(name: str) -> None:
    function, *inputs = EXACT[name]
    check(function, *inputs)


@pytest.mark.parametrize("name", CLOSE)
def test_sums(name: str) -> None:
    function, *inputs = CLOSE[name]
    check(function, *inputs, rtol=1e-6)


_FILES = ("blocks that do not fit", "several results", "product", "by scalars", "softmax")


@pytest.mark.parametrize("format", ["MINDIR", "ONNX", "AIR"])
def test_files(format: str, tmp_path: Path) -> None:
    names = _FILES[-2:] if format == "AIR" else _FILES  # AIR is evaluated, which takes its time
    cases = [{**EXACT, **CLOSE}[name] for name in names]
    inputs = [tuple(inputs) for _, *inputs in cases]

    def all_of_them(*inputs: Any) -> Any:
        return [f(*xs) for (f, *_), xs in zip(cases, inputs, strict=True)]

    done = ms.export(
        all_of_them, *inputs, file_name=tmp_path / "net", file_format=format, verify=True
    )
    assert done.difference is not None
    assert done.difference < 1e-6


def _attention(scale: float) -> Callable[..., None]:
    """The kernel of flash attention: a block of queries, keys block after block."""

    def kernel(q: Any, k: Any, v: Any, out: Any) -> None:
        rows, size = q.shape[0], 8
        at = pl.program_id(1) * rows + lax.broadcasted_iota(i32, (rows, size), 0)

        def step(i: Array, carry: Any) -> Any:
            high, total, mixed = carry
            scores = jnp.dot(q[...], k[pl.ds(i * size, size), :].T) * scale
            keys = i * size + lax.broadcasted_iota(i32, (rows, size), 1)
            scores = jnp.where(keys <= at, scores, -1e30)
            new = jnp.maximum(high, scores.max(-1))
            e, less = jnp.exp(scores - new[:, None]), jnp.exp(high - new)
            mixed = mixed * less[:, None] + jnp.dot(e, v[pl.ds(i * size, size), :])
            return new, total * less + e.sum(-1), mixed

        start = jnp.full(rows, -jnp.inf), jnp.zeros(rows), jnp.zeros(q.shape)
        _, total, mixed = lax.fori_loop(0, k.shape[0] // size, step, start)
        out[...] = mixed / total[:, None]

    return kernel


def test_flash_attention_is_attention(tmp_path: Path) -> None:
    q, k, v = (numbers(2, 32, n)[..., :16] for n in (16, 17, 18))
    part = Block((None, 8, 16), lambda h, i: (h, i, 0))
    whole = Block((None, 32, 16), lambda h, i: (h, 0, 0))
    function = call(_attention(0.25), Shape((2, 32, 16), f32), grid=(2, 4),
                    in_specs=[part, whole, whole], out_specs=part)  # fmt: skip
    done = ms.export(function, q, k, v, file_name=tmp_path / "net", file_format="ONNX", verify=True)
    assert done.difference is not None
    assert done.difference < 1e-6
    swapped = (x.swapaxes(0, 1)[None] for x in (q, k, v))
    want = jax.nn.dot_product_attention(*swapped, scale=0.25, is_causal=True)[0].swapaxes(0, 1)
    np.testing.assert_allclose(function(q, k, v), want, rtol=1e-5, atol=1e-6)


def test_position_in_a_loop_of_the_kernel() -> None:
    """JAX's own interpreter fails here."""

    def kernel(out: Any) -> None:
        def step(i: Array, carry: None) -> None:
            out[i] = pl.program_id(0) * 10 + i

        lax.fori_loop(0, 3, step, None)

    function = call(kernel, Shape((21,), i32), grid=(7,), out_specs=Block((3,), lambda i: (i,)))
    jaxpr = canonicalise(jax.make_jaxpr(function)())
    (got,) = jax.core.eval_jaxpr(jaxpr.jaxpr, jaxpr.consts)
    np.testing.assert_array_equal(got, (np.arange(7)[:, None] * 10 + np.arange(3)).ravel())


def test_a_kernel_on_a_mesh() -> None:
    mesh = jax.make_mesh((8,), ("d",), axis_types=(AxisType.Auto,))
    block = Block((2, 4), lambda i: (i, 0))

    def kernel(x: Any, y: Any, out: Any) -> None:
        out[...] = x[...] * y[...] + pl.program_id(0)

    def body(x: Array, y: Array) -> Array:
        made = call(kernel, Shape((4, 4), f32), grid=(2,), in_specs=[block] * 2, out_specs=block)
        return lax.psum(made(x, y), "d")

    function = jax.shard_map(
        body, mesh=mesh, in_specs=(P("d"), P()), out_specs=P(), check_vma=False
    )
    x, y = numbers(32, 4), numbers(4, 4)
    jaxpr = canonicalise(jax.make_jaxpr(function)(x, y))
    assert not [*leftovers(jaxpr)]
    (got,) = jax.core.eval_jaxpr(jaxpr.jaxpr, jaxpr.consts, x, y)
    parts = np.asarray(x).reshape(8, 4, 4) * np.asarray(y) + np.array([[0], [0], [1], [1]])
    np.testing.assert_allclose(got, parts.sum(0), rtol=1e-6, atol=1e-6)


def _copied(x: Any, out: Any, done: Any) -> None:
    pltpu.make_async_copy(x, out, done).start()


def test_what_belongs_to_a_chip_is_refused_with_the_line(tmp_path: Path) -> None:
    def function(x: Array) -> Array:
        memory = [pltpu.SemaphoreType.DMA]
        return pl.pallas_call(_copied, out_shape=Shape((8,), f32), scratch_shapes=memory)(x)

    with pytest.raises(UnsupportedError) as caught:
        ms.export(function, numbers(8), file_name=tmp_path / "net")
    (problem,) = caught.value.problems
    assert Path(__file__).name in problem
    assert "(_copied): dma_start: a kernel uses what only one kind of chip has" in problem
    assert not [*tmp_path.iterdir()]
