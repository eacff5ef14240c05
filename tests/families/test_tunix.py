"""tunix's own networks, filled through a Family, against transformers. Runs where tunix is."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import msckpt_jax as ms
from tests.families.test_logits import DATA, TOKENS, config_of

pytest.importorskip("tunix")
import jax
import jax.numpy as jnp
from flax import nnx


def _qwen(model: Any, c: dict[str, Any], tied: str) -> Any:
    experts = {"num_experts": c.get("num_local_experts"), "num_experts_per_tok": 3}
    return model.ModelConfig(
        num_layers=c["num_hidden_layers"], vocab_size=c["vocab_size"], embed_dim=c["hidden_size"],
        hidden_dim=c.get("moe_intermediate_size", c["intermediate_size"]),
        num_heads=c["num_attention_heads"], head_dim=c["head_dim"],
        num_kv_heads=c["num_key_value_heads"],
        rope_theta=c["rope_parameters"]["rope_theta"], norm_eps=c["rms_norm_eps"],
        **{tied: c["tie_word_embeddings"]}, **(experts if "moe" in c["model_type"] else {}),
    )  # fmt: skip


def _gemma(c: dict[str, Any]) -> dict[str, Any]:
    return {
        "num_layers": c["num_hidden_layers"], "num_embed": c["vocab_size"],
        "embed_dim": c["hidden_size"], "hidden_dim": c["intermediate_size"],
        "num_heads": c["num_attention_heads"], "head_dim": c["head_dim"],
        "num_kv_heads": c["num_key_value_heads"], "sliding_window_size": c["sliding_window"],
    }  # fmt: skip


def llama(model: Any, c: dict[str, Any]) -> Any:
    return model.Llama3(_qwen(model, c, "weight_tying"), rngs=nnx.Rngs(0))


def qwen2(model: Any, c: dict[str, Any]) -> Any:
    return model.Qwen2(_qwen(model, c, "use_tied_embedding"), rngs=nnx.Rngs(0))


def qwen3(model: Any, c: dict[str, Any]) -> Any:
    return model.Qwen3(_qwen(model, c, "use_tied_embedding"), rngs=nnx.Rngs(0))


def gemma2(model: Any, c: dict[str, Any]) -> Any:
    kinds = model.AttentionType
    config = model.ModelConfig(
        **_gemma(c), final_logit_softcap=c["final_logit_softcapping"],
        attn_logits_soft_cap=c["attn_logit_softcapping"], use_post_attn_norm=True,
        use_post_ffw_norm=True,
        attention_types=[kinds.LOCAL_SLIDING, kinds.GLOBAL] * (c["num_hidden_layers"] // 2),
    )  # fmt: skip
    return model.Gemma(config, rngs=nnx.Rngs(0))


def gemma3(model: Any, c: dict[str, Any]) -> Any:
    rope = c["rope_parameters"]
    config = model.ModelConfig(
        **_gemma(c), param_dtype=jnp.float32,
        query_pre_attn_norm=(
            model.QueryPreAttentionNormalisation.BY_ONE_OVER_SQRT_EMBED_DIM_DIV_NUM_HEADS
        ),
        local_base_frequency=rope["sliding_attention"]["rope_theta"],
        global_base_frequency=rope["full_attention"]["rope_theta"],
    )  # fmt: skip
    return model.Gemma3(config, rngs=nnx.Rngs(0))


CASES: dict[str, tuple[str, Callable[[Any, dict[str, Any]], Any]]] = {
    "llama": ("llama3", llama), "llama_tied": ("llama3", llama), "qwen2": ("qwen2", qwen2),
    "qwen2_tied": ("qwen2", qwen2), "qwen3": ("qwen3", qwen3), "qwen3_moe": ("qwen3", qwen3),
    "gemma2": ("gemma", gemma2), "gemma2_heads": ("gemma", gemma2),
    "gemma3": ("gemma3", gemma3), "gemma3_heads": ("gemma3", gemma3),
    "gemma3_bfloat16": ("gemma3", gemma3),
}  # fmt: skip


def filled(folder: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """tunix's network in float32, with the weights of a folder."""
    config = config_of(folder)
    name, made = CASES[folder]
    model = importlib.import_module(f"tunix.models.{name}.model")
    if name in ("llama3", "qwen3"):  # tunix forgets the config's base
        theta = config["rope_parameters"]["rope_theta"]
        patched = functools.partial(model.apply_rope, rope_theta=theta)
        monkeypatch.setattr(model, "apply_rope", patched)
    net = made(model, config)
    nnx.update(net, _float32(nnx.state(net, nnx.Param)))
    return with_weights(net, DATA / folder, folder)


def with_weights(net: Any, path: Path, folder: str) -> Any:
    how = ms.Family(DATA / folder, jax="tunix")
    nnx.update(net, ms.load_checkpoint(path, like=nnx.state(net, nnx.Param), convention=how))
    return net


def inputs() -> tuple[Any, ...]:
    count = TOKENS.shape[1]
    positions = jnp.broadcast_to(jnp.arange(count), TOKENS.shape)
    mask = jnp.broadcast_to(jnp.tri(count, dtype=bool), (*TOKENS.shape, count))
    return jnp.asarray(TOKENS), positions, None, mask


def assert_logits(net: Any, folder: str) -> None:
    logits = net(*inputs())[0]
    expected = np.load(DATA / folder / "logits.npy")
    difference = np.abs(np.asarray(logits, np.float64) - expected).max() / np.abs(expected).max()
    print(f"{folder}: {difference:.1e}")
    assert difference < 1e-4


@pytest.mark.parametrize("folder", CASES)
def test_its_own_network(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert_logits(filled(folder, monkeypatch), folder)


#: By folders: the alpha, and by qwix's paths the ranks, of which the first that fits counts.
LORA = {
    "llama": (6.0, {".*": 3}),
    "qwen3": (10.0, {"layers/1/attn/[qv]_proj": 4, "layers/1/mlp/down_proj": 4}),
    "gemma2": (4.0, {".*kv_einsum": 4, ".*up_proj": 3, ".*": 2}),
}


@pytest.mark.parametrize("folder", LORA)
def test_lora(folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An adapter of PEFT in qwix's leaves, saved, loaded again, and merged: PEFT's logits."""
    qwix = pytest.importorskip("qwix")
    alpha, ranks = LORA[folder]
    net = filled(folder, monkeypatch)
    rules = [qwix.LoraRule(module_path=p, rank=r, alpha=alpha) for p, r in ranks.items()]
    lora = qwix.apply_lora_to_model(net, qwix.LoraProvider(rules), *inputs(), rngs=nnx.Rngs(1))
    type(lora)._pytree__is_pytree = type(net)._pytree__is_pytree  # else Llama has no leaves
    how = ms.Family(DATA / folder, jax="tunix", lora_alpha=alpha)
    empty = nnx.state(lora, nnx.LoRAParam)
    nnx.update(lora, ms.load_adapter(DATA / folder / "lora", empty, how))
    assert_logits(lora, f"{folder}/lora")
    ms.save_adapter(lora, tmp_path / "adapter", how)
    ms.save_checkpoint(nnx.state(lora, nnx.Param), tmp_path / "merged", format="safetensors",
                       max_shard_size="5GB", convention=how)  # fmt: skip
    nnx.update(lora, jax.tree.map(jnp.zeros_like, empty))
    nnx.update(lora, ms.load_adapter(tmp_path / "adapter", empty, how))
    assert_logits(lora, f"{folder}/lora")
    assert_logits(with_weights(net, tmp_path / "merged", folder), f"{folder}/lora")


def _float32(state: Any) -> Any:
    return nnx.map_state(lambda path, leaf: leaf.astype(jnp.float32), state)
