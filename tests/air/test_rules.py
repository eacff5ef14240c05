"""AIR by GE's own rules: dtypes of products, dynamic sizes, descriptions that say what is there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import msckpt_jax as ms
from msckpt_jax.air import adapt, check, file
from msckpt_jax.air.attributes import unheeded
from msckpt_jax.air.described import dtype_name
from msckpt_jax.air.dtype_table import table
from msckpt_jax.air.meaning import MEANINGS
from msckpt_jax.air.prototypes import prototypes
from msckpt_jax.air.results import UnfitError, results
from msckpt_jax.air.target import open_model
from msckpt_jax.dtypes import BY_NAME
from msckpt_jax.errors import AirError, ExportError
from msckpt_jax.graph.graph import Graph, Node
from msckpt_jax.graph.values import Const, Size, Tensor, Value
from tests.oracle.test_mindir_dynamic import CASES as DYNAMIC

SAMPLES = Path(__file__).parent / "data"
_RANDOM = np.random.default_rng(0)


def _numbers(*shape: int, dtype: Any) -> np.ndarray:
    return _RANDOM.integers(-100, 100, shape).astype(dtype)


def _exported(path: Path, function: Any, *inputs: Any, tolerance: float = 0, **how: Any) -> Any:
    """The operators of the file of a function, which gives JAX's numbers."""
    out = ms.export(function, *inputs, file_name=path / "a", file_format="AIR", verify=True, **how)
    assert out.difference is not None
    assert out.difference <= tolerance
    return [op for graph in file.read(out.file).graph for op in graph.op]


def _types(ops: Any, kind: str) -> list[tuple[list[str], list[str]]]:
    """The dtypes that each operator of a kind takes and gives."""
    return [
        ([dtype_name(d.dtype) for d in op.input_desc if d.dtype],
         [dtype_name(d.dtype) for d in op.output_desc])
        for op in ops if op.type == kind
    ]  # fmt: skip


# Products.


def test_int8_products_are_int32_in_ge(tmp_path: Path) -> None:
    """-80 in JAX, which GE gave as 1200: the description said int8, where GE computes int32."""
    x, y = np.full((1, 3), 20, np.int8), np.full((3, 1), 20, np.int8)
    assert int((jnp.asarray(x) @ jnp.asarray(y))[0, 0]) == -80
    ops = _exported(tmp_path, lambda x, y: x @ y, x, y)
    assert _types(ops, "MatMulV2") == [(["int8", "int8"], ["int32"])]
    assert _types(ops, "Cast") == [(["int32"], ["int8"])]
    np.testing.assert_array_equal(open_model(tmp_path / "a.air")(x, y), [[-80]])


def _dot(x: Any, y: Any) -> Any:
    return lax.dot(x, y, preferred_element_type=jnp.int32)


def _conv(x: Any, y: Any) -> Any:
    return lax.conv_general_dilated(
        x, y, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"),
        preferred_element_type=jnp.int32,
    )  # fmt: skip


_LEFT, _RIGHT = _numbers(4, 5, dtype=np.int8), _numbers(5, 3, dtype=np.int8)
_IMAGE, _KERNEL = _numbers(1, 6, 6, 3, dtype=np.int8), _numbers(3, 3, 3, 4, dtype=np.int8)


@pytest.mark.parametrize(
    ("kind", "function", "inputs"),
    [
        ("MatMulV2", _dot, (_LEFT, _RIGHT)),
        ("MatMulV2", lambda x: _dot(x, _RIGHT), (_LEFT,)),
        ("MatMulV2", (lambda p, x: _dot(x, p["w"]), {"w": jnp.asarray(_RIGHT)}), (_LEFT,)),
        ("BatchMatMulV2", jax.vmap(_dot), (_LEFT[None], _RIGHT[None])),
        ("Conv2D", _conv, (_IMAGE, _KERNEL)),
        ("Conv2D", lambda x: _conv(x, _KERNEL), (_IMAGE,)),
    ],
)
def test_int8_with_int32_results_is_ges_operator(
    kind: str, function: Any, inputs: Any, tmp_path: Path
) -> None:
    """Not a Cast and an operator of int32; what the casts needed is not in the file either."""
    ops = _exported(tmp_path, function, *inputs)
    assert _types(ops, kind) == [(["int8", "int8"], ["int32"])]
    assert _types(ops, "Cast") == []
    names = {text.rpartition(":")[0] for op in ops for text in op.input}
    assert all(op.name in names or op.type in ("NetOutput", "Data") for op in ops)
    assert [op.id for op in ops] == list(range(len(ops)))


def test_int32_beyond_int8_stays_int32(tmp_path: Path) -> None:
    ops = _exported(tmp_path, lambda x: lax.dot(x.astype(np.int32), np.full((5, 1), 300)), _LEFT)
    assert _types(ops, "MatMulV2") == [(["int32", "int32"], ["int32"])]


_ALL = ("bool", "uint8", "int16", "uint16", "uint32", "int32", "int64", "uint64", "float64",
        "complex64", "complex128")  # fmt: skip


@pytest.mark.parametrize("dtype", _ALL)
def test_products_of_dtypes_that_ge_lacks(dtype: str, tmp_path: Path) -> None:
    """All that GE's functions refuse, computed in another dtype or by multiplications and sums."""
    x, y = _numbers(2, 4, 5, dtype=dtype), _numbers(2, 5, 3, dtype=dtype)

    def net(x: Any, y: Any) -> Any:
        return x @ y, x[0] @ y[0]

    with jax.enable_x64(True):
        ops = _exported(tmp_path, net, x, y)
    taken = {"MatMulV2": table()["MatMulV2"], "BatchMatMul": table()["BatchMatMul"]}
    for kind, known in taken.items():
        for inputs, _ in _types(ops, kind):
            assert set(inputs) <= known.sets["x1"]


@pytest.mark.parametrize("dtype", ["uint8", "int32", "float64"])
def test_convolutions_of_dtypes_that_ge_lacks(dtype: str, tmp_path: Path) -> None:
    x, kernel = _numbers(2, 4, 7, 6, dtype=dtype), _numbers(6, 2, 3, 2, dtype=dtype)

    def net(x: Any, kernel: Any) -> Any:
        return lax.conv_general_dilated(
            x, kernel, (2, 1), ((1, 2), (0, 1)), rhs_dilation=(1, 2), feature_group_count=2
        )

    with jax.enable_x64(True):
        ops = _exported(tmp_path, net, x, kernel)
    assert _types(ops, "Conv2D") == []


def test_products_too_large_to_be_summed(tmp_path: Path) -> None:
    x = jax.ShapeDtypeStruct((2000, 2000), jnp.float64)
    with jax.enable_x64(True):
        how: Any = {"file_name": tmp_path / "a", "file_format": "AIR"}
        with pytest.raises(ExportError, match=r"test_rules.py.*8,000,000,000 elements.*narrow="):
            ms.export(lambda x: x @ x, x, **how)
        assert not list(tmp_path.iterdir())
        ms.export(lambda x: x @ x, x, narrow=True, **how)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "uint64"])
def test_products_of_unsigned_numbers(dtype: str, tmp_path: Path) -> None:
    """GE refuses Mul of uint32 and uint64; the low bits are those of int32 and int64."""
    largest = np.iinfo(dtype).max
    x = np.array([0, 1, 3, largest, largest // 2 + 1, largest // 3], dtype)

    def net(x: Any) -> Any:
        return x * x[::-1], x**3, jnp.power(x, x % 7), jnp.prod(x)

    with jax.enable_x64(True):
        ops = _exported(tmp_path, net, x)
    for kind in ("Mul", "Pow"):
        for inputs, _ in _types(ops, kind):
            assert set(inputs) <= table()[kind].sets["x1"]


def test_what_narrow_would_lose_is_refused(tmp_path: Path) -> None:
    """uint64 is multiplied as int64, which narrow=True makes int32."""
    x = np.array([2**40], np.uint64)
    with jax.enable_x64(True), pytest.raises(ExportError, match=r"Mul of uint64 .* narrow=True"):
        ms.export(lambda x: x * x, x, file_name=tmp_path / "a", file_format="AIR", narrow=True)


@pytest.mark.parametrize("vectors", [False, True])
def test_singular_values_of_complex_matrices(vectors: bool, tmp_path: Path) -> None:
    x = (_numbers(4, 3, dtype=np.float32) + 1j * _numbers(4, 3, dtype=np.float32)).astype("c8")

    def net(x: Any) -> Any:
        out = jnp.linalg.svd(x, full_matrices=False, compute_uv=vectors)
        return out[1] if vectors else out

    ms.export(net, x, file_name=tmp_path / "a", file_format="AIR", verify=True)
    (types,) = _types(file.read(tmp_path / "a.air").graph[0].op, "Svd")
    assert types == (["complex64"], ["complex64"] * 3)


def test_batch_norms_last_result(tmp_path: Path) -> None:
    kind, vector = Tensor(np.dtype(np.float32), (1, 2, 3, 3)), Tensor(np.dtype(np.float32), (2,))
    x, *rest = (Value(type_) for type_ in (kind, *[vector] * 4))
    constants = (Const(False), Const(1e-5), Const(0.1), Const("NCHW"))
    outputs = (Value(kind), *(Value(vector) for _ in "abcd"))
    node = Node("BatchNorm", (x, *rest, *constants), outputs)
    model = adapt.adapt(Graph("main", [x, *rest], [node], [outputs[0]])).model
    assert check.check(model) == []
    (op,) = (op for op in model.graph[0].op if op.type == "BatchNorm")
    assert list(op.output_desc[5].shape.dim) == [1]


# The table.

_NUMPY = {"float": "Float32", "double": "Float64", "bf16": "BFloat16"}


def _named(name: str) -> np.dtype | None:
    row = BY_NAME.get(_NUMPY.get(name, name.capitalize().replace("Uint", "UInt")))
    return None if row is None else row.array


_ELEMENTWISE = [
    name
    for name, known in table().items()
    if name in MEANINGS and name != "Range" and known.rules[0] and len(known.rules) == 1
    and not any(port.dynamic for port in prototypes()[name].inputs)
    and all(a.default is not None for a in prototypes()[name].attributes.values())
    and len({known.sets.get(port.name) for port in prototypes()[name].inputs}) == 1
]  # fmt: skip
#: GE's own functions give these although no number of the kind can be meant.
_GES_OWN = {("Abs", "complex128")}


@pytest.mark.parametrize("name", _ELEMENTWISE)
def test_meanings_give_ges_dtypes(name: str) -> None:
    """Of each dtype that the operator takes, as CANN's functions gave it when they were called."""
    known, ports = table()[name], prototypes()[name].inputs
    attributes = {k: a.value for k, a in prototypes()[name].attributes.items()}
    compared = 0
    for dtype in sorted(known.sets[ports[0].name]):
        array, rule = _named(dtype), known.rules[0]
        if array is None or (name, dtype) in _GES_OWN:
            continue
        with jax.enable_x64(True):
            try:
                found = results(name, [Tensor(array, (2, 2))] * len(ports), attributes)
            except UnfitError:
                continue  # JAX has no such function of this dtype
        if found is None:
            assert array.kind in "iu"  # of these GE gives integers, by no rule that is known
            continue
        assert rule is not None
        assert found[0].dtype == _named(rule({ports[0].name: dtype}) or ""), dtype
        compared += 1
    assert compared


def test_the_table() -> None:
    assert _ELEMENTWISE[:3] == ["Abs", "Acos", "Acosh"]
    assert len(_ELEMENTWISE) >= 39
    rule = table()["Log"].rules[0]
    assert rule is not None
    assert [rule({"x": d}) for d in ("int8", "float16", "bool")] == ["float", "float16", "float"]
    assert table()["Mul"].enforced
    assert "uint32" not in table()["Mul"].sets["x1"]


def test_kernels_that_decide_by_code_take_what_the_prototype_lists(tmp_path: Path) -> None:
    """910B's Add leaves its dtypes to its code, which counted as any."""
    x = np.ones(3, np.uint16)
    note, _ = ms.export(lambda x, y: x + y, x, x, file_name=tmp_path / "a", file_format="AIR",
                        soc="Ascend910B").notes  # fmt: skip
    assert "only the CPU (aicpu) of ascend910b takes {'x1': 'uint16'" in note


# Descriptions.


def _net(x: Any, w: Any, i: Any) -> Any:
    y = jnp.tanh(x @ w).reshape(2, 3, 2).transpose(1, 0, 2)
    y = lax.cond(y.sum() > 0, lambda v: v.sum(1), lambda v: v.max(1), y)
    z = lax.fori_loop(0, 3, lambda k, v: jnp.concatenate([v[1:], v[:1]]) + k, y)
    return z[i], jnp.pad(z, 1), jnp.argmax(z, 1), jnp.cumsum(z, 0), (z > 0).astype(np.int32)


_FILE: list[bytes] = []


def _model(tmp_path: Path) -> Any:
    if not _FILE:
        inputs = np.ones((2, 4), np.float32), np.ones((4, 6), np.float32), np.int32([0, 2])
        out = ms.export(_net, *inputs, file_name=tmp_path / "a", file_format="AIR")
        _FILE.append(out.file.read_bytes())
    (tmp_path / "a.air").write_bytes(_FILE[0])
    return file.read(tmp_path / "a.air")


def _wrong_size(described: Any) -> None:
    if described.shape.dim:
        described.shape.dim[0] += 1
    else:
        described.shape.dim.append(3)


def _wrong_dtype(described: Any) -> None:
    described.dtype = 1 if described.dtype != 1 else 2


def _wrong_rank(described: Any) -> None:
    described.shape.dim.append(1)


@pytest.mark.parametrize("damage", [_wrong_size, _wrong_dtype, _wrong_rank])
def test_every_wrong_description_is_found(damage: Callable[[Any], Any], tmp_path: Path) -> None:
    """Of every result of every operator, but for arguments, in all graphs of a file."""
    model = _model(tmp_path)
    assert [str(finding) for finding in check.check(model)] == []
    places = [(g, o, k) for g, graph in enumerate(model.graph) for o, op in enumerate(graph.op)
              if op.type != "Data" for k in range(len(op.output_desc))]  # fmt: skip
    assert len(places) > 50
    for g, o, k in places:
        op = model.graph[g].op[o]
        before = op.output_desc[k].SerializeToString()
        damage(op.output_desc[k])
        faults = [finding for finding in check.check(model) if finding.fault or op.type == "Const"]
        assert faults, (op.type, op.name)
        op.output_desc[k].ParseFromString(before)


@pytest.mark.parametrize("axis", [77, -9])
def test_every_bad_axis_is_found(axis: int, tmp_path: Path) -> None:
    model = _model(tmp_path)
    ports = ("axes", "axis", "concat_dim", "perm", "dimension")
    seen = set()
    for graph in model.graph:
        by_name = {op.name: op for op in graph.op}
        for op in graph.op:
            names = [key.decode() for key in op.attr["_input_name_key"].list.s]
            for name, text in zip(names, op.input, strict=False):
                constant = by_name.get(text.rpartition(":")[0])
                if name not in ports or constant is None or constant.type != "Const":
                    continue
                tensor = constant.attr["value"].t
                before = tensor.data
                size = {7: 4, 8: 8}[tensor.desc.dtype]
                tensor.data = axis.to_bytes(size, "little", signed=True) + before[size:]
                faults = [str(finding) for finding in check.check(model) if finding.fault]
                assert any((f"({op.type})" in text and "axis" in text) or "permutation" in text
                           for text in faults), (op.type, faults)  # fmt: skip
                tensor.data = before
                seen.add(op.type)
    assert seen >= {"Transpose", "ReduceSum", "ReduceMax", "ConcatV2", "ArgMaxV2", "Cumsum"}


def test_an_axis_that_is_not_there_is_not_run(tmp_path: Path) -> None:
    """Axes were taken modulo the rank: ReduceSum over axis 77 gave numbers."""
    x = np.ones((2, 3), np.float32)
    ms.export(lambda x: x.sum(1), x, file_name=tmp_path / "a", file_format="AIR")
    model = file.read(tmp_path / "a.air")
    (constant,) = (op for op in model.graph[0].op if op.type == "Const")
    constant.attr["value"].t.data = np.array([77], np.int64).tobytes()
    (tmp_path / "a.air").write_bytes(model.SerializeToString())
    with pytest.raises(ValueError, match="axis 77 of a tensor of rank 2; GE takes -2 to 1"):
        open_model(tmp_path / "a.air")(x)


def test_swapped_inputs_are_found(tmp_path: Path) -> None:
    """Of each operator whose inputs differ in dtype, and do not all have a constant's place."""
    model = _model(tmp_path)
    found = 0
    for graph in model.graph:
        for op in graph.op:
            kinds = [(d.dtype, list(d.shape.dim)) for d in op.input_desc]
            if op.type in ("NetOutput", "While", "If") or len(kinds) < 2 or kinds[0] == kinds[1]:
                continue
            if kinds[0][0] == kinds[1][0] and not (kinds[0][1] and kinds[1][1]):
                continue  # a number and a tensor, which broadcast either way
            before = op.SerializeToString()
            op.input[0], op.input[1] = op.input[1], op.input[0]
            assert any(f.fault for f in check.check(model)), op.type
            op.ParseFromString(before)
            found += 1
    assert found > 10


@pytest.mark.parametrize("number", [3, 10**12])
def test_another_number_of_parts_is_found(number: int, tmp_path: Path) -> None:
    """Before anything is split, whatever the number."""
    kind = Tensor(np.dtype(np.float32), (4, 2))
    x, *outputs = Value(kind, "x"), *(Value(Tensor(kind.dtype, (2, 2))) for _ in "ab")
    node = Node("Split", (x, Const(0), Const(2)), tuple(outputs))
    model = adapt.adapt(Graph("main", [x], [node], list(outputs))).model
    assert check.check(model) == []
    (split,) = (op for op in model.graph[0].op if op.type == "Split")
    split.attr["num_split"].i = number
    (finding,) = check.check(model)
    assert f"gives {number} parts, there are 2 outputs" in finding.problem


def test_bodies_that_give_something_else(tmp_path: Path) -> None:
    model = _model(tmp_path)
    (branch,) = (op for op in model.graph[0].op if op.type == "If")
    branch.output_desc[0].shape.dim[:] = [3, 5]
    texts = [str(finding) for finding in check.check(model)]
    assert any("result 0 is float[3, 2], the operator has float[3, 5]" in text for text in texts)


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        ("MaxPool3D", "dilation", [1, 1, 2, 2, 2]),
        ("Range", "is_closed", True),
        ("Conv2D", "offset_x", 3),
        ("Reshape", "axis", 1),
        ("GatherV2", "negative_index_support", True),
        ("ReduceSum", "an attribute of the future", 1),
    ],
)
def test_attributes_that_no_meaning_honours(
    kind: str, name: str, value: Any, tmp_path: Path
) -> None:
    """They were left aside, and other numbers computed."""
    tensor = Tensor(np.dtype(np.float32), (1, 1, 4, 4))
    inputs: dict[str, Any] = {
        "MaxPool3D": [Tensor(tensor.dtype, (1, 1, 4, 4, 4))],
        "Conv2D": [tensor, tensor, None, None],
        "Range": [np.array(n, np.int32) for n in (0, 4, 1)],
        "Reshape": [tensor, np.array([16], np.int64)],
        "GatherV2": [tensor, np.array([0]), np.array(0)],
        "ReduceSum": [tensor, np.array([0])],
    }
    given = {"ksize": [1, 1, 2, 2, 2], "strides": [1] * (5 if kind == "MaxPool3D" else 4),
             "padding": "VALID", "pads": [0] * 4, "data_format": "NCHW"}  # fmt: skip
    if kind == "MaxPool3D":
        given |= {"data_format": "NCDHW", "pads": [0] * 6}
    attributes = {
        k: given.get(k, None if a.default is None else a.value)
        for k, a in prototypes()[kind].attributes.items()
    }
    assert unheeded(kind, attributes) == {}
    assert results(kind, inputs[kind], attributes) is not None
    attributes[name] = value
    refused = unheeded(kind, attributes) == {name: value}
    assert refused or results(kind, inputs[kind], attributes) is None


def test_an_attribute_that_is_not_run_is_refused_when_loaded(tmp_path: Path) -> None:
    ms.export(_conv, _IMAGE, _KERNEL, file_name=tmp_path / "a", file_format="AIR")
    model = file.read(tmp_path / "a.air")
    (conv,) = (op for op in model.graph[0].op if op.type == "Conv2D")
    conv.attr["offset_x"].i = 3
    (tmp_path / "a.air").write_bytes(model.SerializeToString())
    with pytest.raises(AirError, match=r"Conv2D_0': it has offset_x=3, which is not run in JAX"):
        ms.load(tmp_path / "a.air")
    assert any("offset_x=3" in finding.problem for finding in check.check(model))
    net = ms.load(tmp_path / "a.air", rules={"Conv2D": lambda x, w, *, offset_x: x[:, :1] * 0})
    assert net(_IMAGE, _KERNEL).shape == (1, 6, 6, 1)


def test_attributes_that_are_honoured() -> None:
    x = jnp.float16([1, 2])
    assert MEANINGS["SoftmaxV2"](x, axes=[-1], half_to_float=True).dtype == np.float32
    empty, matrix = np.array([], np.int64), jnp.float32([[1, 3], [5, 7]])
    mean = MEANINGS["ReduceMean"]
    assert float(mean(matrix, empty, keep_dims=False, noop_with_empty_axes=False)) == 4
    kept = mean(matrix, empty, keep_dims=False, noop_with_empty_axes=True)
    np.testing.assert_array_equal(kept, matrix)


def test_select_takes_rows_by_a_vector() -> None:
    """A vector chooses rows; broadcasting would choose columns."""
    x, y = jnp.zeros((2, 2)), jnp.ones((2, 2))
    chosen = MEANINGS["Select"](np.array([True, False]), x, y)
    np.testing.assert_array_equal(chosen, [[0, 0], [1, 1]])


# Dynamic sizes.


@pytest.mark.parametrize(
    "name",
    ["class token", "embedding", "last", "rolled", "scatter", "upsampled"],
)
def test_dynamic_sizes_by_operators_that_ge_infers(name: str, tmp_path: Path) -> None:
    """No BroadcastTo, Fill, Tile or StridedSlice of computed sizes, and no join of one piece."""
    case = DYNAMIC[name]
    inputs = [jax.ShapeDtypeStruct(shape, jnp.dtype(case.dtype)) for shape in case.shapes]
    out = ms.export(case.function, *inputs, file_name=tmp_path / "a", file_format="AIR",
                    verify=True)  # fmt: skip
    graphs = file.read(out.file).graph
    for graph in graphs:
        constants = {op.name for op in graph.op if op.type == "Const"}
        for op in graph.op:
            sources = [text.rpartition(":")[0] for text in op.input]
            if op.type in ("BroadcastTo", "Fill", "Tile", "StridedSlice"):
                assert set(sources[:1] if op.type == "Fill" else sources[1:]) <= constants
            if op.type == "ConcatV2":
                assert len(sources) > 2


def test_a_join_along_a_dynamic_axis_is_told(tmp_path: Path) -> None:
    """A cache that grows: GE's open function makes 0 of the sizes -1 and 1."""
    cache = jax.ShapeDtypeStruct((2, "t", 4), jnp.float32)
    out = ms.export(lambda c, x: jnp.concatenate([c, x], 1), cache, np.ones((2, 1, 4), np.float32),
                    file_name=tmp_path / "a", file_format="AIR")  # fmt: skip
    note, _ = out.notes
    assert "joins along axis 1, whose size is dynamic" in note
    assert "keep this size static" in note


@pytest.mark.parametrize("times", [(1, 3), (2, 1), (2, 3), (1, 1)])
def test_tiles_of_dynamic_sizes(times: tuple[int, int], tmp_path: Path) -> None:
    kind = np.dtype(np.float32)
    x, out = Value(Tensor(kind, ("b", 2)), "x"), Value(Tensor(kind, ("c", 2 * times[1])))
    net = _adapted(tmp_path, Graph("main", [x], [Node("Tile", (x, Const(times)), (out,))], [out]))
    value = np.arange(6, dtype=np.float32).reshape(3, 2)
    np.testing.assert_array_equal(net(value), np.tile(value, times))


def test_a_fill_of_a_dynamic_size(tmp_path: Path) -> None:
    x, out = Value(Tensor(np.dtype(bool), ("b", 2)), "x"), Value(Tensor(np.dtype("f4"), (3, "b")))
    sizes = (Const(3), Size(x, 0))
    node = Node("FillScalar", (sizes, Const(np.array(1.5, np.float32))), (out,))
    net = _adapted(tmp_path, Graph("main", [x], [node], [out]))
    np.testing.assert_array_equal(net(np.ones((4, 2), bool)), np.full((3, 4), 1.5, np.float32))


def test_a_join_of_one_piece_is_the_piece(tmp_path: Path) -> None:
    x, out = (Value(Tensor(np.dtype(np.float32), (2, 3)), name) for name in ("x", ""))
    graph = Graph("main", [x], [Node("Concat", ((x,), Const(0)), (out,))], [out])
    model = adapt.adapt(graph).model
    assert [op.type for op in model.graph[0].op] == ["Data", "NetOutput"]


def _adapted(tmp_path: Path, graph: Graph) -> Any:
    model = adapt.adapt(graph).model
    assert check.check(model) == []
    (tmp_path / "a.air").write_bytes(model.SerializeToString())
    return open_model(tmp_path / "a.air", strict=True)
