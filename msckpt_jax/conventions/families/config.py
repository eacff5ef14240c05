"""``config.json`` of Hugging Face: the sizes of a model by their letters."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from msckpt_jax.checkpoint import paths
from msckpt_jax.checkpoint.paths import PathLike
from msckpt_jax.conventions.notation import evaluate
from msckpt_jax.errors import CheckpointError
from msckpt_jax.visible import log

#: For each letter the keys of ``config.json`` that may give it, and expressions after ``=``.
SIZES: dict[str, tuple[str, ...]] = {
    "V": ("vocab_size",),
    "D": ("hidden_size", "n_embd"),
    "L": ("num_hidden_layers", "n_layer"),
    "H": ("num_attention_heads", "n_head"),
    "K": ("num_key_value_heads", "= H"),
    "G": ("= H // K",),
    "hd": ("head_dim", "= D // H"),
    "F": ("intermediate_size", "n_inner"),
    "E": ("num_experts", "num_local_experts", "n_routed_experts"),
    "Fe": ("moe_intermediate_size", "intermediate_size"),
    "Fs": ("= Fe * n_shared_experts",),
    "P": ("max_position_embeddings", "n_positions"),
    "Rq": ("q_lora_rank", "= 0"),
    "Rkv": ("kv_lora_rank",),
    "dn": ("qk_nope_head_dim",),
    "dr": ("qk_rope_head_dim",),
    "dv": ("v_head_dim",),
    "k": ("first_k_dense_replace",),
    "qs": ("query_pre_attn_scalar",),
    "tied": ("tie_word_embeddings", "= 0"),
}
CONFIG, TEXT, QUANTISED = "config.json", "text_config", "quantization_config"
#: What a model of more than text says of all its parts.
_OF_ALL = (
    "bos_token_id", "eos_token_id", "pad_token_id", "initializer_range", "dtype", "torch_dtype",
    "tie_word_embeddings", "transformers_version",
)  # fmt: skip
#: What Hugging Face's libraries save beside the weights of a language model.
_BESIDE = (
    "generation_config.json", "tokenizer.json", "tokenizer_config.json", "tokenizer.model",
    "special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt",
    "chat_template.jinja",
)  # fmt: skip
#: The letters that are no counts; those of counts that may be zero.
_NO_COUNTS, _MAY_BE_ZERO = {"qs", "tied"}, {"k", "Rq"}
_DTYPES = ("bfloat16", "float16", "float32", "float64")
_LIMIT, _MOST_TENSORS = 1 << 24, 1 << 22


def read(config: Any) -> Mapping[str, Any]:
    """The content of a ``config.json``: a mapping, its path, or the folder that it lies in.

    Raises:
        CheckpointError: no JSON object, or no model in it.
        FileNotFoundError: there is no such file.
    """
    file = None
    if not isinstance(config, Mapping):
        if not isinstance(config, str | os.PathLike):
            raise TypeError(f"config must be a path or a dict, not {type(config).__name__}")
        file = paths.path_of(config)
        file = file / CONFIG if file.is_dir() else file
        config = _parsed(file)
    if not isinstance(of_text(config).get("model_type"), str):
        raise CheckpointError("the config names no model_type", file=file)
    return config


def of_text(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config of a model of text, also of the one in a model of more than text."""
    text = config.get(TEXT)
    return dict(config) | (dict(text) if isinstance(text, Mapping) else {})


def folder_of(config: PathLike) -> str:
    """The folder of a config that is a path."""
    path = paths.path_of(config)
    return str(path if path.is_dir() else path.parent)


def _parsed(file: Any) -> Mapping[str, Any]:
    with file.open("rb") as stream:
        text = stream.read(_LIMIT + 1)
    if len(text) > _LIMIT:
        raise CheckpointError("a config.json is not that long", file=file, expected=_LIMIT)
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"no JSON: {error}", file=file) from None
    if not isinstance(content, Mapping):
        raise CheckpointError("a config.json holds an object", file=file)
    return content


def symbols(config: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """The sizes and properties of a model, by :data:`SIZES` and a family's ``own`` rows.

    Raises:
        CheckpointError: a size is no whole number, or not possible.
    """
    out = {key: value for key, value in config.items() if not isinstance(value, Mapping)}
    out["dtype"] = dtype_of(config)
    out["rope_type"] = _rope_type(config)
    for letter, ways in (SIZES | {key: tuple(value) for key, value in own.items()}).items():
        for way in ways:
            if way.startswith("="):
                try:
                    out[letter] = evaluate(way[1:], out)
                except CheckpointError:  # of a size that this model does not have
                    continue
                break
            if config.get(way) is not None:
                out[letter] = config[way]
                _check(letter, way, config[way])
                break
    if out.get("K") and out.get("H", 0) % out["K"]:
        raise CheckpointError("the query heads are no multiple of the key heads",
                              name="config.json", found=f"{out['H']} and {out['K']}")  # fmt: skip
    if out.get("L", 0) * out.get("E", 1) > _MOST_TENSORS:
        raise CheckpointError("no model has that many layers and experts", name="config.json",
                              found=f"{out['L']} times {out.get('E', 1)}")  # fmt: skip
    return out


def dtype_of(config: Mapping[str, Any]) -> str:
    """The dtype of the weights; where the config names none, that of the class in transformers."""
    usual = "bfloat16" if config.get(QUANTISED) else "float32"
    name = config.get("dtype") or config.get("torch_dtype") or usual
    if name not in _DTYPES:
        raise CheckpointError("the config's dtype is not possible", name=CONFIG,
                              expected=" or ".join(_DTYPES), found=repr(name))  # fmt: skip
    return name


def _check(letter: str, key: str, value: Any) -> None:
    if letter == "tied":
        right, expected = isinstance(value, bool), "true or false"
    elif letter in SIZES.keys() - _NO_COUNTS:
        least = 0 if letter in _MAY_BE_ZERO else 1
        right = type(value) is int and least <= value < 1 << 31
        expected = f"a whole number from {least} on"
    else:
        return
    if not right:
        raise CheckpointError(f"the config's {key} is not possible", name="config.json",
                              expected=expected, found=repr(value))  # fmt: skip


def _rope_type(config: Mapping[str, Any]) -> str:
    for key in ("rope_parameters", "rope_scaling"):
        rope = config.get(key)
        if isinstance(rope, Mapping) and (kind := rope.get("rope_type") or rope.get("type")):
            return str(kind)
    return "default"


def companions(config: Any, alone: Mapping[str, Any] = {}) -> dict[str, bytes]:
    """The content of ``config.json``, and of the files of its folder that go with any weights.

    It is the config of plain tensors and, of a model of more than text, that of its text, which has
    the entries of ``alone``.
    """
    content = read(config)
    own = _plain(content, alone)
    out = {CONFIG: json.dumps(own, indent=2).encode() + b"\n"}
    if isinstance(config, Mapping):
        return out
    path = paths.path_of(config)
    file = path / CONFIG if path.is_dir() else path
    if own == content:
        out[CONFIG] = file.read_bytes()
    there = ((name, path / name) for name in (_BESIDE if path.is_dir() else ()))
    return out | {name: file.read_bytes() for name, file in there if file.is_file()}


def _plain(config: Mapping[str, Any], alone: Mapping[str, Any]) -> dict[str, Any]:
    """The config of the text model with plain tensors; what is left out is logged."""
    out = dict(config)
    if isinstance(text := config.get(TEXT), Mapping):
        log.warning("config.json is written as that of the text model in %s: %s",
                    config.get("model_type"), json.dumps(dict(alone)))  # fmt: skip
        out = {key: config[key] for key in _OF_ALL if key in config} | {**text} | {**alone}
    if out.pop(QUANTISED, None) or config.get(QUANTISED):
        log.warning("config.json is written without %s: the tensors are plain", QUANTISED)
    return out
