"""Calls, no-ops, dead code, constants, source lines."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.ad_checkpoint import checkpoint_name
from jax.extend import source_info_util

from msckpt_jax.errors import RewriteError, UnsupportedError
from msckpt_jax.lowering.canonical import canonicalise
from tests.lowering.equal import check, names


@jax.custom_jvp
def custom_jvp(x):
    return jnp.sin(x)


custom_jvp.defjvp(lambda xs, ts: (jnp.sin(xs[0]), ts[0]))


@jax.custom_vjp
def custom_vjp(x):
    return jnp.sin(x)


custom_vjp.defvjp(lambda x: (jnp.sin(x), x), lambda x, g: (g * x,))

X = np.linspace(-2, 2, 12, dtype=np.float32).reshape(3, 4)

CALLS = {
    "jit": jax.jit(jnp.sin),
    "nested": jax.jit(lambda x: jax.jit(jnp.sin)(x)),
    "custom_jvp": custom_jvp,
    "custom_vjp": custom_vjp,
    "remat": jax.checkpoint(jnp.sin),
    "named": lambda x: checkpoint_name(jnp.sin(x), "here"),
    "stop_gradient": lambda x: lax.stop_gradient(jnp.sin(x)),
    "copy": lambda x: jnp.copy(jnp.sin(x)),
    "barrier": lambda x: lax.optimization_barrier(jnp.sin(x)),
    "device_put": lambda x: jax.device_put(jnp.sin(x)),
    "same_dtype": lambda x: jnp.sin(x).astype(jnp.float32),
    "same_shape": lambda x: jnp.sin(x).reshape(3, 4).transpose(0, 1)[:, :],
    "full_precision": lambda x: lax.reduce_precision(jnp.sin(x), 8, 23),
    "linear_call": lambda x: jax.custom_derivatives.linear_call(
        lambda r, x: jnp.sin(x), lambda r, x: x, (), x
    ),
    "shard_map": jax.shard_map(
        lambda x: jax.lax.psum(jnp.sin(x), "x"),
        mesh=jax.make_mesh((1,), ("x",), devices=jax.devices()[:1]),
        in_specs=jax.P(),
        out_specs=jax.P(),
    ),
    "dead": lambda x: (jnp.cos(x), jnp.sin(x))[1],
}


@pytest.mark.parametrize("name", CALLS)
def test_one_equation_is_left(name):
    assert names(check(CALLS[name], X)) == ["sin"]


def test_of_several_reshapes_one_is_left():
    assert names(check(lambda x: x.reshape(12)[None].reshape(2, 6)[..., None], X)) == ["reshape"]
    assert names(check(lambda x: jnp.sin(x).reshape(2, 6).reshape(3, 4), X)) == ["sin"]


def test_equal_equations_are_one():
    assert names(check(lambda x: jnp.sin(x) * (jnp.sin(x) + 1), X)) == ["sin", "add", "mul"]


def test_known_arrays_are_computed():
    def causal(x):
        return jnp.where(jnp.tril(jnp.ones((3, 4), bool)), x, jnp.arange(4.0) * 2 + 1)

    jaxpr = check(causal, X)
    assert names(jaxpr) == ["select_n"]
    assert len(jaxpr.consts) == 2


def test_large_arrays_are_left_to_the_model():
    jaxpr = canonicalise(jax.make_jaxpr(lambda: jnp.arange(1 << 20) * 2)())
    assert names(jaxpr) == ["iota", "mul"]
    assert not jaxpr.consts


def test_constants_that_repeat_one_number_stay_small():
    jaxpr = check(lambda x: (jnp.ones((100, 4)), x + jnp.full((3, 4), 2.0)), X)
    assert names(jaxpr) == ["add", "broadcast_in_dim"]
    assert not jaxpr.consts
    assert all(not hasattr(atom, "val") or atom.val.shape == () for atom in jaxpr.eqns[0].invars)


def test_weights_stay_where_they_are():
    weight = jnp.ones((1024, 1024))
    jaxpr = canonicalise(jax.make_jaxpr(lambda x: x @ weight)(np.ones((2, 1024), np.float32)))
    assert jaxpr.consts[0] is weight


def test_equations_of_calls_and_rewrites_come_from_the_users_line():
    def of_the_user(x):
        return jnp.einsum("ab,cb->ca", jax.nn.silu(x), x)

    jaxpr = check(of_the_user, X, rtol=1e-6)
    lines = {source_info_util.summarize(eqn.source_info) for eqn in jaxpr.eqns}
    assert all("of_the_user" in line for line in lines)


def test_rewrites_of_the_caller_come_first_and_are_not_applied_to_their_own_results():
    rewrites = {"sin": lambda x, **_: -jnp.sin(-x)}
    assert names(check(jnp.sin, X, rewrites=rewrites)) == ["neg", "sin", "neg"]


def test_kept_primitives_are_not_rewritten():
    jaxpr = jax.make_jaxpr(lambda x: jnp.einsum("ab,cb->ca", x, x))(X)
    assert names(canonicalise(jaxpr, keep=["dot_general"]))[0] == "dot_general"


def test_a_rewrite_that_returns_something_else_is_named():
    jaxpr = jax.make_jaxpr(jnp.sin)(X)
    with pytest.raises(
        UnsupportedError, match=r"sin returns float32\[\], not float32\[3, 4\]"
    ) as e:
        canonicalise(jaxpr, rewrites={"sin": lambda x, **_: x.sum()})
    assert isinstance(e.value.__cause__, RewriteError)


def test_symbolic_dimensions_pass_through():
    (b,) = jax.export.symbolic_shape("b")
    x = jax.ShapeDtypeStruct((b, 4), jnp.float32)
    jaxpr = canonicalise(jax.make_jaxpr(lambda x: jnp.einsum("bi,ij->jb", x, X.T[:4, :3]))(x))
    assert jaxpr.out_avals[0].shape == (3, b)


def test_64_bit_types_pass_through_where_the_process_has_them_off():
    with jax.enable_x64(True):
        jaxpr = jax.make_jaxpr(lambda x: jnp.einsum("ab,cb->ca", x, x))(X.astype(np.float64))
    assert canonicalise(jaxpr).out_avals[0].dtype == np.float64
