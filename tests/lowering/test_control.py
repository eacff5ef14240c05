"""Control flow in canonical forms, with canonical bodies."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from tests.lowering.equal import check, names

X = np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)


def scan(length, reverse=False, unroll=1):
    def step(carry, x):
        a, b = carry
        return (a * 2 + x[0], b + jnp.einsum("i,j->ji", a, x[1])[0]), (a, x[0].sum())

    def function(x):
        xs = jnp.arange(length * 4.0).reshape(length, 4)
        return lax.scan(step, (x[0], x[1]), (xs, xs[:, ::-1]), reverse=reverse, unroll=unroll)

    return function


def of_keys(x):
    def step(key, x):
        key, one = jax.random.split(key)
        return key, x + jax.random.uniform(one, x.shape)

    return lax.scan(step, jax.random.key(3), jnp.tile(x, (20, 1)))


CASES = {
    "cond": lambda x: lax.cond(x[0, 0] > 0, jnp.sin, lambda x: jnp.einsum("ab->ab", x) + 1, x),
    "switch": lambda x: [
        lax.switch(i + x[0, 0].astype(int), [lambda x: x, jnp.sin, jnp.cos, lambda x: -x], x)
        for i in (-1, 0, 1, 2, 3, 9)
    ],
    "switch_known": lambda x: lax.switch(2, [jnp.sin, jnp.cos, jnp.tanh], x),
    "platform": lambda x: lax.platform_dependent(x, tpu=jnp.sin, default=jnp.cos),
    "switch_of_one": lambda x: lax.switch(x[0, 0].astype(int), [jnp.sin], x),
    "while": lambda x: lax.while_loop(lambda c: c[0] < 5, lambda c: (c[0] + 1, c[1] * 2), (0, x)),
    "while_with_constants": lambda x: lax.while_loop(
        lambda c: c.sum() < x[2].sum() * 9, lambda c: c + x[2] ** 2, x[2]
    ),
    "fori": lambda x: lax.fori_loop(0, 7, lambda i, x: x * i + x[::-1], x),
    "fori_dynamic": lambda x: lax.fori_loop(0, x.sum().astype(int) + 5, lambda i, x: x + i, x),
    "scan_short": scan(3),
    "scan_short_reversed": scan(3, reverse=True),
    "scan": scan(40),
    "scan_reversed": scan(40, reverse=True),
    "scan_unrolled": scan(40, unroll=40),
    "scan_partly_unrolled": scan(40, unroll=4),
    "scan_of_nothing": scan(0),
    "scan_without_inputs": lambda x: lax.scan(lambda c, _: (c * 2, c), x, length=200),
    "scan_of_keys": of_keys,
    "nested": lambda x: lax.scan(
        lambda c, x: (scan(30)(jnp.stack([c, x]))[0][0], x), x[0], jnp.tile(x, (9, 1))
    ),
    "grad_of_scan": lambda x: jax.grad(lambda x: scan(20)(x)[0][1].sum())(x / 9),
    "map": lambda x: lax.map(jnp.sin, x),
    "associative_scan": lambda x: lax.associative_scan(jnp.add, x, axis=1),
    "solve": lambda x: jnp.linalg.solve(x[:3, :3] + 3 * jnp.eye(3), x),
    "custom_root": lambda x: lax.custom_root(
        lambda y: y**3 - x.sum() - 9,
        2.0,
        lambda f, y: lax.fori_loop(0, 20, lambda _, y: y - f(y) / (3 * y * y), y),
        lambda g, y: y / g(1.0),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_control_flow(name):
    check(CASES[name], X, rtol=2e-6)


def test_a_short_scan_is_written_out_and_a_long_one_a_loop():
    assert "while" not in names(check(scan(3), X, rtol=1e-6))
    assert names(check(scan(40), X, rtol=1e-6)).count("while") == 1


def test_equations_of_a_scan_come_from_the_users_line():
    from jax.extend import source_info_util

    jaxpr = check(scan(40), X, rtol=1e-6)
    (loop,) = (eqn for eqn in jaxpr.eqns if eqn.primitive.name == "while")
    body = loop.params["body_jaxpr"].jaxpr
    lines = {e.primitive.name: source_info_util.summarize(e.source_info) for e in body.eqns}
    assert "step)" in lines["mul"]
    assert "function)" in lines["gather"]
