"""A small Llama of tunix with LoRA leaves beside its weights, whole or on the devices of a mesh."""

from __future__ import annotations

import re
from typing import Any

import jax
import numpy as np

import msckpt_jax as ms

FAMILY = ms.Family(
    {"model_type": "llama", "vocab_size": 32, "hidden_size": 16, "num_hidden_layers": 2,
     "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 6, "intermediate_size": 24},
    jax="tunix", lora_alpha=6,
)  # fmt: skip
_RANK = 3


def whole() -> dict[str, Any]:
    """The leaves by their paths: weights, and A and B of each projection, as qwix makes them."""
    rng = np.random.default_rng(4)
    shapes: dict[str, tuple[int, ...]] = {}
    for keys, leaf in jax.tree_util.tree_leaves_with_path(FAMILY.abstract()):
        path = ".".join(str(key.key) for key in keys)
        shapes[path] = leaf.shape
        if "proj" in path:
            inside = 2 if "o_proj" in path else 1
            shapes[f"{path}_lora_a"] = (*leaf.shape[:inside], _RANK)
            shapes[f"{path}_lora_b"] = (_RANK, *leaf.shape[inside:])
    return {path: rng.normal(size=shape).astype(np.float32) for path, shape in shapes.items()}


def sharded(mesh: jax.sharding.Mesh) -> dict[str, Any]:
    """Weights over both axes; A and B over those of the axes of the weight that they have."""

    def spec(path: str) -> jax.P:
        last = len(re.findall("o_proj", path))  # its outputs are the last axis
        return {
            "a": jax.P("x"),
            "b": jax.P(None, "y"),
            "w": jax.P("x", "y") if not last else jax.P("x", None, "y"),
        }[path[-1] if "_lora_" in path else "w"]

    out = {}
    for path, value in whole().items():
        place = jax.NamedSharding(mesh, spec(path) if value.ndim > 1 else jax.P())
        out[path] = jax.make_array_from_callback(value.shape, place, lambda i, v=value: v[i])
    return out
