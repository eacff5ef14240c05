"""A tiny Llama of transformers and ours with its weights: the same tokens by an ONNX file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from flax import nnx

import msckpt_jax as ms
from tests.networks import decoder
from tests.networks.decoder import Config

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("onnxruntime")

CONFIG = Config()


def llama() -> Any:
    config = transformers.LlamaConfig(
        vocab_size=CONFIG.vocabulary, hidden_size=CONFIG.width, num_hidden_layers=CONFIG.layers,
        num_attention_heads=CONFIG.heads, num_key_value_heads=CONFIG.groups,
        intermediate_size=CONFIG.inner, rms_norm_eps=CONFIG.epsilon, rope_theta=CONFIG.theta,
        tie_word_embeddings=False, pad_token_id=0, bos_token_id=1, eos_token_id=None,
    )  # fmt: skip
    torch.manual_seed(0)
    model = transformers.LlamaForCausalLM(config).eval()
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim > 1:
                weight.copy_(torch.randn_like(weight) * weight.shape[-1] ** -0.5)
    return model


def weights_of(model: Any, types: Any) -> Any:
    tensors = {name: tensor.numpy() for name, tensor in model.state_dict().items()}

    def weight(path: Any, of: Any) -> np.ndarray:
        keys = [str(getattr(key, "key", "")) for key in path]
        name = ".".join(key for key in keys if key)
        name = name.replace(".kernel", ".weight").replace(".embedding", ".weight")
        tensor = tensors[name if name.startswith("lm_head") else f"model.{name}"]
        return tensor.T if keys.count("kernel") else tensor

    return jax.tree_util.tree_map_with_path(weight, types)


def test_transformers_generates_the_same_tokens(tmp_path: Path) -> None:
    from msckpt_jax.onnx.runner import session

    model = llama()
    prompt = np.array([[5, 17, 3, 60, 8]], np.int32)
    wanted = model.generate(torch.tensor(prompt), max_new_tokens=10, do_sample=False).numpy()
    structure, types = decoder.filled(CONFIG, 0)
    spec = ms.TensorSpec
    ids, mask = spec(("b", "s"), "int32"), spec(("b", "p + s"), "int32")
    past = decoder.empty(CONFIG, "b", "p", spec)

    def step(weights: Any, *inputs: Any) -> Any:
        return decoder.grown(nnx.merge(structure, weights), *inputs)

    done = ms.export((step, weights_of(model, types)), ids, mask, ids, past, verify=True,
                     file_name=tmp_path / "net", file_format="ONNX",
                     target="onnxruntime")  # fmt: skip
    run, ids, tokens = session(done.file), prompt, prompt
    cache = jax.tree.leaves(decoder.empty(CONFIG, 1, 0, np.zeros))
    while tokens.shape[1] < 15:
        length = tokens.shape[1]
        positions = np.arange(length, dtype=np.int32)[None, -ids.shape[1] :]
        logits, *cache = run(ids, np.ones((1, length), np.int32), positions, *cache)
        ids = logits[:, -1:].argmax(-1).astype(np.int32)
        tokens = np.concatenate([tokens, ids], 1)
    assert np.array_equal(tokens, wanted)
