"""It computes with ``mint``, of which a CPU lacks some operators: these have stand-ins."""

import os
from typing import Any

os.environ["USE_FLAX"] = "0"  # JAX and MindSpore stay apart

from tests.zoo.builders import bare, stand_ins
from tests.zoo.builders.plain import Plain
from tests.zoo.builders.stand_ins import computing  # noqa: F401

bare("mindone")
stand_ins.install()

import transformers as hf
from mindone import diffusers, transformers
from mindspore import nn


def diffuser(name: str, **options: Any) -> nn.Cell:
    return Plain(getattr(diffusers, name)(**options))


def model(name: str, config: str, **options: Any) -> nn.Cell:
    """A model of transformers, small where the options do not say otherwise."""
    small = {
        "vocab_size": 99, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
        "intermediate_size": 37, "max_position_embeddings": 64,
    }  # fmt: skip
    made = getattr(hf, config)(**{**small, **options})
    made._attn_implementation = "eager"
    return Plain(getattr(transformers, name)(made))
