"""Make the models in ``data/``: tiny ones of each family, by transformers, with their logits.

Run with torch 2.13.0 and transformers beside it (6 GB, so not by the tests):
``python tests/families/make_data.py``; their adapters with peft, too: ``make_data.py lora``. The
sizes hide nothing: H hd != D, several query heads to a key head, unequal D, F and V, more than ten
experts, remainders of blocks of layers.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch  # pyright: ignore[reportMissingImports]
import transformers  # pyright: ignore[reportMissingImports]

DATA = Path(__file__).parent / "data"
TOKENS = np.random.default_rng(7).integers(0, 22, (2, 12))

_COMMON = {
    "vocab_size": 22,
    "hidden_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 6,
    "intermediate_size": 10,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
_EAGER = {"attn_implementation": "eager", "experts_implementation": "eager"}  # fmt: skip
_MOE = {"moe_intermediate_size": 8, "num_experts_per_tok": 3}
_ROPE = {"rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0,
         "high_freq_factor": 4.0, "original_max_position_embeddings": 8}  # fmt: skip
_MLA = _MOE | {
    "n_routed_experts": 12, "n_shared_experts": 2, "kv_lora_rank": 14, "num_hidden_layers": 3,
    "qk_nope_head_dim": 6, "qk_rope_head_dim": 4, "v_head_dim": 5, "first_k_dense_replace": 1,
    "head_dim": 4, "num_key_value_heads": 4, "routed_scaling_factor": 1.5, "n_group": 3,
    "topk_group": 2,
}  # fmt: skip
_GEMMA = {"query_pre_attn_scalar": 7, "sliding_window": 5}
_GEMMA3 = {"query_pre_attn_scalar": 3, "sliding_window": 5, "head_dim": 4}
#: By folders: the class of the config, what differs from the common sizes, the dtype.
MODELS: dict[str, tuple[str, dict[str, Any], str]] = {
    "llama": ("Llama", {"num_hidden_layers": 3}, "float32"),
    "llama3": ("Llama", {"rope_parameters": _ROPE, "head_dim": 8}, "float32"),
    "llama_tied": ("Llama", {"tie_word_embeddings": True, "head_dim": 4}, "bfloat16"),
    "mistral": ("Mistral", {"sliding_window": None}, "float32"),
    "mixtral": ("Mixtral", {"num_local_experts": 12, "sliding_window": None}, "float32"),
    "qwen2": ("Qwen2", {"tie_word_embeddings": False}, "float32"),
    "qwen2_tied": ("Qwen2", {"tie_word_embeddings": True}, "float32"),
    "qwen3": ("Qwen3", {"tie_word_embeddings": False}, "float32"),
    "qwen3_moe": (
        "Qwen3Moe", _MOE | {"num_experts": 12, "norm_topk_prob": True}, "float32",
    ),
    "gemma2": ("Gemma2", _GEMMA | {"num_hidden_layers": 4, "attn_logit_softcapping": 2.0,
               "final_logit_softcapping": 3.0}, "float32"),
    "gemma3": ("Gemma3", _GEMMA3 | {"num_hidden_layers": 14}, "float32"),
    "gemma3_bfloat16": ("Gemma3", _GEMMA3 | {"num_hidden_layers": 7}, "bfloat16"),
    "deepseek_v2": ("DeepseekV2", _MLA | {"q_lora_rank": None}, "float32"),
    "deepseek_v3": ("DeepseekV3", _MLA | {"q_lora_rank": 8, "norm_topk_prob": True}, "float32"),
    "gpt_oss": ("GptOss", {"num_local_experts": 12, "num_experts_per_tok": 3, "sliding_window": 5,
                "num_hidden_layers": 4, "rope_parameters": {"rope_type": "default",
                "rope_theta": 10000.0}}, "float32"),
    "gpt2": ("GPT2", {"n_embd": 12, "n_layer": 3, "n_head": 3, "n_positions": 14}, "float32"),
}  # fmt: skip
#: The models whose file is cut into several with an index.
SHARDED = {"llama": 6000}


#: By folders: the adapter of ``<folder>/lora``, of which all values are random.
ADAPTERS: dict[str, dict[str, Any]] = {
    "llama": {"r": 3, "lora_alpha": 6, "target_modules": ["q_proj", "k_proj", "v_proj", "o_proj",
              "gate_proj", "up_proj", "down_proj", "lm_head"]},
    "qwen3": {"r": 4, "lora_alpha": 5, "target_modules": ["q_proj", "v_proj", "down_proj"],
              "layers_to_transform": [1], "use_rslora": True},
    "gemma2": {"r": 2, "lora_alpha": 4, "target_modules": ["q_proj", "k_proj", "v_proj", "o_proj",
               "gate_proj", "up_proj", "down_proj"], "rank_pattern": {"up_proj": 3}},
}  # fmt: skip


def config_of(name: str, own: dict[str, Any]) -> Any:
    kind = getattr(transformers, name + ("TextConfig" if name == "Gemma3" else "Config"))
    common = _COMMON if name != "GPT2" else {
        key: _COMMON[key] for key in ("vocab_size", "bos_token_id")
    }  # fmt: skip
    return kind(**(common | own))


def randomise(model: Any) -> None:
    """Random values everywhere: what is one or zero after ``__init__`` would hide mistakes."""
    generator = torch.Generator().manual_seed(5)
    tensors = dict(model.named_parameters())
    tensors |= {k: v for k, v in model.named_buffers() if k.endswith("e_score_correction_bias")}
    with torch.no_grad():
        for name, tensor in tensors.items():
            noise = torch.randn(tensor.shape, generator=generator)
            like_one = "norm" in name or ".ln_" in name
            base = tensor if like_one else 0.0
            tensor.copy_(base + noise * (0.2 if tensor.ndim == 1 else 0.35))


def make(folder: str) -> None:
    kind, own, dtype = MODELS[folder]
    config = config_of(kind, own)
    model = transformers.AutoModelForCausalLM.from_config(config, **_EAGER).eval()
    randomise(model)
    model = model.to(getattr(torch, dtype))
    to = DATA / folder
    model.save_pretrained(to, max_shard_size=SHARDED.get(folder, "1GB"))
    (to / "generation_config.json").unlink(missing_ok=True)
    kind = transformers.AutoModelForCausalLM
    again = kind.from_pretrained(to, dtype=torch.float32, **_EAGER)
    with torch.no_grad():
        logits = again(torch.from_numpy(TOKENS)).logits
    np.save(to / "logits.npy", logits.numpy())
    print(folder, float(logits.abs().max()), sum(f.stat().st_size for f in to.iterdir()))


def make_lora(folder: str) -> None:
    import peft  # pyright: ignore[reportMissingImports]

    to = DATA / folder / "lora"
    model = transformers.AutoModelForCausalLM.from_pretrained(
        DATA / folder, dtype=torch.float32, attn_implementation="eager"
    )
    config = peft.LoraConfig(task_type="CAUSAL_LM", **ADAPTERS[folder])
    model = peft.get_peft_model(model, config).eval()
    generator = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            if ".lora_" in name:
                tensor.copy_(torch.randn(tensor.shape, generator=generator) * 0.3)
        logits = model(torch.from_numpy(TOKENS)).logits
    model.save_pretrained(to)
    (to / "README.md").unlink()
    written = json.loads((to / "adapter_config.json").read_text())
    written |= {"base_model_name_or_path": folder}
    written["target_modules"].sort()  # a set, whose order differs from run to run
    (to / "adapter_config.json").write_text(json.dumps(written, indent=2) + "\n")
    np.save(to / "logits.npy", logits.numpy())
    print(folder, peft.__version__, sum(f.stat().st_size for f in to.iterdir()))


if __name__ == "__main__" and sys.argv[1:] == ["lora"]:
    for each in ADAPTERS:
        make_lora(each)
elif __name__ == "__main__":
    versions = {"torch": torch.__version__, "transformers": transformers.__version__}
    print(versions)
    for each in sys.argv[1:] or MODELS:
        make(each)
    np.save(DATA / "tokens.npy", TOKENS)
    (DATA / "versions.json").write_text(json.dumps(versions) + "\n")
