"""MindIR that real MindSpore writes from its own layers gives its numbers in JAX."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import msckpt_jax as ms
from msckpt_jax.graph import evaluate, meaning, operators
from msckpt_jax.onnx import runner

from .cases import CASES, EXPRESSION_CASES, EXPRESSION_PAIR_CASES, PAIR_CASES, VARIANTS

#: MindSpore's CPU kernels are no better: Tanh, and GeLU by it, err by 1e-4.
ROUGH = {"Tanh", "GELU", "Tanhshrink", "Mish", "dense", "encoder", "transformer", "encoder_batch"}


def arrays(exported: Path, name: str) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The inputs and MindSpore's results of a case."""
    failure = exported / f"{name}.txt"
    assert not failure.exists(), failure.read_text()
    with np.load(exported / f"{name}.npz") as saved:
        inputs = [saved[key] for key in saved if key.startswith("input")]
        return inputs, [saved[key] for key in saved if key.startswith("output")]


def kind(dtype: np.dtype) -> np.dtype:
    """The dtype; positions and counts may have 32 bits or 64, as MindSpore's own kernels do it."""
    return jax.dtypes.canonicalize_dtype(dtype) if dtype.kind in "iu" else dtype


def check(name: str, found: Any, wanted: list[np.ndarray]) -> None:
    found = jax.tree.leaves(found)
    assert [a.shape for a in found] == [a.shape for a in wanted]
    if name != "constants":  # Python's numbers, which have no dtype
        assert [kind(a.dtype) for a in found] == [kind(a.dtype) for a in wanted]
    for got, want in zip(found, wanted, strict=True):
        tolerance = 1e-3 if want.dtype == np.float16 else 3e-4 if name in ROUGH else 2e-5
        np.testing.assert_allclose(got, want, tolerance, tolerance)


@pytest.mark.parametrize("name", [*CASES, *EXPRESSION_CASES, *PAIR_CASES, *EXPRESSION_PAIR_CASES])
def test_mindspores_numbers(exported: Path, name: str) -> None:
    inputs, wanted = arrays(exported, name)
    function = ms.load(exported / f"{name}.mindir")
    check(name, jax.jit(function.apply)(function.parameters, *inputs), wanted)


@pytest.mark.parametrize("name", VARIANTS)
def test_dynamic_split_and_encrypted(exported: Path, name: str) -> None:
    inputs, wanted = arrays(exported, name)
    options = VARIANTS[name][1]
    key: dict[str, Any] = {}
    if "enc_key" in options:
        key = {"dec_key": options["enc_key"], "dec_mode": options["enc_mode"]}
    file = exported / f"{name}{'_graph' if options.get('split') else ''}.mindir"
    function = ms.load(file, **key)
    check(name, function(*inputs), wanted)
    for number, axis in options.get("dynamic", ()):
        assert function.inputs[number].shape[axis] is None


def test_structure_of_the_result(exported: Path) -> None:
    (x, y), _ = arrays(exported, "tuples")
    got = ms.load(exported / "tuples.mindir")(x, y)
    a, (b, none), (c, (d,)) = got
    assert none is None
    for found, wanted in ((a, x), (b, y), (c, x + 1), (d, y)):
        np.testing.assert_array_equal(found, wanted)


def test_transformations(exported: Path) -> None:
    inputs, _ = arrays(exported, "conv2d_pad")
    function = ms.load(exported / "conv2d_pad.mindir")

    def loss(parameters: Any, x: Any) -> Any:
        return jnp.sum(function.apply(parameters, x) ** 2)

    gradient = jax.jit(jax.grad(loss))(function.parameters, *inputs)
    assert gradient.keys() == function.parameters.keys()
    step = {name: 1e-3 * g for name, g in gradient.items()}
    moved = {name: function.parameters[name] + step[name] for name in step}
    expected = sum(jnp.vdot(gradient[name], step[name]) for name in step)
    np.testing.assert_allclose(
        loss(moved, *inputs) - loss(function.parameters, *inputs), expected, rtol=0.05
    )
    many = jax.vmap(function)(jnp.stack([inputs[0], 2 * inputs[0]]))
    np.testing.assert_allclose(many[0], function(*inputs), 1e-5, 1e-5)


@pytest.mark.parametrize("name", ["while", "while_break", "if_else"])
def test_control_flow_differentiates_forward(exported: Path, name: str) -> None:
    inputs, _ = arrays(exported, name)
    function = ms.load(exported / f"{name}.mindir")
    x, rest = inputs[0], inputs[1:]
    _, tangent = jax.jvp(lambda x: jax.tree.leaves(function(x, *rest))[0], (x,), (x * 0 + 1,))
    assert np.isfinite(tangent).all()


def test_listing(exported: Path) -> None:
    function = ms.load(exported / "while.mindir")
    text = repr(function)
    assert "= While(" in text
    assert "  condition:\n" in text
    assert ": f32[2,4] = MatMul(" in text
    assert "<summary>condition</summary>" in function._repr_html_()


def test_operators_without_meaning_are_all_named(exported: Path) -> None:
    path = exported / "conv2d_pad.mindir"
    assert ms.load(path, rules={"Conv2D": lambda x, w, **_: x})
    ops = {"Conv2D": "Nonsense", "BiasAdd": "Nothing"}
    from msckpt_jax._protos.mind_ir_pb2 import ModelProto

    model = ModelProto.FromString(path.read_bytes())
    for primitive in model.primitives:
        primitive.op_type = ops.get(primitive.op_type, primitive.op_type)
    path = exported / "unknown.mindir"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(
        ms.MindIRError,
        match=r"(?s)2 operators without a meaning.*rules=.*\n"
        r"  Nonsense \(1\), first at Default/\S*Conv2D-op0\n"
        r"  Nothing \(1\), first at Default/\S*BiasAdd-op0",
    ):
        ms.load(path)
    rules = {"Nonsense": lambda x, w, *, stride, **_: x, "Nothing": lambda x, *_: x + 1}
    x = np.ones((2, 4, 9, 8), np.float32)
    np.testing.assert_array_equal(ms.load(path, rules=rules)(x), x + 1)


def test_dtypes_are_the_files_with_64_bits(exported: Path) -> None:
    (x, i, wide, *_), wanted = arrays(exported, "scalar_mix")
    with jax.enable_x64(True):
        found = ms.load(exported / "scalar_mix.mindir")(x, i, wide, 2, 1.5)
    assert [a.dtype for a in found] == [a.dtype for a in wanted]


def test_a_number_that_has_to_be_known(exported: Path) -> None:
    rules = {"ReLU": lambda x: x[: int(jnp.sum(x > 9))]}
    function = ms.load(exported / "ReLU.mindir", rules=rules)
    inputs, _ = arrays(exported, "ReLU")
    assert function(*inputs).shape[0] == 0
    with pytest.raises(ms.MindIRError, match=r"(?s)ReLU.mindir, operator ReLU at .* not known un"):
        jax.jit(function)(*inputs)


def test_an_error_of_the_network_is_told(exported: Path, caplog: pytest.LogCaptureFixture) -> None:
    ms.load(exported / "raising.mindir")
    assert "raising.mindir: MindSpore raises an error of the network's own" in caplog.text


def test_names_are_those_of_arrays(exported: Path, tmp_path: Path) -> None:
    inputs, wanted = arrays(exported, "tuples")
    function = ms.load(exported / "tuples.mindir")
    assert len(function.output_names) == len(wanted)
    options: Any = {"file_format": "ONNX", "engine": "native"}
    ms.export(function, *inputs, file_name=tmp_path / "tuples", **options)
    found = runner.session(tmp_path / "tuples.onnx")(*inputs)
    for got, want in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(got, want)


#: Attributes that a rule need not look at: they follow from the weights, or have another name; JAX
#: locks nothing, and draws by the key that it is given.
FOLLOWS = {
    "out_channel", "in_channel", "kernel_size", "pad_list", "data_format", "dtype",
    "use_locking", "seed", "seed2",
}  # fmt: skip


def test_no_rule_ignores_an_attribute(exported: Path) -> None:
    signatures = json.loads((exported / "signatures.json").read_text())
    ignored = {}
    for op, rule in meaning.table().items():
        positional, named = evaluate.arguments_of(rule)
        if op in signatures and operators.definition(op) is None and named is not None:
            rest = set(signatures[op]) - named - set(positional) - FOLLOWS
            ignored |= {op: rest} if rest else {}
    assert not ignored
    assert len(signatures) > 1000
