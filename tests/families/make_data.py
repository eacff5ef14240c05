"""Make the models in ``data/``: tiny ones of each family, by transformers, with their logits.

Those in ``data/released/`` are as makers release them: quantised, with parts for more than text.

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
from safetensors.torch import load_file, save_file
from transformers.integrations.finegrained_fp8 import (  # pyright: ignore[reportMissingImports]
    Fp8Dequantize,
)
from transformers.integrations.mxfp4 import (  # pyright: ignore[reportMissingImports]
    convert_moe_packed_tensors,
)

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
    "gemma2_heads": ("Gemma2", _GEMMA | {"num_key_value_heads": 4}, "float32"),
    "gemma3_heads": (
        "Gemma3", _GEMMA3 | {"num_key_value_heads": 4, "num_hidden_layers": 7}, "float32",
    ),
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


def save_released(folder: str, model: Any, tensors: dict[str, Any], config: dict[str, Any]) -> None:
    """Save ``tensors`` and what of the model's config is changed, with the model's logits."""
    to = DATA / "released" / folder
    to.mkdir(parents=True, exist_ok=True)
    content = json.loads(model.config.to_json_string()) | config
    (to / "config.json").write_text(json.dumps(content, indent=2) + "\n")
    tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
    save_file(tensors, to / "model.safetensors", {"format": "pt"})
    with torch.no_grad():
        logits = model.float()(torch.from_numpy(TOKENS)).logits
    np.save(to / "logits.npy", logits.numpy())
    print(folder, float(logits.abs().max()), sum(f.stat().st_size for f in to.iterdir()))


def gpt_oss() -> None:
    """GPT-OSS with its experts in MXFP4; ``experts.safetensors`` has them as transformers does."""
    own = MODELS["gpt_oss"][1] | {
        "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_local_experts": 4,
    }  # fmt: skip
    model = transformers.AutoModelForCausalLM.from_config(config_of("GptOss", own), **_EAGER).eval()
    randomise(model)
    for tensor in model.parameters():  # not the buffers of angles
        tensor.data = tensor.data.bfloat16()
    generator = torch.Generator().manual_seed(3)
    tensors, plain = dict(model.state_dict()), {}
    for name in [n for n in tensors if n.endswith(("experts.gate_up_proj", "experts.down_proj"))]:
        experts, columns, rows = tensors.pop(name).shape
        shape = (experts, rows, columns // 32)
        blocks = torch.randint(0, 256, (*shape, 16), generator=generator, dtype=torch.uint8)
        scales = torch.randint(121, 124, shape, generator=generator, dtype=torch.uint8)
        scales[0, 0, 0] = 1  # values that no normal number holds
        tensors |= {f"{name}_blocks": blocks, f"{name}_scales": scales}
        plain[name] = convert_moe_packed_tensors(blocks, scales)
    model.load_state_dict(plain, strict=False)
    how = {"quant_method": "mxfp4", "modules_to_not_convert": ["model.layers.*.self_attn"]}
    save_released("gpt_oss", model, tensors, {"quantization_config": how, "dtype": None})
    save_file(plain, DATA / "released" / "gpt_oss" / "experts.safetensors")


_BLOCK = (4, 6)


def quantised(weight: Any) -> tuple[Any, Any, Any]:
    """A weight in float8 with a scale a block, and what it is then."""
    height, width = _BLOCK
    rows, columns = -(-weight.shape[0] // height), -(-weight.shape[1] // width)
    padding = (0, columns * width - weight.shape[1], 0, rows * height - weight.shape[0])
    padded = torch.nn.functional.pad(weight.float(), padding)
    scale = padded.reshape(rows, height, columns, width).abs().amax((1, 3)) / 448
    wide = scale.repeat_interleave(height, 0).repeat_interleave(width, 1)
    wide = wide[: weight.shape[0], : weight.shape[1]]
    values = (weight.float() / wide).to(torch.float8_e4m3fn)
    plain = (values.float() * wide).bfloat16()  # as DeepSeek's weight_dequant
    if padded.shape == weight.shape:
        theirs = Fp8Dequantize(None)._dequantize_one(values, scale, torch.bfloat16)
        assert torch.equal(theirs, plain)
    return values, scale, plain


def deepseek() -> None:
    """DeepSeek-V3 in float8, with the module that predicts a token more, and a table of angles."""
    kind, own, _ = MODELS["deepseek_v3"]
    config = config_of(kind, own | {"num_hidden_layers": 4})
    longer = transformers.AutoModelForCausalLM.from_config(config, **_EAGER).eval()
    config = config_of(kind, own)
    model = transformers.AutoModelForCausalLM.from_config(config, **_EAGER).eval()
    randomise(longer)
    longer.bfloat16().save_pretrained(DATA / "released" / "deepseek_v3")
    tensors = load_file(DATA / "released" / "deepseek_v3" / "model.safetensors")
    last = "model.layers.3."
    tensors |= {last + "eh_proj.weight": torch.ones(12, 24).bfloat16(),
                last + "enorm.weight": torch.ones(12).bfloat16(),
                "model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(2)}  # fmt: skip
    out, plain = {}, {}
    for name, tensor in tensors.items():
        if name.endswith("proj.weight") or "kv_a_proj_with_mqa" in name:
            out[name], out[f"{name}_scale_inv"], plain[name] = quantised(tensor)
        else:
            bias = "e_score_correction_bias" in name
            out[name] = plain[name] = tensor.float() if bias else tensor
    save_file(plain, DATA / "released" / "deepseek_v3" / "model.safetensors", {"format": "pt"})
    config.save_pretrained(DATA / "released" / "deepseek_v3")
    model = transformers.AutoModelForCausalLM.from_pretrained(
        DATA / "released" / "deepseek_v3", dtype=torch.float32, **_EAGER
    )
    (DATA / "released" / "deepseek_v3" / "generation_config.json").unlink(missing_ok=True)
    how = {"activation_scheme": "dynamic", "fmt": "e4m3", "quant_method": "fp8",
           "weight_block_size": _BLOCK}  # fmt: skip
    save_released("deepseek_v3", model, out, {"quantization_config": how, "dtype": "bfloat16"})
    kept = {name: tensor for name, tensor in plain.items() if f"{name}_scale_inv" in out}
    kept = {name: tensor for name, tensor in kept.items() if not name.startswith(last)}
    save_file(kept, DATA / "released" / "deepseek_v3" / "plain.safetensors")


def gemma3() -> None:
    """Gemma 3 with a tower that sees; the logits are of text alone."""
    text = json.loads(config_of(*MODELS["gemma3"][:2]).to_json_string()) | {"num_hidden_layers": 7}
    text["layer_types"] = text["layer_types"][:7]
    vision = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "image_size": 28,
              "num_attention_heads": 2, "patch_size": 14}  # fmt: skip
    config = transformers.Gemma3Config(
        text_config=text, vision_config=vision, mm_tokens_per_image=4, image_token_index=21,
        boi_token_index=20, eoi_token_index=19,
    )  # fmt: skip
    model = transformers.Gemma3ForConditionalGeneration._from_config(config, **_EAGER).eval()
    randomise(model)
    to = DATA / "released" / "gemma3"
    model.save_pretrained(to)
    (to / "generation_config.json").unlink(missing_ok=True)
    save_released("gemma3", model, load_file(to / "model.safetensors"), {})


RELEASED = {"gpt_oss": gpt_oss, "deepseek_v3": deepseek, "gemma3": gemma3}


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
    for each in sys.argv[1:] or [*MODELS, *(f"released/{name}" for name in RELEASED)]:
        if each.startswith("released/"):
            RELEASED[each.removeprefix("released/")]()
        else:
            make(each)
    np.save(DATA / "tokens.npy", TOKENS)
    (DATA / "versions.json").write_text(json.dumps(versions) + "\n")
