"""Llama between MaxText's scanned tree and Hugging Face's files as it is done by hand, in NumPy."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import safetensors.numpy
from jax.experimental import multihost_utils

HEAD = 128
LAYER = "model.layers.{}."


class Row(NamedTuple):
    """A leaf of MaxText, the tensor of Hugging Face, and what makes each of the other."""

    leaf: str
    tensor: str
    forth: Callable[[np.ndarray], np.ndarray]
    back: Callable[[np.ndarray], np.ndarray]


def _same(x: np.ndarray) -> np.ndarray:
    return x


def _swapped(x: np.ndarray) -> np.ndarray:
    return x.T


def _rows(x: np.ndarray) -> np.ndarray:
    return x.reshape(len(x), -1).T


def _heads(x: np.ndarray) -> np.ndarray:
    return x.T.reshape(x.shape[1], -1, HEAD)


def _halves(x: np.ndarray) -> np.ndarray:
    """Rotary pairs side by side become halves, as in Hugging Face's files."""
    d = len(x)
    return x.reshape(d, -1, HEAD // 2, 2).transpose(1, 3, 2, 0).reshape(-1, d)


def _pairs(x: np.ndarray) -> np.ndarray:
    d = x.shape[1]
    return x.reshape(-1, 2, HEAD // 2, d).transpose(3, 0, 2, 1).reshape(d, -1, HEAD)


def _scaled(x: np.ndarray) -> np.ndarray:
    return (_halves(x).astype(np.float32) * np.float32(HEAD**0.5)).astype(x.dtype)


def _unscaled(x: np.ndarray) -> np.ndarray:
    return _pairs((x.astype(np.float32) / np.float32(HEAD**0.5)).astype(x.dtype))


LAYERS = [
    Row("mlp.wi_0.kernel", "mlp.gate_proj.weight", _swapped, _swapped),
    Row("mlp.wi_1.kernel", "mlp.up_proj.weight", _swapped, _swapped),
    Row("mlp.wo.kernel", "mlp.down_proj.weight", _swapped, _swapped),
    Row("pre_self_attention_layer_norm.scale", "input_layernorm.weight", _same, _same),
    Row("post_self_attention_layer_norm.scale", "post_attention_layernorm.weight", _same, _same),
    Row("self_attention.query.kernel", "self_attn.q_proj.weight", _scaled, _unscaled),
    Row("self_attention.key.kernel", "self_attn.k_proj.weight", _halves, _pairs),
    Row("self_attention.value.kernel", "self_attn.v_proj.weight", _rows, _heads),
    Row("self_attention.out.kernel", "self_attn.o_proj.weight",
        lambda x: x.reshape(-1, x.shape[-1]).T, lambda x: x.T.reshape(-1, HEAD, len(x))),
]  # fmt: skip
TOP = [
    Row("decoder.decoder_norm.scale", "model.norm.weight", _same, _same),
    Row("decoder.logits_dense.kernel", "lm_head.weight", _swapped, _swapped),
    Row("token_embedder.embedding", "model.embed_tokens.weight", _same, _same),
]


def leaf_of(tree: Any, path: str) -> Any:
    for key in path.split("."):
        tree = tree[key]
    return tree


def save(tree: Any, folder: Path, limit: int) -> None:
    """Gather, rearrange, and save in files of at most ``limit`` bytes."""
    host = jax.tree.map(np.asarray, multihost_utils.process_allgather(tree, tiled=True))
    tensors = {row.tensor: row.forth(leaf_of(host, row.leaf)) for row in TOP}
    layers = host["decoder"]["layers"]
    for row in LAYERS:
        leaf = leaf_of(layers, row.leaf)
        for number in range(leaf.shape[1]):
            tensors[LAYER.format(number) + row.tensor] = row.forth(leaf[:, number])
    folder.mkdir()
    for number, group in enumerate(_groups(tensors, limit)):
        plain = {name: np.ascontiguousarray(tensor) for name, tensor in group.items()}
        safetensors.numpy.save_file(plain, folder / f"model-{number}.safetensors", {"format": "pt"})


def _groups(tensors: Mapping[str, np.ndarray], limit: int) -> Iterator[dict[str, np.ndarray]]:
    group: dict[str, np.ndarray] = {}
    for name, tensor in tensors.items():
        if group and sum(t.nbytes for t in group.values()) + tensor.nbytes > limit:
            yield group
            group = {}
        group[name] = tensor
    yield group


def load(folder: Path, like: Any) -> Any:
    """Load whole files, stack the layers, and put them where ``like`` has them."""
    tensors: dict[str, np.ndarray] = {}
    for file in folder.glob("*.safetensors"):
        tensors |= safetensors.numpy.load_file(file)
    out: dict[str, Any] = {}
    for row in TOP:
        _put(out, row.leaf, row.back(tensors[row.tensor]))
    for row in LAYERS:
        path = f"decoder.layers.{row.leaf}"
        count = leaf_of(like, path).shape[1]
        names = [LAYER.format(number) + row.tensor for number in range(count)]
        _put(out, path, np.stack([row.back(tensors[name]) for name in names], axis=1))
    placed = jax.tree.map(lambda x, wanted: jax.device_put(x, wanted.sharding), out, like)
    return jax.block_until_ready(placed)


def _put(tree: dict[str, Any], path: str, value: np.ndarray) -> None:
    *parents, last = path.split(".")
    for key in parents:
        tree = tree.setdefault(key, {})
    tree[last] = value
