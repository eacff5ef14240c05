"""Operators of MindSpore where the equations compute the same, and only there."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from msckpt_jax.lowering.operator import operator
from tests.lowering.equal import canonical, check, names

VECTOR = np.arange(1, 9, dtype=np.float32)
X = np.random.default_rng(0).standard_normal((2, 3, 8)).astype(np.float32)


def operators(jaxpr):
    return [(e.params["op"], e.params["attrs"]) for e in jaxpr.eqns if e.primitive.name == "ms_op"]


def by_hand(x):
    e = jnp.exp(x - x.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def linen_layer_norm(x, gamma=VECTOR, beta=VECTOR):
    return nn.LayerNorm(epsilon=1e-3).apply({"params": {"scale": gamma, "bias": beta}}, x)


def layer_norm(x, gamma=VECTOR, beta=VECTOR):
    mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return (x - mean) * (jax.lax.rsqrt(variance + 1e-5) * gamma) + beta


def batch_norm(x, mean=VECTOR, variance=VECTOR, gamma=VECTOR, beta=VECTOR):
    stats = {"mean": mean, "var": variance}
    layer = nn.BatchNorm(use_running_average=True)
    variables = {"params": {"scale": gamma, "bias": beta}, "batch_stats": stats}
    return layer.apply(variables, x.reshape(-1, 8))


def nnx_layer_norm(x, gamma=VECTOR, beta=VECTOR):
    layer = nnx.LayerNorm(8, rngs=nnx.Rngs(0))
    layer.scale.set_value(gamma)
    layer.bias.set_value(beta)
    return layer(x)


NORM = (("begin_norm_axis", -1), ("begin_params_axis", -1))
BATCH_NORM = {"is_training": False, "epsilon": 1e-5, "momentum": 0.1, "data_format": 0}
FUSED = {
    "softmax": (jax.nn.softmax, "Softmax", {"axis": (2,)}),
    "softmax_axis": (lambda x: jax.nn.softmax(x, 0), "Softmax", {"axis": (0,)}),
    "log_softmax": (lambda x: jax.nn.log_softmax(x, 1), "LogSoftmax", {"axis": 1}),
    "gelu": (jax.nn.gelu, "GeLU", {}),
    "silu": (jax.nn.silu, "SiLU", {}),
    "silu_by_hand": (lambda x: jax.nn.sigmoid(x) * x, "SiLU", {}),
    "relu": (jax.nn.relu, "ReLU", {}),
    "relu_by_hand": (lambda x: jnp.maximum(0, x), "ReLU", {}),
    "layer_norm": (nnx_layer_norm, "LayerNorm", {**dict(NORM), "epsilon": 1e-6}),
    "linen": (linen_layer_norm, "LayerNorm", {**dict(NORM), "epsilon": 1e-3}),
    "two_passes": (layer_norm, "LayerNorm", {**dict(NORM), "epsilon": 1e-5}),
    "batch_norm": (batch_norm, "BatchNorm", BATCH_NORM),
}
# weights are arguments, as in an export: what is computed from constants is folded
WEIGHTED = (nnx_layer_norm, linen_layer_norm, layer_norm, batch_norm)
OPEN = {
    "softmax_of_some": lambda x: jax.nn.softmax(x, where=x > 0),
    "softmax_by_hand_without_guard": lambda x: jnp.exp(x) / jnp.exp(x).sum(-1, keepdims=True),
    "gelu_exact": lambda x: jax.nn.gelu(x, approximate=False),
    "gelu_other_number": lambda x: 0.5 * x * (1 + jnp.tanh(0.8 * (x + 0.044715 * x**3))),
    "silu_of_another": lambda x: x * jax.nn.sigmoid(x + 1),
    "relu_of_one": lambda x: jnp.maximum(x, 1),
    "relu_of_integers": lambda x: jax.nn.relu(x.astype(np.int32)),
    "epsilon_of_the_data": lambda x: (
        (x - x.mean(-1, keepdims=True))
        * jax.lax.rsqrt(x.var(-1, keepdims=True) + x[0, 0, 0] ** 2)
        * jnp.arange(8.0)
        + jnp.ones(8)
    ),
}


@pytest.mark.parametrize("name", FUSED)
def test_becomes_one_operator(name):
    function, op, attrs = FUSED[name]
    weights = function.__defaults__ if function in WEIGHTED else ()
    ((found, arguments),) = operators(check(function, X, *weights, rtol=1e-6))
    assert found == op
    assert list(dict(arguments)) == list(attrs)
    for key, value in arguments:
        assert value == (pytest.approx(attrs[key]) if key == "epsilon" else attrs[key])


@pytest.mark.parametrize("name", OPEN)
def test_stays_as_it_is(name):
    assert not operators(check(OPEN[name], X, rtol=1e-6))


def test_bodies_of_control_flow():
    def function(x):
        return jax.lax.fori_loop(0, x.shape[0] * 20, lambda _, x: jax.nn.softmax(x), x)

    jaxpr = check(function, X, rtol=1e-6)
    (loop,) = (e for e in jaxpr.eqns if e.primitive.name == "while")
    assert [op for op, _ in operators(loop.params["body_jaxpr"])] == ["Softmax"]


def test_off():
    assert not operators(canonical(jax.nn.softmax, X, fuse=False))


def test_no_operator_without_a_kernel():
    with jax.enable_x64(True):
        assert not operators(canonical(jax.nn.log_softmax, X.astype(np.float64)))


def test_exact_leaves_out_what_treats_nan_in_another_way():
    def function(x):
        return jax.nn.softmax(jax.nn.silu(jax.nn.relu(x)))

    assert [op for op, _ in operators(canonical(function, X, exact=True))] == ["SiLU", "Softmax"]


def test_a_value_that_is_used_elsewhere_stays():
    def function(x):
        y = jax.nn.sigmoid(x)
        return x * y, y

    assert names(check(function, X)) == ["logistic", "ms_op"]


def test_an_operator_of_the_user():
    def function(x):
        return operator("Mish", lambda x: x * jnp.tanh(jax.nn.softplus(x)), x) + 1

    assert operators(check(function, X, rtol=1e-6)) == [("Mish", ())]


def test_an_operator_of_several_results():
    def function(x):
        values, places = operator("TopK", lambda x: jax.lax.top_k(x, 3), x, k=3)
        return places, values

    assert operators(check(function, X)) == [("TopK", (("k", 3),))]
