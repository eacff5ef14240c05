"""mindone: diffusers and transformers for MindSpore, each model with a small configuration."""

from __future__ import annotations

from typing import Any

from tests.zoo.repositories import Network, Repository


def _diffusers(name: str, inputs: str, gradients: bool = False, **options: Any) -> Network:
    arguments = "".join(f", {key}={value!r}" for key, value in options.items())
    return Network(f"diffuser({name!r}{arguments})", inputs, gradients)


def _model(
    name: str, config: str, inputs: str = "i(99, 1, 8)", gradients: bool = False, **options: Any
) -> Network:
    arguments = "".join(f", {key}={value!r}" for key, value in options.items())
    return Network(f"model({name!r}, {config!r}{arguments})", inputs, gradients)


_BLOCKS: dict[str, Any] = {"block_out_channels": (32, 64), "norm_num_groups": 8}
_KL: dict[str, Any] = {
    **_BLOCKS,
    "down_block_types": ("DownEncoderBlock2D",) * 2,
    "up_block_types": ("UpDecoderBlock2D",) * 2,
}
_CROSS: dict[str, Any] = {
    **_BLOCKS,
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "layers_per_block": 1,
    "cross_attention_dim": 32,
    "attention_head_dim": 8,
}
#: With a mask: without one, padding is looked for, which MindSpore cannot export.
_MASKED = "(i(99, 1, 8), ops.ones((1, 8), ms.int32))"
_VISION: dict[str, Any] = {"image_size": 32, "patch_size": 8}

REPOSITORY = Repository(
    (
        "mindone==0.5.0", "transformers==4.57.1", "tokenizers>=0.22,<0.23",
        "huggingface-hub>=0.34,<1", "trampoline", "omegaconf", "antlr4-python3-runtime==4.9.3",
        "numpy==1.26.4",
    ),
    {
        "UNet2DModel": _diffusers(
            "UNet2DModel", "(f(1, 3, 16, 16), i(1000, 1))", sample_size=16, layers_per_block=1,
            down_block_types=("DownBlock2D", "AttnDownBlock2D"), attention_head_dim=8,
            up_block_types=("AttnUpBlock2D", "UpBlock2D"), **_BLOCKS,
        ),
        "UNet2DConditionModel": _diffusers(
            "UNet2DConditionModel", "(f(1, 4, 16, 16), i(1000, 1), f(1, 8, 32))", True,
            sample_size=16, up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"), **_CROSS,
        ),
        "ControlNetModel": _diffusers(
            "ControlNetModel", "(f(1, 4, 16, 16), i(1000, 1), f(1, 8, 32), f(1, 3, 32, 32))",
            conditioning_embedding_out_channels=(16, 32), **_CROSS,
        ),
        "AutoencoderKL": _diffusers("AutoencoderKL", "f(1, 3, 32, 32)", True, **_KL),
        "AsymmetricAutoencoderKL": _diffusers(
            "AsymmetricAutoencoderKL", "f(1, 3, 32, 32)", norm_num_groups=8,
            down_block_types=("DownEncoderBlock2D",) * 2, down_block_out_channels=(32, 64),
            up_block_types=("UpDecoderBlock2D",) * 2, up_block_out_channels=(32, 64),
        ),
        "VQModel": _diffusers("VQModel", "f(1, 3, 32, 32)", num_vq_embeddings=32, **_KL),
        "AutoencoderTiny": _diffusers(
            "AutoencoderTiny", "f(1, 3, 32, 32)", encoder_block_out_channels=(32, 32),
            decoder_block_out_channels=(32, 32), num_encoder_blocks=(1, 2),
            num_decoder_blocks=(2, 1),
        ),
        "DiTTransformer2DModel": _diffusers(
            "DiTTransformer2DModel", "(f(1, 4, 8, 8), i(1000, 1), i(10, 1))",
            num_attention_heads=2, attention_head_dim=8, in_channels=4, out_channels=8,
            num_layers=2, sample_size=8, num_embeds_ada_norm=10,
        ),
        "SD3Transformer2DModel": _diffusers(
            "SD3Transformer2DModel", "(f(1, 4, 8, 8), f(1, 5, 32), f(1, 64), i(1000, 1))",
            sample_size=8, patch_size=1, in_channels=4, num_layers=2, attention_head_dim=8,
            num_attention_heads=4, caption_projection_dim=32, joint_attention_dim=32,
            pooled_projection_dim=64, out_channels=4,
        ),
        "FluxTransformer2DModel": _diffusers(
            "FluxTransformer2DModel",
            "(f(1, 16, 4), f(1, 5, 32), f(1, 32), f(1), f(16, 3), f(5, 3))",
            in_channels=4, num_layers=1, num_single_layers=1, attention_head_dim=16,
            num_attention_heads=2, joint_attention_dim=32, pooled_projection_dim=32,
            axes_dims_rope=(4, 4, 8),
        ),
        "PriorTransformer": _diffusers(
            "PriorTransformer", "(f(1, 8), i(1000, 1), f(1, 8), f(1, 7, 8))",
            num_attention_heads=2, attention_head_dim=4, num_layers=2, embedding_dim=8,
            num_embeddings=7, additional_embeddings=4,
        ),
        "CLIPTextModel": _model("CLIPTextModel", "CLIPTextConfig", eos_token_id=98),
        "CLIPVisionModel": _model(
            "CLIPVisionModel", "CLIPVisionConfig", "f(1, 3, 32, 32)", True, **_VISION
        ),
        "BertModel": _model("BertModel", "BertConfig"),
        "RobertaModel": _model("RobertaModel", "RobertaConfig", _MASKED),
        "DistilBertModel": _model(
            "DistilBertModel", "DistilBertConfig", dim=32, n_layers=2, n_heads=4, hidden_dim=37,
            pad_token_id=None,
        ),
        "AlbertModel": _model("AlbertModel", "AlbertConfig", embedding_size=16),
        "ElectraModel": _model("ElectraModel", "ElectraConfig", _MASKED, embedding_size=16),
        "GPT2Model": _model("GPT2Model", "GPT2Config", use_cache=False),
        "OPTModel": _model("OPTModel", "OPTConfig", use_cache=False, ffn_dim=37,
                           word_embed_proj_dim=32),
        "LlamaForCausalLM": _model("LlamaForCausalLM", "LlamaConfig", use_cache=False),
        "MistralForCausalLM": _model(
            "MistralForCausalLM", "MistralConfig", use_cache=False, num_key_value_heads=2
        ),
        "Qwen2ForCausalLM": _model(
            "Qwen2ForCausalLM", "Qwen2Config", use_cache=False, num_key_value_heads=2
        ),
        "Qwen3ForCausalLM": _model(
            "Qwen3ForCausalLM", "Qwen3Config", use_cache=False, num_key_value_heads=2, head_dim=8
        ),
        "GemmaForCausalLM": _model(
            "GemmaForCausalLM", "GemmaConfig", use_cache=False, num_key_value_heads=2, head_dim=8
        ),
        "Gemma2ForCausalLM": _model(
            "Gemma2ForCausalLM", "Gemma2Config", use_cache=False, num_key_value_heads=2, head_dim=8
        ),
        "PhiForCausalLM": _model("PhiForCausalLM", "PhiConfig", use_cache=False),
        "T5EncoderModel": _model(
            "T5EncoderModel", "T5Config", d_model=32, d_kv=8, d_ff=37, num_layers=2, num_heads=4
        ),
        "ViTModel": _model("ViTModel", "ViTConfig", "f(1, 3, 32, 32)", True, **_VISION),
        "DeiTModel": _model("DeiTModel", "DeiTConfig", "f(1, 3, 32, 32)", **_VISION),
        "Dinov2Model": _model("Dinov2Model", "Dinov2Config", "f(1, 3, 32, 32)", **_VISION),
        "SiglipVisionModel": _model(
            "SiglipVisionModel", "SiglipVisionConfig", "f(1, 3, 32, 32)", **_VISION
        ),
        "ConvNextModel": _model(
            "ConvNextModel", "ConvNextConfig", "f(1, 3, 64, 64)", hidden_sizes=[8, 16, 32, 64],
            depths=[1, 1, 2, 1],
        ),
        "SegformerModel": _model(
            "SegformerModel", "SegformerConfig", "f(1, 3, 64, 64)",
            num_attention_heads=[1, 2, 4, 8],
        ),
    },
)  # fmt: skip
