"""MindSpore's networks as MINDIR, AIR and ONNX: the CheckPoint's weights, byte by byte, in each."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import onnx
import pytest

import msckpt_jax as ms
from msckpt_jax.air.target import open_model
from msckpt_jax.networks import bert, resnet, yolov3, yolov4
from tests.networks.conftest import filled

PAGE = (Path(__file__).parents[2] / "docs/export.md").read_text(encoding="utf-8")
_IDS = jax.ShapeDtypeStruct((1, 128), np.int32)


def _image(size: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct((1, size, size, 3), np.float32)


_make: Any = functools.partial
#: As in the table of docs/export.md.
NETWORKS: dict[str, tuple[Callable[..., Any], list[Any]]] = {
    "ResNet-18": (resnet.resnet18, [_image(224)]),
    "ResNet-50": (resnet.resnet50, [_image(224)]),
    "YOLOv3": (_make(yolov3.yolov3, 80), [_image(416)]),
    "YOLOv4": (_make(yolov4.yolov4, 80), [_image(416)]),
    "BERT-base": (_make(bert.Bert, 21128, 768, 12, 12, 3072), [_IDS, _IDS, _IDS]),
}


def _mindir(file: Path) -> Mapping[str, Any]:
    return ms.load(file).parameters


def _air(file: Path) -> Mapping[str, Any]:
    return open_model(file).parameters


def _onnx(file: Path) -> Mapping[str, Any]:
    tensors = onnx.load(file, load_external_data=False).graph.initializer
    return {
        tensor.name: np.frombuffer(tensor.raw_data, "<f4").reshape(tensor.dims)
        for tensor in tensors
        if tensor.data_type == onnx.TensorProto.FLOAT
    }


#: Parameters that a network has, as MindSpore's, and does not use.
UNUSED = {"YOLOv4": ("feature_map.backblock0.conv5.", "feature_map.backblock0.conv6.")}
#: How another reader than the writer finds the weights.
READERS = {"MINDIR": _mindir, "AIR": _air, "ONNX": _onnx}


@pytest.mark.parametrize("name", NETWORKS)
def test_weights_are_the_checkpoints(name: str, tmp_path: Path) -> None:
    make, inputs = NETWORKS[name]
    net = filled(make)
    net.eval()
    ms.save_checkpoint(net, tmp_path / "net.ckpt", durable=False)
    wanted = {key: np.asarray(x) for key, x in ms.load_checkpoint(tmp_path / "net.ckpt").items()}
    (tmp_path / "net.ckpt").unlink()
    cells = [f"{sum(x.size for x in wanted.values()) / 1e6:.1f} M"]
    for file_format, read in READERS.items():
        out = ms.export(net, *inputs, file_name=tmp_path / "net", file_format=file_format,
                        durable=False)  # fmt: skip
        found = read(out.file)
        for key, value in wanted.items():
            if key.startswith(UNUSED.get(name, ())):
                assert key not in found
                continue
            have = np.asarray(found[key])
            assert (have.dtype, have.shape) == (value.dtype, value.shape), key
            assert np.array_equal(have.view(np.uint32), value.view(np.uint32)), key
        del found
        cells.append(f"{out.file.stat().st_size / 1e6:.0f} MB")
        out.file.unlink()
    assert f"| {name} | {' | '.join(cells)} |" in PAGE  # a column follows
