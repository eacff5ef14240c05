"""The networks that MindSpore itself exports as ONNX, exported and run in onnxruntime."""

from __future__ import annotations

from pathlib import Path

import pytest

import msckpt_jax as ms
from tests.networks.conftest import CASES, filled


@pytest.mark.parametrize("name", ["vision-50", "yolov3", "yolov4", "bert"])
def test_onnx(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    net = filled(case.make)
    net.eval()
    inputs = [x.transpose(0, 2, 3, 1) if x.ndim == 4 else x for x in case.inputs]
    out = ms.export(net, *inputs, file_name=tmp_path / "net", file_format="ONNX", verify=True)
    out.file.unlink()  # 250 MB for a YOLO
    assert out.difference is not None
    assert out.difference < 1e-4
