from typing import Any

from tests.zoo.builders import bare

bare("mindformers", __version__="1.8.0")

import mindformers.core  # noqa: F401  before the others, which import each other
from mindformers.models import glm2, llama

#: What a CPU computes: 32 bits, and no operators of Ascend.
_PLAIN = {
    "seq_length": 8, "hidden_size": 32, "num_layers": 2, "compute_dtype": "float32",
    "layernorm_compute_type": "float32", "softmax_compute_type": "float32",
    "rotary_dtype": "float32", "param_init_type": "float32", "fused_rms_norm": False,
    "use_rope_slice": True,
}  # fmt: skip


def llm(**options: Any) -> Any:
    small = {"num_heads": 4, "vocab_size": 99, "intermediate_size": 48}
    return llama.LlamaForCausalLM(llama.LlamaConfig(**_PLAIN, **small, **options))


def glm(**options: Any) -> Any:
    small = {
        "num_attention_heads": 4, "padded_vocab_size": 99, "ffn_hidden_size": 48,
        "kv_channels": 8,
    }  # fmt: skip
    config = glm2.ChatGLM2Config(**_PLAIN, **small, **options)
    return glm2.ChatGLM2ForConditionalGeneration(config)
