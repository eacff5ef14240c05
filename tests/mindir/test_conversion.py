"""MindIR files of real MindSpore's own layers become AIR and ONNX with MindSpore's numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import pytest

import msckpt_jax as ms
from msckpt_jax.air import check, file
from msckpt_jax.api import convert_model
from msckpt_jax.cli import main
from msckpt_jax.onnx import runner
from tests.exporting import Cnn
from tests.mindir import cases

KEY = bytes(range(16))


def _run(path: Path, inputs: list[np.ndarray]) -> list[np.ndarray]:
    if path.suffix == ".onnx":
        onnx.checker.check_model(str(path), full_check=True)
        return runner.session(path)(*inputs)
    if path.suffix == ".air":
        assert [finding for finding in check.check(file.read(path)) if finding.fault] == []
    return [np.asarray(result) for result in jax.tree.leaves(ms.load(path)(*inputs))]


@pytest.mark.parametrize("suffix", [".air", ".onnx"])
@pytest.mark.parametrize("name", cases.CASES)
def test_layers_of_mindspore(name: str, suffix: str, exported: Path, tmp_path: Path) -> None:
    target = tmp_path / f"a{suffix}"
    path, _ = convert_model.convert(exported / f"{name}.mindir", target, durable=False)
    with np.load(exported / f"{name}.npz") as saved:
        inputs = [saved[key] for key in saved if key.startswith("input")]
        expected = [saved[key] for key in saved if key.startswith("output")]
    found = _run(path, inputs)
    assert [r.shape for r in found] == [e.shape for e in expected]
    for have, want in zip(found, expected, strict=True):
        np.testing.assert_allclose(have, want, 1e-3, 1e-4)


@pytest.mark.parametrize(
    ("target", "options", "error"),
    [
        ("b.onnx", ["--enc-key-file", "key"], "--enc-key-file can be used for CheckPoints"),
        ("b.onnx", ["--rename", "a=b", "--crc"], "--rename, --crc can be used for CheckPoints"),
        ("b.onnx", ["--soc", "Ascend910B"], "soc is for AIR, not for ONNX"),
        ("b.air", ["--opset", "22"], "opset is for ONNX, not for AIR"),
        ("missing/b.onnx", [], "missing does not exist"),
    ],
)
def test_options_that_would_do_nothing(
    target: str, options: list[str], error: str, tmp_path: Path, capsys: Any
) -> None:
    model = ms.export(jnp.sin, np.ones(3, np.float32), file_name=tmp_path / "a").file
    assert main(["convert", str(model), str(tmp_path / target), *options]) == 2
    assert error in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [model]


@pytest.mark.parametrize("suffix", [".air", ".onnx"])
def test_command_line(suffix: str, tmp_path: Path, capsys: Any) -> None:
    net, x = Cnn(), np.ones((1, 8, 8, 3), np.float32)
    model = ms.export(net, x, file_name=tmp_path / "a", enc_key=KEY).file
    (tmp_path / "key").write_bytes(KEY)
    target = tmp_path / f"b{suffix}"
    assert main(["convert", str(model), str(target)]) == 2
    assert "key" in capsys.readouterr().err
    key = ["--dec-key-file", str(tmp_path / "key")]
    assert main(["convert", str(model), str(target), *key]) == 0
    out = capsys.readouterr().out
    assert str(target) in out
    assert ("atc --framework=1" in out) == (suffix == ".air")
    np.testing.assert_allclose(_run(target, [x])[0], net(x), 1e-4, 1e-5)


def test_a_dynamic_batch(tmp_path: Path) -> None:
    spec = ms.TensorSpec((None, 8, 8, 3), jnp.float32)
    net = Cnn()
    model = ms.export(net, spec, file_name=tmp_path / "a").file
    path, _ = convert_model.convert(model, tmp_path / "b.onnx")
    for size in (1, 3):
        x = np.full((size, 8, 8, 3), size, np.float32)
        np.testing.assert_allclose(_run(path, [x])[0], net(x), 1e-4, 1e-5)


def test_other_suffixes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"must end with \.air or \.onnx"):
        convert_model.convert(tmp_path / "a.mindir", tmp_path / "b.pb")


@pytest.mark.parametrize("suffix", [".mindir", ".onnx"])
def test_models_of_air_go_through_jax(suffix: str, tmp_path: Path) -> None:
    """A file of MindSpore's own converter, and a network of ours with a convolution."""
    sample = Path(__file__).parents[1] / "air" / "data" / "ms_dense_w.air"
    net, image = Cnn(), np.random.default_rng(0).standard_normal((1, 8, 8, 3)).astype(np.float32)
    ours = ms.export(net, image, file_name=tmp_path / "ours", file_format="AIR").file
    dense = np.random.default_rng(1).standard_normal((2, 3)).astype(np.float32)
    for source, x in ((sample, dense), (ours, image)):
        function = ms.load(source)
        path, _ = convert_model.convert(source, tmp_path / f"b{suffix}", durable=False)
        np.testing.assert_allclose(_run(path, [x])[0], function(x), 1e-4, 1e-5)
        if suffix == ".mindir":
            assert ms.load(path).parameters.keys() == function.parameters.keys()


def test_a_model_is_not_converted_to_its_own_format(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"must end with \.mindir or \.onnx"):
        convert_model.convert(tmp_path / "a.air", tmp_path / "b.air")
