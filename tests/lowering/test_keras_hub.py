"""Models of keras-hub: pip install keras-hub, which is no dependency of the tests."""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "jax")

import numpy as np
import onnx
import pytest

import msckpt_jax as ms

pytest.importorskip("keras_hub")
import keras_hub  # type: ignore[import-not-found]


def test_bert_has_its_weights_under_their_paths(tmp_path: Path) -> None:
    net = keras_hub.models.BertBackbone(
        vocabulary_size=97, num_layers=2, num_heads=2, hidden_dim=16, intermediate_dim=32,
        max_sequence_length=12,
    )  # fmt: skip
    ids = np.arange(16, dtype=np.int32).reshape(2, 8)
    inputs = {
        "token_ids": ids,
        "segment_ids": ids % 2,
        "padding_mask": (np.arange(8) < [[8], [5]]).astype(np.int32),
    }
    done = ms.export(net, inputs, file_name=tmp_path / "a", file_format="ONNX", engine="native",
                     verify=True)  # fmt: skip
    assert done.difference is not None
    assert done.difference < 1e-5
    names = {tensor.name for tensor in onnx.load(done.file).graph.initializer}
    assert names >= {weight.path.replace("/", ".") for weight in net.weights}
