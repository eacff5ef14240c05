"""Dynamic sizes in ONNX files: one file, JAX's numbers at every size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import pytest
from flax import nnx
from jax import lax

import msckpt_jax as ms
from msckpt_jax.onnx import runner
from tests.exporting import Block, Cnn, Mlp
from tests.networks.architectures import Decoder, Lstm, UNet, Vit


def _made(make: Any) -> Any:
    return make(rngs=nnx.Rngs(0))


#: A network, and its input: "b" and "t" are any size.
NETWORKS: dict[str, tuple[Any, tuple[Any, ...], Any]] = {
    "mlp": (Mlp(), ("b", 3), np.float32),
    "cnn": (Cnn(), ("b", 8, 8, 3), np.float32),
    "attention": (Block(nnx.Rngs(0)), ("b", "t", 8), np.float32),
    "rnn": (_made(Lstm), ("b", 7, 6), np.float32),
    "transformer": (_made(Decoder), ("b", 12), np.int32),
    "vit": (_made(Vit), ("b", 32, 32, 3), np.float32),
    "unet": (_made(UNet), ("b", 16, 16, 3), np.float32),
}


#: Of an array whose two sizes are dynamic, or whose first is.
FUNCTIONS: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "sort": (lambda x: (jnp.sort(x, 0), jnp.sort(x, 1, descending=True)), ("n", "m")),
    "argsort": (lambda x: jnp.argsort(x, 0), ("n", 4)),
    "median": (lambda x: jnp.median(x, 0), ("n", 4)),
    "cumprod": (lambda x: jnp.cumprod(x, 1), ("n", 5)),
    "cummax": (lambda x: lax.cummax(x, 1, reverse=True), ("n", 5)),
    "cummin": (lambda x: lax.cummin(x.astype(jnp.int32), 1), ("n", 5)),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name: str, tmp_path: Path) -> None:
    function, shape = FUNCTIONS[name]
    spec = jax.ShapeDtypeStruct(shape, np.float32)
    out = ms.export(function, spec, file_name=tmp_path / "a", file_format="ONNX", engine="native",
                    verify=True)  # fmt: skip
    onnx.checker.check_model(str(out.file), full_check=True)
    for size in (1, 6):
        concrete = tuple(size if isinstance(dim, str) else dim for dim in shape)
        x = np.random.default_rng(size).standard_normal(concrete).astype(np.float32)
        found = runner.session(out.file)(x)
        for have, want in zip(found, jax.tree.leaves(function(jnp.asarray(x))), strict=True):
            np.testing.assert_allclose(have, want, 1e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_sizes(name: str, tmp_path: Path) -> None:
    net, shape, dtype = NETWORKS[name]
    spec = jax.ShapeDtypeStruct(shape, dtype)
    out = ms.export(net, spec, file_name=tmp_path / "a", file_format="ONNX",
                    engine="native", verify=True)  # fmt: skip
    onnx.checker.check_model(str(out.file), full_check=True)
    (given,) = onnx.load(out.file).graph.input
    dims = [dim.dim_param or dim.dim_value for dim in given.type.tensor_type.shape.dim]
    assert tuple(dims) == shape
    asked = [str(node.input) + str(node.attribute) for node in onnx.load(out.file).graph.node
             if node.op_type == "Shape"]  # fmt: skip
    assert len(asked) == len(set(asked))
    run = runner.session(out.file)
    for size in (1, 6):  # verify tries 3 and 4
        concrete = tuple(size if isinstance(dim, str) else dim for dim in shape)
        x = np.random.default_rng(size).standard_normal(concrete).astype(dtype)
        np.testing.assert_allclose(run(x)[0], net(jnp.asarray(x)), 1e-4, 1e-5)
