"""AIR files that GE and MindSpore wrote, run in JAX."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import msckpt_jax as ms
from msckpt_jax._protos import ge_ir_pb2
from msckpt_jax.air.file import read
from msckpt_jax.air.target import open_model as load
from msckpt_jax.checkpoint import wire
from msckpt_jax.errors import AirError

SAMPLES = Path(__file__).parent / "data"


def array(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def test_dense_of_mindspore() -> None:
    net = load(SAMPLES / "ms_dense_w.air")
    weight, bias = net.parameters["d.weight_const"], net.parameters["d.bias_const"]
    x = array(2, 3)
    np.testing.assert_allclose(net(x), np.maximum(x @ weight.T + bias, 0), rtol=1e-6)
    assert net.inputs == (jax.ShapeDtypeStruct((2, 3), np.float32),)
    assert [value.name for value in net.graph.inputs] == ["x"]


def test_convolution_of_mindspore() -> None:
    net = load(SAMPLES / "sw_conv2d.air")
    inputs = [array(*spec.shape) for spec in net.inputs]
    expected = lax.conv_general_dilated(*inputs, (2, 2), [(1, 1), (1, 1)])
    assert expected.shape == net(*inputs).shape
    np.testing.assert_allclose(net(*inputs), expected, rtol=1e-5)


def test_gather_and_reduction_of_mindspore() -> None:
    net = load(SAMPLES / "sw_reduce_sum.air")
    x = array(*net.inputs[0].shape)
    np.testing.assert_allclose(net(x), x.sum(1), rtol=1e-6)
    net = load(SAMPLES / "sw_concat.air")
    inputs = [array(*spec.shape) for spec in net.inputs]
    np.testing.assert_array_equal(net(*inputs), np.concatenate(inputs, 1))


def test_rows_that_mindspore_gathers() -> None:
    net = load(SAMPLES / "sw_gather.air")
    x, index = array(2, 3), np.array([1, 0, 1, 1], np.int32)
    np.testing.assert_array_equal(net(x, index), x[index])


def test_convolution_of_ges_own_interface() -> None:
    net = load(SAMPLES / "conv.air")
    (spec,) = net.inputs
    x, (weights,) = array(*spec.shape), net.parameters.values()
    op = next(op for op in read(SAMPLES / "conv.air").graph[0].op if op.type == "Conv2D")
    strides, pads = op.attr["strides"].list.i[2:], op.attr["pads"].list.i
    sides = list(zip(pads[0::2], pads[1::2], strict=True))
    expected = lax.conv_general_dilated(x, weights, strides, sides)
    np.testing.assert_allclose(net(x), expected, 1e-4, 1e-6)


@pytest.mark.parametrize("positive", [True, False])
def test_control_flow(positive: bool) -> None:
    """``ctrl.air``: negate or take the absolute value, subtract 1 while the sum is positive."""
    net = load(SAMPLES / "ctrl.air")
    x = np.array([3, -1, 2, 0.5], np.float32)
    expected = -x if positive else abs(x)
    while expected.sum() > 0:
        expected = expected - 1
    for function in (net, jax.jit(net)):
        np.testing.assert_allclose(function(np.asarray(positive), x), expected)


def test_results_differentiate_and_batch() -> None:
    net = load(SAMPLES / "ms_dense_w.air")
    x = array(2, 3)
    gradient = jax.grad(lambda x: net(x).sum())(x)
    active = (net(x) > 0).astype(jnp.float32)
    np.testing.assert_allclose(gradient, active @ net.parameters["d.weight_const"], rtol=1e-5)
    batch = array(5, 2, 3)
    np.testing.assert_allclose(jax.vmap(net)(batch), jnp.stack([net(x) for x in batch]), rtol=1e-5)


def test_other_values_of_a_constant() -> None:
    net = load(SAMPLES / "ms_dense_w.air")
    bias = np.full(4, 9, np.float32)
    x = np.zeros((2, 3), np.float32)
    found = net.apply({**net.parameters, "d.bias_const": bias}, x)
    np.testing.assert_array_equal(found, np.broadcast_to(bias, (2, 4)))
    with pytest.raises(KeyError, match=r"no 'd.bais_const' .nearest: 'd.bias_const'"):
        net.apply({**net.parameters, "d.bais_const": bias}, x)


def test_numbered_constants_and_integers_are_no_parameters() -> None:
    assert load(SAMPLES / "min_py.air").parameters == {}
    assert sorted(load(SAMPLES / "mlp.air").parameters) == ["b", "w"]


def _changed(tmp_path: Path, name: str, change: Any) -> Path:
    model = ge_ir_pb2.ModelDef.FromString((SAMPLES / f"{name}.air").read_bytes())
    change(model)
    path = tmp_path / "changed.air"
    path.write_bytes(model.SerializeToString())
    return path


def _plus(model: Any) -> None:
    for op in model.graph[0].op[3:5]:
        op.type = "Plus"


def _cycle(model: Any) -> None:
    next(op for op in model.graph[0].op if op.name == "if0").input[1] = "while0:0"


def _cut(model: Any) -> None:
    op = next(op for op in model.graph[0].op if op.name == "Const_0")
    op.attr["value"].t.data = b"123"


def _huge(model: Any) -> None:
    op = next(op for op in model.graph[0].op if op.name == "Const_0")
    op.attr["value"].t.desc.shape.dim[:] = [2**40, 2**40]


def _outside(model: Any) -> None:
    op = next(op for op in model.graph[0].op if op.name == "Const_0")
    op.attr["location"].s, op.attr["length"].i = b"../../etc/passwd", 10


def _located(text: bytes) -> Any:
    def change(model: Any) -> None:
        op = next(op for op in model.graph[0].op if op.name == "Const_0")
        op.attr["location"].s, op.attr["length"].i = text, 10

    return change


def _loop(model: Any) -> None:
    op = next(op for op in model.graph[0].op if op.subgraph_name)
    op.subgraph_name[0] = model.graph[0].name


def _many(model: Any) -> None:
    """Forty graphs, each of which has the next one twice."""
    for number in range(40):
        graph = model.graph.add(name=f"g{number}")
        names = [f"g{number + 1}"] * 2 if number < 39 else []
        graph.op.add(name="Case", type="Case").subgraph_name.extend(names)
    next(op for op in model.graph[0].op if op.subgraph_name).subgraph_name[0] = "g0"


def _renamed(model: Any) -> None:
    model.graph[0].op[3].name = model.graph[0].op[4].name


def _two_graphs(model: Any) -> None:
    """Another ``else0``, before the true one: a dictionary of graphs has the last."""
    model.graph.add().CopyFrom(next(g for g in model.graph if g.name == "else0"))


def _two_ports(model: Any) -> None:
    add = next(op for op in model.graph[0].op if op.name == "Add_0")
    add.attr["_input_name_key"].list.s[1] = b"x1"


def _two_at_a_place(model: Any) -> None:
    add = next(op for op in model.graph[0].op if op.name == "Add_0")
    add.attr["_input_name_value"].list.i[1] = 0


def _two_indices(model: Any) -> None:
    for op in model.graph[0].op:
        if op.type == "Data":
            op.attr["index"].i = 0


def _input(text: str) -> Any:
    return lambda model: model.graph[0].op[-1].input.__setitem__(0, text)


def _undescribed(model: Any) -> None:
    next(op for op in model.graph[0].op if op.type == "Data").ClearField("input_desc")


def _nowhere(model: Any) -> None:
    next(op for op in model.graph[0].op if op.subgraph_name).subgraph_name[0] = "nowhere"


@pytest.mark.parametrize(
    ("name", "change", "text"),
    [
        ("min_py", _located(b"a\0b"), "does not fit"),
        ("min_py", _located(b"x" * 6000), "does not fit"),
        ("min_py", _located(b"loop"), "does not fit"),
        ("min_py", _located(b"."), "does not fit"),
        ("min_py", _located(b"away/file"), "from outside its folder"),
        ("min_py", _loop, "graphs contain themselves"),
        ("min_py", _many, "beyond all bounds"),
        ("min_py", _renamed, "is there 2 times"),
        ("min_py", _two_graphs, "graph 'else0' is there 2 times"),
        ("min_py", _two_ports, "the input 'x1' is there 2 times"),
        ("min_py", _two_at_a_place, "2 inputs have the position 0"),
        ("min_py", _two_indices, "2 Data have the index 0"),
        ("min_py", _input("nobody:0"), "no such operator"),
        ("min_py", _input("Data_0:7"), "it has 1 output"),
        ("min_py", _input("Data_0:²"), "has no index"),
        ("min_py", _input("Data_0:" + "9" * 5000), "has no index"),
        ("min_py", _undescribed, "not described"),
        ("min_py", _nowhere, "graph 'nowhere' is not in the model"),
        ("min_py", _plus, r"1 operator without a meaning.*\n  Plus \(2\), first '"),
        ("ctrl", _cycle, "has a cycle"),
        ("min_py", _cut, "'Const_0' of shape .*expected 48, found 3"),
        ("min_py", _huge, "does not fit its bytes"),
        ("min_py", _outside, "from outside its folder"),
        ("min_py", lambda model: model.ClearField("graph"), "it has no graph"),
    ],
)
def test_bad_files_are_refused(name: str, change: Any, text: str, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "loop").symlink_to("loop")
    (tmp_path / "in" / "away").symlink_to(tmp_path)
    (tmp_path / "file").write_bytes(bytes(10))
    with pytest.raises(AirError, match=text):
        load(_changed(tmp_path / "in", name, change))


def test_an_attribute_twice_is_refused(tmp_path: Path) -> None:
    """Protobuf keeps the last; GE, too."""
    once = ge_ir_pb2.ModelDef.FromString((SAMPLES / "sw_conv2d.air").read_bytes())
    (conv,) = (op for op in once.graph[0].op if op.type == "Conv2D")
    other = ge_ir_pb2.OpDef()
    other.attr["strides"].list.i[:] = [1, 1, 1, 1]
    twice = conv.SerializeToString() + other.SerializeToString()
    graph = ge_ir_pb2.GraphDef(name=once.graph[0].name)
    data = b"".join(
        _field(6, twice if op.type == "Conv2D" else op.SerializeToString())
        for op in once.graph[0].op
    )
    graph.output[:] = once.graph[0].output[:]
    path = tmp_path / "a.air"
    path.write_bytes(_field(7, graph.SerializeToString() + data))
    assert ge_ir_pb2.ModelDef.FromString(path.read_bytes()).graph[0].op  # protobuf says nothing
    with pytest.raises(AirError, match="attribute 'strides' is there twice"):
        load(path)


def _field(number: int, data: bytes) -> bytes:
    return bytes([number << 3 | 2]) + wire.varint(len(data)) + data


def test_arguments_with_gaps_are_numbered_as_they_come(tmp_path: Path) -> None:
    """As GE does: the indices 5 and 2 do not change the order."""

    def net(x: Any, y: Any) -> Any:
        return x - y

    x, y = np.float32([7]), np.float32([2])
    ms.export(net, x, y, file_name=tmp_path / "a", file_format="AIR")
    model = ge_ir_pb2.ModelDef.FromString((tmp_path / "a.air").read_bytes())
    for op, index in zip((o for o in model.graph[0].op if o.type == "Data"), (5, 2), strict=True):
        op.attr["index"].i = index
    (tmp_path / "a.air").write_bytes(model.SerializeToString())
    np.testing.assert_array_equal(load(tmp_path / "a.air")(x, y), [5])


@pytest.mark.parametrize("data", [b"", b"hello, this is no protobuf", bytes(range(256))])
def test_garbage_is_refused(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.air"
    path.write_bytes(data)
    with pytest.raises(AirError, match="no AIR file"):
        load(path)


def test_rules_of_the_user() -> None:
    net = load(SAMPLES / "ms_dense_w.air", rules={"Relu": lambda x: x * 0})
    assert not np.any(net(array(2, 3)))


def test_it_prints_as_its_graph() -> None:
    net = ms.load(SAMPLES / "sw_conv2d.air")
    assert isinstance(net, ms.AirFunction)
    lines = repr(net).splitlines()
    assert lines[0] == f"<AirFunction of {SAMPLES / 'sw_conv2d.air'}"
    assert any("= Conv2D(%0, %1" in line and "strides=[1, 1, 2, 2]" in line for line in lines)
    assert lines[-2:] == ["  return %2", ">"]
    assert "Conv2D(%0, %1" in net._repr_html_()


def test_bodies_print_below_their_operator() -> None:
    text = repr(ms.load(SAMPLES / "ctrl.air"))
    assert "StatelessIf" in text or "If(" in text
    assert text.count("return") > 1


def test_load_refuses_what_it_cannot_read(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="onnxruntime"):
        ms.load(tmp_path / "a.onnx")
    with pytest.raises(ValueError, match="AIR has no cipher"):
        ms.load(SAMPLES / "mlp.air", dec_key=bytes(16))
