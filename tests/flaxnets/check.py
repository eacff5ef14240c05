"""Networks of others filled with mindcv's CheckPoints: the logits of both. Not in the test run.

Needs, beside the packages of the tests, mindcv (``pip install --no-deps mindcv``), NumPy 1 for
MindSpore (in a folder of its own), and the packages of JAX (``--no-deps`` will do)::

    python -m tests.flaxnets.check --mindspore NUMPY1:MINDCV --jax BONSAI:OTHERS [NETWORK ...]

prints the greatest difference of the logits by their greatest size, and writes names.tsv, by which
the default tests hold the tables: the names of each network by the plain convention, and mindcv's.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import jax
import numpy as np
from flax import linen, nnx

import msckpt_jax as ms
from msckpt_jax.conventions import networks

NAMES = Path(__file__).with_name("names.tsv")


class Case(NamedTuple):
    """A small network on both sides.

    Attributes:
        mindcv: the module and the expression that make it.
        make: makes the JAX network, and a function of the images.
        size: that of the images.
        rounding: the difference that is due to what the package computes differently.
    """

    mindcv: tuple[str, str]
    make: Callable[[], tuple[Any, Callable[[Any, Any], Any]]]
    size: int
    rounding: float = 2e-6


def _resnet() -> Any:
    modeling = importlib.import_module("bonsai.models.resnet.modeling")

    net = modeling.ResNet(modeling.ModelConfig([1, 2, 1, 1], 7), rngs=nnx.Rngs(0))
    window = {"window_shape": (3, 3), "strides": (2, 2), "padding": "SAME"}
    net.stem.pool = functools.partial(linen.max_pool, **window)
    return net, lambda net, x: net(x)


def _vit() -> Any:
    modeling = importlib.import_module("bonsai.models.vit.modeling")

    sizes = (32, 32), (8, 8), 3, 24, 0.0, 0.0, 4, 96, 1e-7, 3, 7
    net = modeling.ViTClassificationModel(modeling.ModelConfig(*sizes), rngs=nnx.Rngs(0))
    return net, lambda net, x: net(x, rngs=nnx.Rngs(0))


def _convnext() -> Any:
    modeling = importlib.import_module("bonsai.models.convnext.modeling")

    config = modeling.ModelConfig(
        (1, 2, 3, 1), (8, 16, 24, 32), 0.0, num_classes=7, layernorm_eps=1e-6
    )
    net = modeling.ConvNeXt(config, rngs=nnx.Rngs(0))
    return net, lambda net, x: net(x, rngs=jax.random.key(0))


def _without(*modules: str) -> None:
    """Let packages be imported without these, which they do not need here."""
    for name in modules:
        sys.modules.setdefault(name, mock.MagicMock())


def _jimm() -> Any:
    _without("tokamax", *(f"tokamax._src{n}" for n in (
        "", ".autotuning", ".autotuning.api", ".ops", ".ops.attention", ".ops.attention.api"
    )))  # fmt: skip
    jimm = importlib.import_module("jimm")
    plain = importlib.import_module("jimm.common.sharding").NoSharding

    jax.set_mesh(jax.make_mesh((1,), ("x",)))
    net = jimm.VisionTransformer(
        num_classes=7, img_size=32, patch_size=8, num_layers=3, num_heads=4, mlp_dim=96,
        hidden_size=24, dropout_rate=0.0, rngs=nnx.Rngs(0), sharding=plain,
    )  # fmt: skip
    return net, lambda net, x: net(x)


def _narrow(vgg: Any) -> None:
    """Give dense layers 16 features where flaxmodels wants 4096, as on mindcv's side."""
    block = vgg._fc_block

    def narrow(self: Any, x: Any, features: int, **more: Any) -> Any:
        return block(self, x, min(features, 16), **more)

    vgg._fc_block = narrow


def _vgg(name: str) -> Any:
    _without("h5py", "flaxmodels.gpt2")  # for downloads and texts
    flaxmodels = importlib.import_module("flaxmodels.vgg.vgg")
    _narrow(flaxmodels.VGG)
    module = getattr(flaxmodels, name)("logits", None, normalize=False, num_classes=7)
    image = jax.ShapeDtypeStruct((1, 224, 224, 3), np.float32)
    shapes = jax.eval_shape(functools.partial(module.init, train=False), jax.random.key(0), image)
    variables = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
    return variables, lambda variables, x: module.apply(variables, x, train=False)


_VIT = (
    "VisionTransformer(image_size=32,patch_size=8,embed_dim=24,depth=3,num_heads=4,num_classes=7)"
)
CASES = {
    "bonsai.resnet": Case(
        ("resnet", "ResNet(Bottleneck, [1, 2, 1, 1], num_classes=7)"), _resnet, 64
    ),
    "bonsai.vit": Case(("vit", _VIT), _vit, 32),
    "bonsai.convnext": Case(
        ("convnext", "ConvNeXt(3, 7, [1, 2, 3, 1], [8, 16, 24, 32])"), _convnext, 64, 1e-4
    ),
    "jimm.vit": Case(("vit", _VIT), _jimm, 32, 2e-4),
    "flaxmodels.vgg16": Case(
        ("vgg", "narrow(nn) or VGG('vgg16', num_classes=7)"), functools.partial(_vgg, "VGG16"), 224
    ),
    "flaxmodels.vgg19": Case(
        ("vgg", "narrow(nn) or VGG('vgg19', num_classes=7)"), functools.partial(_vgg, "VGG19"), 224,
        1e-5,  # each side is 3e-6 from float64
    ),
}  # fmt: skip


def check(name: str, mindspore: str, folder: Path) -> Iterator[tuple[str, ...]]:
    """Yield the lines of names.tsv of a network, once its logits have been compared."""
    case, out = CASES[name], folder / name
    side = Path(__file__).with_name("mindcv_side.py")
    subprocess.run(
        [sys.executable, side, out, str(case.size), *case.mindcv],
        check=True, env=os.environ | {"PYTHONPATH": mindspore, "GLOG_v": "3"},
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    net, call = case.make()
    params = ms.load_checkpoint(f"{out}.ckpt")
    net, missing, unused = ms.load_param_into_tree(net, params, convention=name)
    values = np.load(f"{out}.npz")
    logits = np.asarray(call(net, jax.numpy.asarray(values["images"].transpose(0, 2, 3, 1))))
    error = np.abs(logits - values["logits"]).max() / np.abs(values["logits"]).max()
    print(f"{name}: {len(params)} parameters, {error:.1e}; not loaded: {[*missing]}", flush=True)
    assert not unused
    assert error < case.rounding, error
    how = ms.Convention(layers=networks.known()[name].layers)
    plain = [row.name for row in ms.explain(net, how) if row.leaf]
    named = [row.name for row in ms.explain(net, name) if row.leaf]
    for before, after in dict.fromkeys(zip(plain, named, strict=True)):
        if after in params:
            shape = ",".join(map(str, np.shape(params[after])))
            yield name, before, after, shape


def main() -> None:
    """Check the networks that the command line names, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mindspore", required=True, help="PYTHONPATH of MindSpore's process")
    parser.add_argument("--jax", required=True, help="PYTHONPATH of the packages of JAX")
    parser.add_argument("networks", nargs="*", default=list(CASES))
    given = parser.parse_args()
    sys.path += given.jax.split(os.pathsep)
    kept = [tuple(line.split("\t")) for line in NAMES.read_text().splitlines()]
    for name in given.networks:
        with tempfile.TemporaryDirectory() as folder:
            lines = [*check(name, given.mindspore, Path(folder))]
        kept = [line for line in kept if line[0] != name] + lines
        NAMES.write_text("".join("\t".join(line) + "\n" for line in sorted(kept)))


if __name__ == "__main__":
    main()
