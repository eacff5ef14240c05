"""``adapter_config.json`` of PEFT: the scale with which each layer's product is added."""

from __future__ import annotations

import collections
import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from msckpt_jax.errors import CheckpointError

NAME = "adapter_config.json"
#: Properties on which the values do not depend, and those that are read below.
_READ = {
    "alpha_pattern", "auto_mapping", "base_model_name_or_path", "bias", "ensure_weight_tying",
    "eva_config", "exclude_modules", "fan_in_fan_out", "inference_mode", "init_lora_weights",
    "layers_pattern", "layers_to_transform", "lora_alpha", "lora_dropout", "megatron_core",
    "peft_type", "peft_version", "qalora_group_size", "r", "rank_pattern", "revision",
    "runtime_config", "target_modules", "task_type", "use_rslora",
}  # fmt: skip
#: Beginnings of a training that leave the base model as it is; others subtract from it.
_PLAIN_BEGINNINGS = (True, False, "gaussian", "orthogonal", "eva")
_LIMIT = 1 << 24
#: Letters of patterns that cannot take forever.
_PLAIN = re.compile(r"[\w.^$\\]*")


def read(file: Any) -> Mapping[str, Any]:
    """The content of the file of an adapter whose products are added as they are.

    Raises:
        CheckpointError: it is no LoRA, or has further properties that change the values.
        FileNotFoundError: there is no such file.
    """
    with file.open("rb") as stream:
        text = stream.read(_LIMIT)
    try:
        config = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"no JSON: {error}", file=file) from None
    if not isinstance(config, Mapping) or config.get("peft_type") != "LORA":
        kind = config.get("peft_type") if isinstance(config, Mapping) else None
        raise CheckpointError("this is no adapter of PEFT with LoRA", file=file,
                              expected="peft_type LORA", found=kind)  # fmt: skip
    odd = sorted(key for key, value in config.items() if key not in _READ and value)
    if config.get("bias", "none") != "none":
        odd.append(f"bias={config['bias']!r}")
    if config.get("init_lora_weights", True) not in _PLAIN_BEGINNINGS:
        odd.append(f"init_lora_weights={config['init_lora_weights']!r}")
    if odd:
        raise CheckpointError(
            "the adapter is more than products A B on the base model, which LoRA leaves cannot "
            "hold; merge it in PEFT by merge_and_unload(), and load the model",
            file=file, found=", ".join(odd),
        )  # fmt: skip
    return config


def scale(config: Mapping[str, Any], module: str, rank: int, file: Any) -> float:
    """The factor of the product of a layer, whose A and B in the file have this rank.

    Raises:
        CheckpointError: a value in the config is not possible, or it gives another rank.
    """
    ranks, alphas = (_pattern(config, key, file) for key in ("rank_pattern", "alpha_pattern"))
    alpha = _of(alphas, module, config.get("lora_alpha", 8), file)
    told = _of(ranks, module, config.get("r", 8), file)
    if told != rank:
        raise CheckpointError("the config gives another rank to this layer than the file has",
                              file=file, name=module, expected=told, found=rank)  # fmt: skip
    return alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)


def _pattern(config: Mapping[str, Any], key: str, file: Any) -> Mapping[str, Any]:
    pattern = config.get(key) or {}
    if not isinstance(pattern, Mapping):
        raise CheckpointError(f"{key} is no object", file=file, found=pattern)
    return pattern


def _of(pattern: Mapping[str, Any], module: str, default: Any, file: Any) -> float:
    """The value of the first pattern that fits the end of a layer's name, as in PEFT."""
    for key in pattern:
        if not _PLAIN.fullmatch(key):
            raise CheckpointError("only plain names are read as patterns of layers", file=file,
                                  found=key)  # fmt: skip
    value = next((v for key, v in pattern.items() if _fits(key, module, file)), default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise CheckpointError("a rank or an alpha is a number above 0", file=file, found=value)
    return value


def _fits(key: str, module: str, file: Any) -> bool:
    try:
        return re.match(rf"(.*\.)?({key})$", module) is not None
    except re.error as error:
        raise CheckpointError(f"{key!r} is no pattern: {error}", file=file) from None


def made(ranks: Mapping[str, int], modules: Sequence[str], alpha: float, base: str | None) -> bytes:
    """The content of the file for layers of these ranks, of all ``modules`` that the model has."""
    common = collections.Counter(ranks.values()).most_common(1)[0][0]
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": common,
        "lora_alpha": int(alpha) if float(alpha).is_integer() else alpha,
        "rank_pattern": {name: rank for name, rank in ranks.items() if rank != common},
        "alpha_pattern": {},
        "target_modules": _targets(ranks, modules),
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": False,
        "use_rslora": False,
        "use_dora": False,
        "modules_to_save": None,
        "init_lora_weights": True,
        "inference_mode": True,
    }
    return json.dumps(config, indent=2).encode() + b"\n"


def _targets(ranks: Mapping[str, int], modules: Sequence[str]) -> list[str]:
    """The last parts of the names where all layers of such names are meant, else whole names."""
    ends = {name.rpartition(".")[2] for name in ranks}
    if all(name in ranks for name in modules if name.rpartition(".")[2] in ends):
        return sorted(ends)
    return list(ranks)
