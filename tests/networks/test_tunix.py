"""tunix's language models whole: ten tokens by ONNX and AIR files, caches fed back, are JAX's."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import msckpt_jax as ms
from msckpt_jax.mindir import runner
from tests.networks import generation

pytest.importorskip("tunix")

from tunix.models.gemma import model as gemma
from tunix.models.gemma3 import model as gemma3
from tunix.models.llama3 import model as llama3
from tunix.models.qwen2 import model as qwen2
from tunix.models.qwen3 import model as qwen3

_SIZES: dict[str, Any] = {
    "num_layers": 2, "embed_dim": 32, "hidden_dim": 48, "num_heads": 4, "head_dim": 8,
    "num_kv_heads": 2,
}  # fmt: skip
_LLAMA = {"vocab_size": 96, "rope_theta": 10000, "norm_eps": 1e-6, **_SIZES}
_GEMMA = {"num_embed": 96, "sliding_window_size": 3, **_SIZES}
_LOCAL, _GLOBAL = gemma.AttentionType.LOCAL_SLIDING, gemma.AttentionType.GLOBAL
MODELS: dict[str, Callable[[nnx.Rngs], nnx.Module]] = {
    "llama3": lambda rngs: llama3.Llama3(llama3.ModelConfig(**_LLAMA), rngs=rngs),
    "qwen2": lambda rngs: qwen2.Qwen2(qwen2.ModelConfig(**_LLAMA), rngs=rngs),
    "qwen3": lambda rngs: qwen3.Qwen3(qwen3.ModelConfig(**_LLAMA), rngs=rngs),
    "qwen3, experts": lambda rngs: qwen3.Qwen3(
        qwen3.ModelConfig(num_experts=4, num_experts_per_tok=2, **_LLAMA), rngs=rngs
    ),
    "gemma2": lambda rngs: gemma.Gemma(
        gemma.ModelConfig(
            final_logit_softcap=3.0, attn_logits_soft_cap=3.0, use_post_attn_norm=True,
            use_post_ffw_norm=True, attention_types=(_LOCAL, _GLOBAL), **_GEMMA,
        ),
        rngs=rngs,
    ),
    "gemma3": lambda rngs: gemma3.Gemma3(
        gemma3.ModelConfig(
            local_base_frequency=10000, global_base_frequency=1000000, local_scale_factor=1.0,
            global_scale_factor=1.0, param_dtype=jnp.float32, **_GEMMA,
        ),
        rngs=rngs,
    ),
}  # fmt: skip


def filled(model: nnx.Module) -> nnx.Module:
    """The model with random weights: tunix begins with zeros."""
    rng = np.random.default_rng(0)

    def weight(x: Any) -> Any:
        vector = x.ndim == 1
        return jnp.asarray(
            rng.standard_normal(x.shape) * (0.1 if vector else 0.3) + vector, x.dtype
        )

    nnx.update(model, jax.tree.map(weight, nnx.state(model, nnx.Param)))
    return model


def cache(batch: Any, make: Callable[..., Any]) -> dict[str, Any]:
    """tunix's own cache."""
    shape = (batch, generation.LENGTH, _SIZES["num_kv_heads"], _SIZES["head_dim"])
    layer = {"k": (shape, "float32"), "v": (shape, "float32"), "end_index": ((batch,), "int32")}
    return {
        f"layer_{index}": {name: make(*spec) for name, spec in layer.items()}
        for index in range(_SIZES["num_layers"])
    }


def decode(model: Any, ids: Any, mask: Any, positions: Any, position: Any, past: Any) -> Any:
    places = position + jnp.arange(ids.shape[1])[:, None]
    seen = (places >= jnp.arange(generation.LENGTH)) & (mask[:, None] > 0)
    logits, present = model(ids, positions, past, seen)
    return {"logits": logits, "present": present}


def prefill(model: Any, ids: Any, mask: Any, positions: Any) -> Any:
    return decode(model, ids, mask, positions, jnp.int32(0), cache(ids.shape[0], jnp.zeros))


def _inputs() -> list[tuple[Any, ...]]:
    spec = ms.TensorSpec
    prompt, token, mask = (spec(("b", size), "int32") for size in (5, 1, generation.LENGTH))
    past = cache("b", spec)
    return [(prompt, mask, prompt), (token, mask, token, spec((), "int32"), past)]


def expected(model: nnx.Module) -> np.ndarray:
    structure, weights = nnx.split(model)

    def run(function: Any, inputs: Any) -> generation.Run:
        step = jax.jit(lambda w, *x: function(nnx.merge(structure, w), *x))
        tree = jax.tree.structure(inputs)
        return lambda *x: jax.tree.leaves(step(weights, *jax.tree.unflatten(tree, x)))

    return generation.placed(*map(run, (prefill, decode), _inputs()))


def files(model: nnx.Module, folder: Path, file_format: str) -> list[Path]:
    return [
        ms.export((function, model), *inputs, file_name=folder / function.__name__,
                  file_format=file_format, durable=False).file
        for function, inputs in zip((prefill, decode), _inputs(), strict=True)
    ]  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_onnxruntime_generates_the_same_tokens(name: str, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    from msckpt_jax.onnx.runner import session

    model = filled(MODELS[name](nnx.Rngs(0)))
    made = files(model, tmp_path, "ONNX")
    assert np.array_equal(generation.placed(*map(session, made)), expected(model))


@pytest.mark.parametrize("name", MODELS)
def test_air_generates_the_same_tokens(name: str, tmp_path: Path) -> None:
    from tests.networks.test_decoder import in_jax

    model = filled(MODELS[name](nnx.Rngs(0)))
    made = files(model, tmp_path, "AIR")
    assert np.array_equal(generation.placed(*map(in_jax, made)), expected(model))


@pytest.mark.skipif(not runner.available(), reason="needs MindSpore")
@pytest.mark.parametrize("name", MODELS)
def test_mindspore_generates_the_same_tokens(name: str, tmp_path: Path) -> None:
    model = filled(MODELS[name](nnx.Rngs(0)))
    script = Path(__file__).with_name("mindspore_generation.py")
    made = files(model, tmp_path, "MINDIR")
    arguments = ["placed", *made, tmp_path / "tokens.npy"]
    subprocess.run([sys.executable, script, *arguments], check=True, timeout=280,
                   env=os.environ | {"GLOG_v": "4"})  # fmt: skip
    assert np.array_equal(np.load(tmp_path / "tokens.npy"), expected(model))
