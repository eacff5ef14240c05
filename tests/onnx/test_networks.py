"""Whole networks exported as ONNX: valid, and JAX's numbers in onnxruntime."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

import msckpt_jax as ms
from tests.networks.small import NETWORKS


@pytest.mark.parametrize("name", NETWORKS)
def test_network(name: str, tmp_path: Path) -> None:
    small = NETWORKS[name]
    out = ms.export(small.network(), *small.inputs, file_name=tmp_path / "net", engine="native",
                    file_format="ONNX", verify=True)  # fmt: skip
    onnx.checker.check_model(str(out.file), full_check=True)
    out.file.unlink()  # 250 MB for a YOLO
    assert out.difference is not None
    assert out.difference < 1e-4
