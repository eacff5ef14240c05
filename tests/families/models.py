"""Tiny models of each family: sizes that hide nothing (H hd != D, G > 1, unequal D, F, V)."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from msckpt_jax.conventions import notation
from msckpt_jax.conventions.families import config as configs
from msckpt_jax.conventions.families import family, table
from tests.conventions.test_transform import NUMPY

_COMMON = {
    "vocab_size": 22, "hidden_size": 20, "num_hidden_layers": 3, "num_attention_heads": 6,
    "num_key_value_heads": 2, "head_dim": 4, "intermediate_size": 14, "torch_dtype": "float32",
}  # fmt: skip
_MOE = {"num_experts": 12, "moe_intermediate_size": 10}
CONFIGS: dict[str, dict[str, Any]] = {
    "llama": {},
    "mistral": {},
    "mixtral": {"num_local_experts": 12},
    "qwen2": {},
    "qwen3": {"tie_word_embeddings": True},
    "qwen3_moe": _MOE,
    "gemma2": {"query_pre_attn_scalar": 6, "num_hidden_layers": 4},
    "gemma3_text": {"query_pre_attn_scalar": 6, "num_hidden_layers": 14},
    "deepseek_v3": {
        "n_routed_experts": 5, "moe_intermediate_size": 10, "n_shared_experts": 2,
        "q_lora_rank": 8, "kv_lora_rank": 6, "qk_nope_head_dim": 4, "qk_rope_head_dim": 2,
        "v_head_dim": 3, "first_k_dense_replace": 1,
    },
    "gpt_oss": {"num_local_experts": 4, "num_hidden_layers": 4},
    "gpt2": {"n_embd": 20, "n_layer": 3, "n_head": 5, "n_positions": 9, "n_inner": None},
}  # fmt: skip


def config(model_type: str) -> dict[str, Any]:
    own = CONFIGS[model_type]
    common = {"vocab_size": 22} if model_type == "gpt2" else _COMMON
    return {"model_type": model_type} | common | own


def tensors(content: dict[str, Any]) -> dict[str, np.ndarray]:
    """Random tensors under Hugging Face's names."""
    known = table.known()[content["model_type"]]
    sizes = configs.symbols(content, known.config)
    rng = np.random.default_rng(3)
    out = {}
    for tensor in family.tensors(known, sizes):
        shape = notation.evaluate_shape(known.shapes[tensor.row][0], sizes)
        place = table.Paths(known.sections["huggingface"], sizes).place(tensor.row, tensor)
        out[place.path] = rng.normal(size=shape).astype(np.float32)
    return out


def stack_of(
    content: dict[str, Any], name: str, scanned: bool, axis: int = 1, variant: str = ""
) -> dict[str, np.ndarray]:
    """The tensors of a stack, made of :func:`tensors` by NumPy, step by step."""
    known = table.known()[content["model_type"]]
    sizes = configs.symbols(content, known.config)
    section = (known.variants[variant] if variant else known.sections[name]).of(sizes)
    axis = axis if section.scan_axis is None else section.scan_axis
    ours = tensors(content)
    joined: dict[str, list[tuple[Any, ...]]] = {}
    for tensor in family.tensors(known, sizes):
        own = table.Paths(known.sections["huggingface"], sizes).place(tensor.row, tensor).path
        for path, steps in section.rows.get(tensor.row, ()):
            place = table.Paths(section, sizes, scanned).place(path, tensor)
            symbols = {**sizes, "i": tensor.i, "e": tensor.e, "Vp": 24}
            joined.setdefault(place.path, []).append((place.layer, symbols, steps, ours[own]))
    return {path: _joined(parts, axis) for path, parts in joined.items()}


def _joined(parts: list[tuple[Any, ...]], axis: int) -> np.ndarray:
    layers: dict[int | None, list[tuple[Any, ...]]] = {}
    for layer, *rest in parts:
        layers.setdefault(layer, []).append(tuple(rest))
    made = {layer: _of_parts(each) for layer, each in layers.items()}
    if None in made:
        return made[None]
    return np.stack([made[layer] for layer in range(len(made))], axis)


def _of_parts(parts: list[tuple[Any, ...]]) -> np.ndarray:
    """The tensor of a layer: the joins of experts, halves and concatenations by NumPy."""
    before = [_until(*part, joins=("est", "stk", "cat", "ilc", "ev", "od")) for part in parts]
    if len(parts) == 1 and not before[0][1]:
        return before[0][0]
    calls = before[0][1]
    if calls[0].name in ("ev", "od"):
        return NUMPY[calls[0].name](before[0][0], 0)
    while calls:
        name, symbols = calls[0].name, parts[0][0]
        arguments = [notation.evaluate(a, symbols) for a in calls[0].arguments]
        if name == "est":
            groups: dict[Any, list[Any]] = {}
            for (array, rest), (its, *_) in zip(before, parts, strict=True):
                key = tuple(c.arguments for c in rest[1:] if c.name == "cat")
                groups.setdefault(key, []).append((its["e"], array, rest[1:], its))
            before, parts = [], []
            for group in groups.values():
                group.sort(key=lambda g: g[0])
                before.append((np.stack([g[1] for g in group], arguments[0]), group[0][2]))
                parts.append((group[0][3],))
            calls = before[0][1]
            continue
        if name in ("cat", "stk", "ilc"):
            ordered = sorted(before, key=lambda b: int(b[1][0].arguments[1]))
            arrays, rest = [b[0] for b in ordered], ordered[0][1][1:]
            joined = {"cat": np.concatenate, "stk": np.stack, "ilc": _interleave}[name]
            before, calls = [(joined(arrays, arguments[0]), rest)], rest
            parts = parts[:1]
            continue
        array = NUMPY[name](before[0][0], 0, *arguments)
        before, calls = [(array, calls[1:])], calls[1:]
    assert len(before) == 1
    return before[0][0]


def _interleave(arrays: list[np.ndarray], axis: int) -> np.ndarray:
    stacked = np.stack(arrays, axis + 1)
    shape = list(arrays[0].shape)
    shape[axis] *= len(arrays)
    return stacked.reshape(shape)


def _until(
    symbols: Any, steps: str, array: np.ndarray, joins: tuple[str, ...]
) -> tuple[np.ndarray, list[notation.Call]]:
    calls = notation.parse(steps)
    while calls and calls[0].name not in joins:
        name, texts = calls.pop(0)
        if name == "pad0":
            rows = symbols["Vp"] - len(array)
            array = np.concatenate([array, np.zeros((rows, *array.shape[1:]), array.dtype)])
            continue
        array = NUMPY[name](array, 0, *[notation.evaluate(text, symbols) for text in texts])
    return array, calls


def nested(flat: dict[str, np.ndarray]) -> dict[str, Any]:
    """A tree of dicts, with list indices as MaxText's linen has them (``layers_0``)."""
    out: dict[str, Any] = {}
    for path, value in flat.items():
        *parents, last = re.sub(r"\.(\d+)(?=\.)", r"_\1", path).split(".")
        node = out
        for key in parents:
            node = node.setdefault(key, {})
        node[last] = value
    return out
