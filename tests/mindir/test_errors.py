"""Errors of loading and calling a model name file, operator and scope, and print no weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import msckpt_jax as ms
from msckpt_jax.cli import main

from .handmade import function, network, node
from .samples import sample, unpacked

ONE = np.ones((2, 4), np.float32)


@pytest.fixture(params=["MINDIR", "AIR"])
def layers(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """``x @ w + b`` twice, and a mask; from MindSpore, and as AIR from us."""
    model, inputs, _ = sample(tmp_path, "layers")
    if request.param == "MINDIR":
        return model
    file_name = tmp_path / "layers"
    return ms.load(ms.export(model, *inputs, file_name=file_name, file_format="AIR").file)


WRONG: dict[str, tuple[Callable[[Any], Any], type[Exception], str]] = {
    "too few": (
        lambda f: f(ONE), TypeError,
        r"takes \(x, mask\), and was given \(f32\[2,4\],\):\n  x: f32\[2,4\]\n  mask: f32\[2,4\]$",
    ),
    "too many": (lambda f: f(ONE, ONE, 1), TypeError, r"given \(f32\[2,4\], f32\[2,4\], int\)"),
    "another structure": (lambda f: f({"a": ONE}, ONE), TypeError, r"given \({'a': f32\[2,4\]}"),
    "no array": (
        lambda f: f("text", ONE), TypeError, r"'x' is no array: expected f32\[2,4\], found str"
    ),
    "another dtype": (
        lambda f: f(ONE, ONE.astype(np.int32)), TypeError,
        r"'mask' holds other numbers: expected f32\[2,4\], found i32\[2,4\]",
    ),
    "another shape": (
        lambda f: f(np.ones((2, 5), np.float32), ONE), ValueError,
        r"in the operator MatMul.* fails on them:\n  x: expected f32\[2,4\], found f32\[2,5\]\n  ",
    ),
    "another shape, in jit": (
        lambda f: jax.jit(f)(ONE, np.ones((3, 4), np.float32)), ValueError,
        r"in the operator Add.* fails on them:\n  mask: expected f32\[2,4\], found f32\[3,4\]\n  ",
    ),
    "a parameter's shape": (
        lambda f: f.apply({name: p[:1] for name, p in f.parameters.items()}, ONE, ONE), ValueError,
        r"the parameter 'layers.0.\w+' is of another shape: expected f32",
    ),
    "a parameter's dtype": (
        lambda f: f.apply({n: np.int8(p) for n, p in f.parameters.items()}, ONE, ONE), TypeError,
        r"the parameter 'layers.0.\w+' holds other numbers: expected f32",
    ),
    "a parameter's name": (
        lambda f: f.apply({**f.parameters, "layers.2": 1}, ONE, ONE), KeyError,
        r"the model has no 'layers.2' \(nearest: 'layers",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_wrong_arguments(layers: Any, case: str) -> None:
    call, kind, match = WRONG[case]
    with pytest.raises(kind, match=match) as raised:
        call(layers)
    assert layers.file in str(raised.value)
    assert str(raised.value).count("\n") < 20


def test_sizes_that_no_constant_fixes_may_differ(layers: Any) -> None:
    other = np.ones((3, 4), np.float32)
    assert layers(other, other).shape == (3, 4)


def test_whole_numbers_are_no_fractions(tmp_path: Path) -> None:
    model, _, _ = sample(tmp_path, "positions")
    for value in (np.ones((1, 3), np.float32), np.ones((1, 3), bool), 1.5):
        with pytest.raises(
            TypeError, match=r"'ids' (holds other numbers|is a fraction): exp.* i64"
        ):
            model(value)
    np.testing.assert_array_equal(model(1), model(np.full((1, 1), 1)))


def test_lists_are_tuples_and_arguments_may_be_flat(tmp_path: Path) -> None:
    model, (x, first, second), _ = sample(tmp_path, "nested")
    wanted = model(x, (first, second))
    for found in (model(x, [first, second]), model(x, first, second)):
        assert jax.tree.all(jax.tree.map(np.array_equal, found, wanted))
    with pytest.raises(TypeError, match=r"takes \(x, \(pair.0, pair.1\)\), and was given"):
        model(x, {"a": first, "b": second})


def test_scope_of_a_failing_rule(tmp_path: Path) -> None:
    unpacked("models", tmp_path)

    def fails(*_: Any) -> Any:
        raise ZeroDivisionError

    model = ms.load(tmp_path / "layers.mindir", rules={"BiasAdd": fails})
    with pytest.raises(ZeroDivisionError) as raised:
        model(ONE, ONE)
    scope = "Default/layers-SequentialCell/0-Dense/BiasAdd-op0"
    assert raised.value.__notes__[0] == f"in the operator BiasAdd at {scope}"
    assert f"# {scope}" in repr(model)


def test_training_mode(tmp_path: Path) -> None:
    model, (x,), (wanted,) = sample(tmp_path, "training")
    advice = (
        r"exported in training mode; for inference, in MindSpore: net.set_train\(False\) before"
    )
    with pytest.raises(TypeError, match=rf"(?s)training.mindir: .*mutable=True.*\n  .*{advice}"):
        model(x)
    found, new = model.apply(model.parameters, x, mutable=True)
    np.testing.assert_allclose(found, wanted, 2e-6, 2e-6)
    assert [n for n in new if not np.array_equal(new[n], model.parameters[n])] == [*model.state]
    content = (tmp_path / "training.mindir").read_bytes()
    file = tmp_path / "unknown.mindir"
    told = {"BatchNorm": "BatchMorn at", "Conv2D": r"Conv9D \(1\), first at"}
    for op, text in told.items():
        file.write_bytes(content.replace(op.encode(), text[: len(op)].encode()))
        with pytest.raises(
            ms.MindIRError, match=rf"(?s)\n  {text} Default/layers-Seq.*\n  .*{advice}"
        ):
            ms.load(file)


def test_a_function_as_data_prints_no_weights(tmp_path: Path) -> None:
    model = network()
    function(model, "body", "a", "b").output.add(name="body:a")
    node(model.graph, "main:partial", "Partial", "REF::body", "main:w")
    model.graph.node[-1].domain = "Default/layer/Partial-op0"
    node(model.graph, "main:z", "ReLU", "main:partial")
    model.graph.node[-1].domain = "Default/layer/ReLU-op0"
    model.graph.output[0].name = "main:z"
    file = tmp_path / "model.mindir"
    file.write_bytes(model.SerializeToString())
    text = r"operator ReLU at Default/layer/ReLU-op0: a function is used as data: 'body'$"
    with pytest.raises(ms.MindIRError, match=text) as raised:
        ms.load(file)
    assert raised.value.file == str(file)
    assert raised.value.node == "ReLU at Default/layer/ReLU-op0"


@pytest.mark.parametrize("index", [-1, 0, 1, 2])
def test_a_layer_that_an_input_chooses(tmp_path: Path, index: int) -> None:
    model, (x, _), _ = sample(tmp_path, "experts")
    weights = model.parameters
    wanted = x @ weights[f"experts.{index % 3}.weight"].T + weights[f"experts.{index % 3}.bias"]
    for call in (model, jax.jit(model)):
        np.testing.assert_allclose(call(x, np.int32(index)), wanted, 1e-6, 1e-6)


def test_a_note_of_structure_that_does_not_fit(tmp_path: Path) -> None:
    file = ms.export(lambda x: {"a": x}, jnp.ones(2), file_name=tmp_path / "a").file
    content = file.read_bytes()
    for note in (b'[["*"], {"a": 7.0}]', b'[["*"], ["*","*"]]', b'[[["*"], {"a": "*"}]'):
        file.write_bytes(content.replace(b'[["*"], {"a": "*"}]', note.ljust(19)))
        with pytest.raises(ms.MindIRError, match="nested does not fit"):
            ms.load(file)


LITE = b"\x1c\x00\x00\x00MSL2" + bytes(100)
OTHERS = {
    "a model of MindSpore Lite": LITE,
    "an HDF5 file": b"\x89HDF\r\n\x1a\n" + bytes(60),
    "a CheckPoint": b"\n\x08\n\x01w\x12\x03\x08\x03\x12" + bytes(40),
    "a safetensors file": b"\x02" + bytes(7) + b"{}" + bytes(60),
}


@pytest.mark.parametrize("ending", ["ms", "mindir", "air"])
@pytest.mark.parametrize("kind", OTHERS)
def test_files_that_are_no_models(tmp_path: Path, kind: str, ending: str) -> None:
    file = tmp_path / f"x.{ending}"
    file.write_bytes(OTHERS[kind])
    with pytest.raises((ms.MindIRError, ms.AirError), match=f"this is {kind}"):
        ms.load(file)


@pytest.mark.parametrize("ending", ["ms", "mindir", "air"])
@pytest.mark.parametrize("command", [("inspect",), ("verify",), ("convert", "o.ckpt")])
def test_lite_on_the_command_line(
    tmp_path: Path, command: tuple[str, ...], ending: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / f"x.{ending}"
    file.write_bytes(LITE)
    name, *rest = command
    assert main([name, str(file), *(str(tmp_path / each) for each in rest)]) != 0
    told = capsys.readouterr()
    assert "this is a model of MindSpore Lite (.ms)" in told.out + told.err
    assert not (tmp_path / "o.ckpt").exists()
