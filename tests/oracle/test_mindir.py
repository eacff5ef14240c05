"""MindIR files of ours in real MindSpore: JAX's numbers."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from msckpt_jax.exporter import export
from msckpt_jax.mindir import runner
from msckpt_jax.mindir.verification import compare


class MLP(nnx.Module):
    def __init__(self):
        rngs = nnx.Rngs(0)
        self.hidden = nnx.Linear(8, 16, rngs=rngs)
        self.out = nnx.Linear(16, 4, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return jax.nn.softmax(self.out(jnp.tanh(jax.nn.relu(self.hidden(x)))))


@pytest.fixture(scope="session")
def runs():
    with runner.MindSpore() as mindspore:
        yield mindspore.run


def test_a_network_of_any_batch_size(runs, tmp_path):
    model = MLP()
    done = export(
        model, jax.ShapeDtypeStruct((None, 8), jnp.float32), file_name=tmp_path / "mlp.mindir"
    )
    assert list(done.graph.parameters) == ["hidden.bias", "hidden.kernel", "out.bias", "out.kernel"]
    inputs = [np.linspace(-1, 1, 8 * n, dtype=np.float32).reshape(n, 8) for n in (2, 5)]
    (outcome,) = runs([runner.Case(done.file, [[x] for x in inputs])])
    assert not outcome.error
    for x, results in zip(inputs, outcome.results, strict=True):
        compare(done.file, [np.asarray(model(x))], results)
