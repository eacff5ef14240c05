"""Trees filled through a Family against MaxText's own converter. Runs where MaxText is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest

import msckpt_jax as ms
from msckpt_jax import names
from tests.families.test_logits import DATA, config_of

pytest.importorskip("maxtext")
from maxtext.checkpoint_conversion.utils import param_mapping, tensor_handling

#: A model of MaxText whose hooks fit the tiny model; without one MaxText has no mapping.
MODELS = {
    "llama3": "llama3.1-8b", "qwen2": "qwen2.5-7b", "qwen2_tied": "qwen2.5-7b",
    "qwen3": "qwen3-8b", "qwen3_moe": "qwen3-30b-a3b", "mixtral": "mixtral-8x7b",
    "gemma2": "gemma2-2b", "gemma3": "gemma3-4b", "gemma3_bfloat16": "gemma3-4b",
    "deepseek_v2": "deepseek2-16b", "deepseek_v3": "deepseek3-671b", "gpt_oss": "gpt-oss-20b",
}  # fmt: skip


def options_of(model: str, config: dict[str, Any], scanned: bool) -> Any:
    return SimpleNamespace(
        scan_layers=scanned, param_scan_axis=1, use_multimodal=False,
        num_experts=config.get("num_local_experts", 0), head_dim=config.get("head_dim"),
        inhomogeneous_layer_cycle_interval=2 if "gpt" in model else 1,
    )  # fmt: skip


def theirs_of(case: str, config: dict[str, Any]) -> dict[str, Any]:
    """The config for MaxText's functions, mended where they are known to be wrong."""
    if case == "gemma2":  # the hooks take the head's size, and the logits are wrong
        return config | {"head_dim": config["query_pre_attn_scalar"]}
    if case.startswith("gemma3"):  # they know only models with a vision tower
        return {"text_config": config, "vision_config": {"num_hidden_layers": 0}}
    return config


def name_of(case: str, source: str) -> str:
    return source.replace("model.language_model.", "model.") if "gemma3" in case else source


def into_maxtext(
    case: str,
    config: dict[str, Any],
    tensors: Mapping[str, np.ndarray],
    shapes: Mapping[str, tuple[int, ...]],
    scanned: bool,
) -> dict[str, np.ndarray]:
    """The leaves that MaxText's converter makes, by their dotted paths."""
    model, config = MODELS[case], theirs_of(case, config)
    options = options_of(model, config, scanned)
    rows = param_mapping.PARAM_MAPPING[model](config, options, scanned)
    hooks = param_mapping.HOOK_FNS[model](config, options, scanned, saving_to_hf=False)
    out: dict[str, np.ndarray] = {}
    for key, sources in rows.items():
        paths = paths_of(key)
        if paths[0] not in shapes:
            assert name_of(case, _first(sources)) not in tensors  # a part that this model lacks
            continue
        load = tensor_handling.get_hf_loading_function(
            sources, lambda name: tensors[name_of(case, name)], hooks.get(key), shapes[paths[0]],
            options, key,
        )  # fmt: skip
        made = np.asarray(load())
        parts = [made] if len(paths) == 1 else [made[..., n] for n in range(len(paths))]
        out |= zip(paths, parts, strict=True)
    return out


def from_maxtext(
    case: str,
    config: dict[str, Any],
    leaves: Mapping[str, np.ndarray],
    shapes: Mapping[str, tuple[int, ...]],
) -> dict[str, np.ndarray]:
    """The tensors that MaxText's converter makes of leaves that are not stacked."""
    model, config = MODELS[case], theirs_of(case, config)
    options = options_of(model, config, False)
    rows = param_mapping.PARAM_MAPPING[model](config, options, False)
    hooks = param_mapping.HOOK_FNS[model](config, options, False, saving_to_hf=True)
    out = {}
    for key, sources in rows.items():
        paths = paths_of(key)
        if paths[0] not in leaves:
            continue
        held = [leaves[path] for path in paths]
        whole = held[0] if len(held) == 1 else held
        experts = isinstance(sources, list)
        for number, source in enumerate(sources if experts else [sources]):
            name = name_of(case, source)
            weight = whole[number] if experts else whole
            made = tensor_handling.apply_hook_fns(weight, shapes[name], hooks.get(key))
            out[name] = np.asarray(made).reshape(shapes[name])
    return out


def paths_of(key: str | tuple[str, ...]) -> list[str]:
    keys = key if isinstance(key, tuple) else (key,)
    return [each.removeprefix("params-").replace("-", ".") for each in keys]


def _first(sources: Any) -> str:
    while isinstance(sources, list):
        sources = sources[0]
    return sources


@pytest.mark.filterwarnings("ignore:source vocab")
@pytest.mark.parametrize("scanned", [False, True])
@pytest.mark.parametrize("case", MODELS)
def test_equals_maxtexts_hooks(case: str, scanned: bool) -> None:
    config = config_of(case)
    tensors = {name: np.asarray(value) for name, value in ms.load_checkpoint(DATA / case).items()}
    dtype = next(iter(tensors.values())).dtype
    if case == "gemma3":  # MaxText always rounds the factor of the embedding to bfloat16
        config["dtype"] = "bfloat16"
    family = ms.Family(config, jax="maxtext", maxtext_model=MODELS[case])
    like = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, dtype), family.abstract(scanned=scanned)
    )
    if case.startswith("gemma"):  # with the rows that MaxText adds to the vocabulary
        rows, width = like["token_embedder"]["embedding"].shape
        like["token_embedder"]["embedding"] = jax.ShapeDtypeStruct((rows + 6, width), dtype)
    tree = ms.load_checkpoint(DATA / case, like=like, convention=family)
    ours = {leaf.name: np.asarray(leaf.value) for leaf in names.named_leaves(tree)}
    shapes = {name: leaf.shape for name, leaf in ours.items()}
    theirs = into_maxtext(case, config, tensors, shapes, scanned)
    assert theirs.keys() == ours.keys()
    for name, leaf in ours.items():
        assert leaf.tobytes() == theirs[name].astype(dtype).tobytes(), name


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("case", MODELS)
def test_files_equal_those_of_maxtexts_hooks(case: str, dtype: str, tmp_path: Path) -> None:
    config = config_of(case) | {"dtype": "bfloat16" if "gemma3" in case else dtype}
    family = ms.Family(config, jax="maxtext", maxtext_model=MODELS[case])
    rng = np.random.default_rng(5)
    tree = jax.tree.map(
        lambda leaf: rng.normal(size=leaf.shape).astype(jax.numpy.dtype(dtype)), family.abstract()
    )
    path = tmp_path / "model.safetensors"
    ms.save_checkpoint(tree, path, format="safetensors", convention=family)
    ours = {name: np.asarray(value) for name, value in ms.load_checkpoint(path).items()}
    leaves = {leaf.name: leaf.value for leaf in names.named_leaves(tree)}
    shapes = {name: value.shape for name, value in ours.items()}
    theirs = from_maxtext(case, config, leaves, shapes)
    assert theirs.keys() == ours.keys()
    for name, value in ours.items():
        if case == "mixtral" and "o_proj" in name:
            continue  # the hook reshapes it as if the heads' sizes made up the hidden size
        assert value.tobytes() == theirs[name].astype(value.dtype).tobytes(), name
