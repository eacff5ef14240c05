import importlib
import os
from typing import Any

os.environ["USE_FLAX"] = "0"  # JAX and MindSpore stay apart

import mindspore
import numpy as np
from mindspore import _c_expression, nn

from tests.zoo.builders import bare
from tests.zoo.builders.plain import Plain

if not hasattr(_c_expression, "Tensor"):  # of MindSpore before 2.5
    _c_expression.Tensor = _c_expression.TensorPy
# MindSpore's own warns, which a graph cannot; all networks are of 32 bits.
mindspore.dtype_to_nptype = lambda dtype: np.float32
bare("mindnlp")
bare("mindnlp.transformers")


def model(family: str, name: str, **options: Any) -> nn.Cell:
    """A model of a family, small where the options do not say otherwise."""
    small = {
        "vocab_size": 99, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
        "intermediate_size": 37, "max_position_embeddings": 64, "pad_token_id": None,
    }  # fmt: skip
    files = f"mindnlp.transformers.models.{family}"
    models = importlib.import_module(f"{files}.modeling_{family}")
    made = models.__dict__[name].config_class(**{**small, **options})
    return Plain(models.__dict__[name](made))
