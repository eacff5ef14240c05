"""tunix's own networks, filled through a Family, against transformers. Runs where tunix is."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import msckpt_jax as ms
from tests.families.test_logits import DATA, TOKENS, config_of

pytest.importorskip("tunix")
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


@pytest.mark.parametrize("folder", CASES)
def test_its_own_network(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    config = config_of(folder)
    name, made = CASES[folder]
    model = importlib.import_module(f"tunix.models.{name}.model")
    if name in ("llama3", "qwen3"):  # tunix forgets the config's base
        theta = config["rope_parameters"]["rope_theta"]
        patched = functools.partial(model.apply_rope, rope_theta=theta)
        monkeypatch.setattr(model, "apply_rope", patched)
    net = made(model, config)
    nnx.update(net, _float32(nnx.state(net, nnx.Param)))
    state = nnx.state(net, nnx.Param)
    how = ms.Family(DATA / folder, jax="tunix")
    nnx.update(net, ms.load_checkpoint(DATA / folder, like=state, convention=how))
    count = TOKENS.shape[1]
    positions = jnp.broadcast_to(jnp.arange(count), TOKENS.shape)
    mask = jnp.broadcast_to(jnp.tri(count, dtype=bool), (*TOKENS.shape, count))
    logits = net(jnp.asarray(TOKENS), positions, None, mask)[0]
    expected = np.load(DATA / folder / "logits.npy")
    difference = np.abs(np.asarray(logits, np.float64) - expected).max() / np.abs(expected).max()
    print(f"{folder}: {difference:.1e}")
    assert difference < 1e-4


def _float32(state: Any) -> Any:
    return nnx.map_state(lambda path, leaf: leaf.astype(jnp.float32), state)
