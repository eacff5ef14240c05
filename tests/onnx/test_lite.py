"""Files for MindSpore Lite: what its converter's source says, and the numbers in onnxruntime."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import pytest
from jax import lax
from onnx import TensorProto, helper

import msckpt_jax as ms
from msckpt_jax import cli
from msckpt_jax.errors import ExportError
from msckpt_jax.onnx import lite, runner
from tests.runtimes import networks, parsers

X = np.random.default_rng(0).standard_normal((2, 3)).astype(np.float32)


def exported(folder: Path, net: Any, *inputs: Any, target: str | None = "lite") -> Path:
    """The checked file of a network."""
    file = folder / f"net-{target}.onnx"
    ms.export(net, *inputs, file_name=file, file_format="ONNX", target=target, engine="native")
    onnx.checker.check_model(str(file), full_check=True)
    return file


def same(folder: Path, net: Any, *inputs: Any) -> onnx.ModelProto:
    """The model for Lite, whose numbers in onnxruntime are those of the file without a target."""
    files = [exported(folder, net, *inputs, target=target) for target in (None, "lite")]
    want, have = (runner.session(file)(*inputs) for file in files)
    for plain, made in zip(want, have, strict=True):
        assert plain.dtype == made.dtype
        np.testing.assert_array_equal(plain, made)
    model = onnx.load(files[1])
    assert not lite.problems(model)
    return model


@pytest.mark.parametrize(
    "name",
    ["BERT", "CNN", "GRU of 50 steps", "greedy decoding", "while loop", "branches", "boxes",
     "statistics", "matrices of int8", "MLP of bfloat16 weights", "key-value cache",
     "attention of any batch and length", "GPT-2 of any batch and length"],
)  # fmt: skip
def test_networks_have_the_same_numbers(name: str, tmp_path: Path) -> None:
    case = networks.CASES[name]
    net, specs = case.make(), case.specs or case.inputs
    files = [exported(tmp_path, net, *specs, target=target) for target in (None, "lite")]
    inputs = list(map(np.asarray, case.inputs))
    want, have = (runner.session(file)(*inputs) for file in files)
    for plain, made in zip(want, have, strict=True):
        np.testing.assert_array_equal(made, plain)
    assert not lite.problems(onnx.load(files[1]))


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("GRU of 50 steps", "Scan: MindSpore Lite's converter has no parser"),
        ("while loop", "Loop: its name must be none of its results' names"),
        ("branches", "If: its body takes an input of the graph around it"),
        ("graph network", "ScatterND: its parser leaves reduction=add unread"),
        ("matrices of int8", "MatMulInteger: MindSpore Lite's converter has no parser"),
        ("attention of any batch and length", "Shape: its parser leaves end=1 unread"),
        ("key-value cache", "Where: its kernel takes a condition of the result's shape"),
        ("boxes", "Where: its kernel knows no uint8"),
    ],
)
def test_networks_that_need_the_target(name: str, reason: str, tmp_path: Path) -> None:
    case = networks.CASES[name]
    file = exported(tmp_path, case.make(), *(case.specs or case.inputs), target=None)
    assert any(problem.startswith(reason) for problem in lite.problems(onnx.load(file)))


def test_forms_that_differ_have_the_same_numbers(tmp_path: Path) -> None:
    n = np.array([[7, -7, 9], [-9, 0, 2**31 - 1]], np.int32)
    d = np.array([[2, 2, -4], [-4, 5, 7]], np.int32)

    def net(x: Any, n: Any, d: Any) -> Any:
        mask = jnp.arange(3) > 0
        chosen = jnp.where(mask, x, -x[:, :1]), jnp.where(mask, x > 0, n > 0)
        halves = jnp.where(mask, x.astype(jnp.float16), 1)
        return lax.rem(n, d), lax.cummax(n, 1), jnp.sort(n, 1), lax.cumprod(x, 1), chosen, halves

    model = same(tmp_path, net, X, n, d)
    assert not {"Mod", "Scan"} & {node.op_type for node in model.graph.node}


def test_where_of_any_size(tmp_path: Path) -> None:
    """No operand has the result's shape, or only one."""
    net = lambda m, x, y: (jnp.where(m, x, y), jnp.where(m, x, 0), jnp.where(m, m, y > 0))  # noqa: E731
    shapes = (("a", 1, 1), (1, "b", 1), (1, 1, "c"))
    dtypes = (bool, np.float32, np.float32)
    specs = [jax.ShapeDtypeStruct(s, d) for s, d in zip(shapes, dtypes, strict=True)]
    draw = np.random.default_rng(0)
    sizes = ((2, 1, 1), (1, 3, 1), (1, 1, 4))
    m, x, y = (draw.standard_normal(size).astype(np.float32) for size in sizes)
    file = exported(tmp_path, net, *specs)
    have = runner.session(file)(m > 0, x, y)
    for made, want in zip(have, net(m > 0, x, y), strict=True):
        np.testing.assert_array_equal(made, want)


@pytest.mark.parametrize("steps", [40, 4], ids=["a loop in a branch", "branches in a loop"])
def test_bodies_within_bodies(steps: int, tmp_path: Path) -> None:
    def loop(x: Any) -> Any:
        step = lambda i, c: lax.cond(i % 2 == 0, jnp.sin, lambda y: y * x[0, 0], c)  # noqa: E731
        return lax.fori_loop(0, 200, step if steps == 4 else lambda i, c: jnp.sin(c) + x, x)

    net = loop if steps == 4 else lambda x: lax.cond(x.sum() > 0, loop, jnp.cos, x)
    same(tmp_path, net, X)


def test_refusals_name_the_line(tmp_path: Path) -> None:
    def net(x: Any, i: Any) -> Any:
        total = jnp.zeros(4).at[i].add(x[0, 0])
        return total, i ^ 3

    with pytest.raises(ExportError) as error:
        exported(tmp_path, net, X, np.array([1, 1], np.int32))
    added, bits = sorted(error.value.problems, key=lambda problem: "BitwiseXor" in problem)
    assert "reduction=add unread" in added
    assert "BitwiseXor: MindSpore Lite's converter has no" in bits
    assert all("test_lite.py" in problem for problem in (added, bits))
    assert all("nobody has run here: docs/runtimes.md" in problem for problem in (added, bits))
    assert not list(tmp_path.iterdir())


def test_what_runs_nowhere_and_what_heeds_no_target(tmp_path: Path) -> None:
    more: dict[str, Any] = {"file_name": tmp_path / "net", "file_format": "ONNX"}
    with pytest.raises(ValueError, match="not 'lite', which is not run here"):
        ms.export(jnp.sin, X, verify=True, runtime="lite", **more)
    with pytest.raises(ValueError, match="nor target='lite'"):
        ms.export(jnp.sin, X, engine="jax2onnx", target="lite", **more)
    with pytest.raises(ExportError, match="one scale"):
        ms.export((lambda w, x: x @ w, np.ones((3, 400), np.float32)), X, target="lite",
                  weights="int8", **more)  # fmt: skip
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("dtype", [np.int64, np.float64, np.uint16])
def test_dtypes_that_are_narrowed_or_unknown(dtype: Any, tmp_path: Path) -> None:
    with jax.enable_x64(True), pytest.raises(ExportError, match=np.dtype(dtype).name):
        exported(tmp_path, lambda x: x + x, np.ones(3, dtype))


def _model(
    op: str, *inputs: tuple[str, int, list[int]] | str, constants: dict[str, Any] | None = None,
    type_: int = TensorProto.FLOAT, shape: list[Any] | None = None, **attributes: Any,
) -> onnx.ModelProto:  # fmt: skip
    """The model of one operator."""
    names = [x if isinstance(x, str) else x[0] for x in inputs]
    node = helper.make_node(op, names, ["y"], name="it", **attributes)
    infos = [helper.make_tensor_value_info(*x) for x in inputs if not isinstance(x, str)]
    held = [onnx.numpy_helper.from_array(v, k) for k, v in (constants or {}).items()]
    result = helper.make_tensor_value_info("y", type_, shape)
    graph = helper.make_graph([node], "g", infos, [result], held)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])


_F = ("x", TensorProto.FLOAT, [1, 2, 8, 8])
_LINE = ("x", TensorProto.FLOAT, [1, 2, 8])
_I = ("x", TensorProto.INT32, [4])
_AT = ("i", TensorProto.INT32, [1, 1])
_PADS = {"p": np.array([0, 0, 1, 1, 0, 0, 1, 1])}
_FEW = {**_PADS, "v": np.float32(0), "a": np.array([2, 3])}
_SCALES = {"s": np.ones(2, np.float32), "z": np.zeros(2, np.int8)}
_ONE = {"s": np.float32(1), "z": np.int8(0)}
_BYTES = ("x", TensorProto.INT8, [2, 3])


@pytest.mark.parametrize(
    ("reason", "wrong", "right"),
    [
        ("select_last_index=1", _model("ArgMax", _F, type_=7, select_last_index=1), None),
        ("none of 1 axes", _model("AveragePool", _LINE, kernel_shape=[2]),
         _model("AveragePool", _F, kernel_shape=[2, 2])),
        ("none of 1 axes", _model("MaxPool", _LINE, kernel_shape=[2]),
         _model("MaxPool", _F, kernel_shape=[2, 2])),
        ("becomes int64", _model("Cast", ("x", TensorProto.UINT32, [4]), type_=7, to=7),
         _model("Cast", _I, type_=1, to=1)),
        ("maximum without", _model("Clip", _F, "", "m", constants={"m": np.float32(1)}),
         _model("Clip", _F, "m", constants={"m": np.float32(1)})),
        ("one scale", _model("DequantizeLinear", _BYTES, "s", "z", constants=_SCALES, axis=0),
         _model("DequantizeLinear", _BYTES, "s", "z", constants=_ONE)),
        ("approximate=tanh", _model("Gelu", _F, approximate="tanh"), _model("Gelu", _F)),
        ("no alpha", _model("Gemm", ("x", 1, [2, 3]), ("w", 1, [3, 4]), alpha=2.0),
         _model("Gemm", ("x", 1, [2, 3]), ("w", 1, [3, 4]))),
        ("2 operands", _model("Max", _F, "x", "x"), _model("Max", _F, "x")),
        ("fmod", _model("Mod", _I, "x", type_=6), _model("Mod", ("x", 12, [4]), "x", type_=12)),
        ("none is stated", _model("Pad", _F, "p", constants=_PADS),
         _model("Pad", _F, "p", constants=_PADS, mode="constant")),
        ("no mode edge", _model("Pad", _F, "p", constants=_PADS, mode="edge"),
         _model("Pad", _F, "p", constants=_PADS, mode="reflect")),
        ("axes unread", _model("Pad", _F, "p", "v", "a", mode="constant", constants=_FEW), None),
        ("reduction=add", _model("ScatterND", _I, _AT, ("u", 6, [1]), type_=6, reduction="add"),
         _model("ScatterND", _I, _AT, ("u", 6, [1]), type_=6)),
        ("start=1", _model("Shape", _F, type_=7, start=1), None),
        ("condition", _model("Where", ("c", 9, [8]), _F, "x", shape=[1, 2, 8, 8]),
         _model("Where", ("c", 9, [4]), ("x", 1, [4]), "x", shape=[4])),
        ("no parser", _model("IsNaN", _F, type_=9), _model("Sqrt", _F)),
        ("does not fit", _model("Mul", _F, "n", constants={"n": np.array([2**40])}),
         _model("Mul", _F, "n", constants={"n": np.array([2**63 - 1])})),
        ("no uint16", _model("Abs", ("x", TensorProto.UINT16, [4]), type_=4), None),
    ],
)  # fmt: skip
def test_forms_that_are_misread(
    reason: str, wrong: onnx.ModelProto, right: onnx.ModelProto | None
) -> None:
    assert any(reason in problem for problem in lite.problems(wrong))
    assert right is None or not [p for p in lite.problems(right) if "int64: cast" not in p]


def test_verify_lists_what_is_in_the_way(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    net = lambda x: lax.fori_loop(0, 200, lambda i, c: jnp.sin(c) + i, x)  # noqa: E731
    for target, code, said in (
        (None, 1, "Scan: MindSpore Lite's converter has no parser of it (Scan"),
        ("lite", 0, "opset 18"),
    ):
        file = exported(tmp_path, net, X, target=target)
        assert cli.main(["verify", str(file), "--runtime", "lite"]) == code
        out = capsys.readouterr().out
        assert said in out
        assert f"{code} problem{'' if code else 's'}, by the source of MindSpore Lite's" in out


def test_the_table_is_of_a_commit(tmp_path: Path) -> None:
    head, *rows = parsers.DOCUMENT.read_text("utf-8").splitlines()
    day = head.rpartition(" of ")[2].partition(",")[0]
    assert day in lite.SOURCE
    assert rows == sorted(lite.parsed())
    folder = tmp_path / parsers.FOLDER
    folder.mkdir(parents=True)
    (folder / "a.cc").write_text(
        'OnnxNodeRegistrar g_a("Sin", new A());\nOnnxNodeRegistrar g_b(\n  "Int8Add", new B());\n'
        'OnnxNodeRegistrar g_c("Cos",\n  new C());\n'
    )
    identity = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    for command in (["init", "-q"], ["add", "."], [*identity, "commit", "-qm", "a"]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    assert parsers.table(str(tmp_path)).splitlines()[1:] == ["Cos", "Sin"]
