"""The check of AIR files: silent on what GE and MindSpore wrote, finds planted faults."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import msckpt_jax as ms
from msckpt_jax._protos import ge_ir_pb2
from msckpt_jax.air.check import check
from msckpt_jax.air.chips import CHIPS, TABLES, named
from msckpt_jax.air.prototypes import kernels, prototypes
from msckpt_jax.air.rows import ROWS
from msckpt_jax.cli import main

SAMPLES = Path(__file__).parent / "data"


def model(name: str) -> Any:
    return ge_ir_pb2.ModelDef.FromString((SAMPLES / f"{name}.air").read_bytes())


def operator(found: Any, name: str) -> Any:
    return next(op for graph in found.graph for op in graph.op if op.name == name)


@pytest.mark.parametrize(
    "name",
    # ms_ and sw_: MindSpore's converter; ctrl and conv: GE's C++ API; min_py: by hand, and loaded
    ["ctrl", "conv", "min_py", "ms_dense_w", "sw_concat", "sw_conv2d", "sw_gather"],
)
def test_nothing_is_found_in_files_that_ge_loads(name: str) -> None:
    assert check(model(name)) == []


def test_what_ges_infer_shape_refuses_is_found() -> None:
    (finding,) = check(model("mlp"))
    assert finding.fault
    assert "operator 'cat' (ConcatV2)" in finding.where
    assert "not in the prototype's order" in finding.problem


def _rename(found: Any) -> None:
    operator(found, "Add_0").name = "MatMulV2_0"


def _drop_value_type(found: Any) -> None:
    operator(found, "conv").attr["strides"].list.val_type = 0


def _drop_attribute(found: Any) -> None:
    del operator(found, "conv").attr["strides"]


def _cut_constant(found: Any) -> None:
    tensor = operator(found, "Const_0").attr["value"].t
    tensor.data = tensor.data[:-1]


def _change_dtype(found: Any) -> None:
    operator(found, "Add_0").output_desc[0].dtype = (
        ge_ir_pb2.DESCRIPTOR.enum_types_by_name["DataType"].values_by_name["DT_BOOL"].number
    )


def _swap(found: Any) -> None:
    names = operator(found, "MatMulV2_0").attr["_input_name_value"].list.i
    names[0], names[1] = names[1], names[0]


def _assign(found: Any) -> None:
    add = operator(found, "Add_0")
    add.type = "AssignAdd"
    add.input[:] = ["Const_1:0", "MatMulV2_0:0"]
    add.attr["_input_name_key"].list.s[:] = [b"ref", b"value"]


FAULTS: dict[str, tuple[str, Callable[[Any], Any], str]] = {
    "no graph": ("min_py", lambda m: m.ClearField("graph"), "has no graph"),
    "two graphs of a name": (
        "min_py",
        lambda m: setattr(m.graph[1], "name", "else0"),
        "'else0' is there 2 times",
    ),
    "empty graph": ("min_py", lambda m: m.graph[1].ClearField("op"), "has no operator"),
    "two operators of a name": ("min_py", _rename, "'MatMulV2_0' is there 2 times"),
    "a cycle": (
        "min_py",
        lambda m: operator(m, "Add_0").input.__setitem__(0, "Add_0:0"),
        "has a cycle: Add_0 -> Add_0",
    ),
    "unknown source": (
        "min_py",
        lambda m: operator(m, "Add_0").input.__setitem__(0, "nobody:0"),
        "input 'nobody:0': no such operator",
    ),
    "source without index": (
        "min_py",
        lambda m: operator(m, "Add_0").input.__setitem__(0, "MatMulV2_0"),
        "has no index",
    ),
    "output that is not there": (
        "min_py",
        lambda m: operator(m, "Add_0").input.__setitem__(0, "MatMulV2_0:1"),
        "it has 1 output",
    ),
    "more inputs than descriptions": (
        "min_py",
        lambda m: operator(m, "Add_0").input.append("Const_1:0"),
        "3 data inputs, 2 described",
    ),
    "a result that is not there": (
        "min_py",
        lambda m: m.graph[0].output.append("nobody:0"),
        "output 'nobody:0': no such operator",
    ),
    "a result given twice": (
        "min_py",
        lambda m: m.graph[0].output.append("Cast_0:0"),
        "gives a value twice",
    ),
    "two NetOutputs": (
        "conv",
        lambda m: m.graph[0].op.add(name="b", type="NetOutput"),
        "2 NetOutput",
    ),
    "numbering of a branch's arguments": (
        "min_py",
        lambda m: m.graph[1].op[0].attr["index"].__setattr__("i", 1),
        "indices of its Data are [1]",
    ),
    "unknown operator": (
        "min_py",
        lambda m: setattr(operator(m, "Add_0"), "type", "Plus"),
        "no such operator",
    ),
    "an index that is no number": (
        "min_py",
        lambda m: operator(m, "Add_0").input.__setitem__(0, "MatMulV2_0:²"),
        "has no index",
    ),
    "an index with two signs": (
        "min_py",
        lambda m: operator(m, "Add_0").input.__setitem__(0, "MatMulV2_0:--1"),
        "has no index",
    ),
    "a result without a number": (
        "min_py",
        lambda m: m.graph[0].output.append("Cast_0:²"),
        "no such operator",
    ),
    "a graph in itself": (
        "min_py",
        lambda m: operator(m, "If_0").subgraph_name.__setitem__(0, m.graph[0].name),
        "graphs contain themselves",
    ),
    "an argument without a value": (
        "min_py",
        lambda m: operator(m, "Data_0").ClearField("output_desc"),
        "its value is not described",
    ),
    "no type": ("min_py", lambda m: setattr(operator(m, "Add_0"), "type", ""), "no type"),
    "an impossible dim": (
        "min_py",
        lambda m: operator(m, "Add_0").output_desc[0].shape.dim.__setitem__(0, -3),
        "shape [-3, 4]",
    ),
    "a required input": (
        "min_py",
        lambda m: operator(m, "Add_0").input.__setitem__(1, ""),
        "'x2' is not connected",
    ),
    "inputs in another order": ("min_py", _swap, "not in the prototype's order"),
    "a name without position": (
        "min_py",
        lambda m: operator(m, "Add_0").attr["_input_name_value"].list.i.pop(),
        "2 names of inputs, 1 position",
    ),
    "positions without names": (
        "min_py",
        lambda m: operator(m, "Add_0").attr.pop("_input_name_key"),
        "0 names of inputs, 2 positions",
    ),
    "positions of results": (
        "conv",
        lambda m: operator(m, "Node_Output").attr["_input_name_value"].list.i.__setitem__(0, 9),
        "positions [9], of 1 input",
    ),
    "an output without index that is not there": (
        "conv",
        lambda m: m.graph[0].output.append("Node_Output"),
        "it has 0 outputs",
    ),
    "an input of another operator": (
        "min_py",
        lambda m: operator(m, "Add_0").attr["_input_name_key"].list.s.__setitem__(1, b"y"),
        "inputs ['y'] are not in the prototype",
    ),
    "an output too many": (
        "min_py",
        lambda m: operator(m, "Add_0").output_desc.add(),
        "2 outputs, the prototype has 1",
    ),
    "a list without value type": ("conv", _drop_value_type, "GE drops the attribute 'strides'"),
    "a required attribute": ("conv", _drop_attribute, "'strides' (ListInt) is missing"),
    "an attribute of another type": (
        "conv",
        lambda m: operator(m, "conv").attr["groups"].__setattr__("f", 1.0),
        "'groups' is Float, expected Int",
    ),
    "a branch that is not there": (
        "min_py",
        lambda m: operator(m, "If_0").subgraph_name.__setitem__(0, "nowhere"),
        "graph 'nowhere' is not in the model",
    ),
    "a branch too few": (
        "min_py",
        lambda m: operator(m, "If_0").subgraph_name.pop(),
        "1 graph of its own",
    ),
    "inputs without descriptions": (
        "conv",
        lambda m: operator(m, "conv").input_desc.__delitem__(slice(None)),
        "input 'x' is not described",
    ),
    "a constant cut short": ("min_py", _cut_constant, "needs 48 bytes, found 47"),
    "a constant without value": (
        "min_py",
        lambda m: operator(m, "Const_0").attr["value"].__setattr__("i", 1),
        "'value' is no tensor",
    ),
    "an argument that is not described": (
        "min_py",
        lambda m: operator(m, "Data_0").ClearField("input_desc"),
        "not described",
    ),
    "another dtype than its source": ("min_py", _change_dtype, "its source gives bool"),
    "a constant changed in place": ("min_py", _assign, "changes its input 'ref' in place"),
}


@pytest.mark.parametrize(("name", "plant", "text"), FAULTS.values(), ids=FAULTS)
def test_planted_faults_are_found(name: str, plant: Callable[[Any], Any], text: str) -> None:
    found = model(name)
    plant(found)
    faults = [finding for finding in check(found) if finding.fault]
    assert any(text in finding.problem for finding in faults), faults


def test_kernels_of_a_chip_are_compared() -> None:
    found = check(model("sw_concat"), soc="Ascend910B")
    assert [finding.problem for finding in found if finding.fault] == [
        "no kernel on ascend910b takes {'concat_dim': 'int64', 'x': 'float'} "
        "and gives {'y': 'float'}"
    ]
    assert any("only the CPU (tf_aicpu)" in finding.problem for finding in found)


def test_results_that_a_chip_lacks(tmp_path: Path) -> None:
    """The cores of the 310P cast to few dtypes; of what they take nothing is missing."""
    x = np.ones(3, np.float32)
    done = ms.export(lambda x: x.astype("uint32"), x, file_name=tmp_path / "a",
                     file_format="AIR", soc="Ascend310P")  # fmt: skip
    note, _ = done.notes
    assert "only the CPU (aicpu, tf_aicpu) of ascend310p takes" in note
    assert "and gives {'y': 'uint32'}" in note


def test_ports_of_kernels_have_the_names_of_the_prototypes() -> None:
    for name in {kind for row in ROWS.values() for kind in row.operators}:
        prototype = prototypes()[name]
        known = {port.name for port in prototype.inputs}
        known |= {f">{port.name}" for port in prototype.outputs}
        for engine, ports in kernels().get(name, {}).items():
            extra = ports.keys() - known
            assert not extra or (name == "AvgPool" and extra == {"filter", "bias"}), (name, engine)


def test_tables() -> None:
    assert len(prototypes()) == 1641
    conv = prototypes()["Conv2D"]
    assert [(port.name, port.optional) for port in conv.inputs] == [
        ("x", False),
        ("filter", False),
        ("bias", True),
        ("offset_w", True),
    ]
    assert conv.attributes["strides"].default is None
    assert conv.attributes["data_format"] == ("data_format", "String", '"NHWC"')
    assert "bf16" in kernels()["Abs"]["ascend910b"]["x"]
    assert {engine for engines in kernels().values() for engine in engines} >= set(TABLES)


@pytest.mark.parametrize(
    ("name", "version", "table"),
    [
        ("Ascend910B", "Ascend910B1", "ascend910b"),
        ("ascend910b4-1", "Ascend910B4-1", "ascend910b"),
        ("Ascend310P3Vir04", "Ascend310P3Vir04", "ascend310p"),
        ("Ascend910", "Ascend910A", "ascend910"),
        ("Ascend910ProA", "Ascend910ProA", "ascend910"),
        ("Ascend910_93", "Ascend910_9391", None),
        ("Ascend310", "Ascend310", None),
        ("Ascend310B4", "Ascend310B4", None),
        ("Ascend950PR", "Ascend950PR", None),
    ],
)
def test_chips(name: str, version: str, table: str | None) -> None:
    chip = named(name)
    assert (chip.version, chip.kernels) == (version, table)
    notes = [finding for finding in check(model("min_py"), soc=name) if "table" in finding.problem]
    expected = [] if table else [
        f"note: model: no kernel table for {version}: operators were not compared"
    ]  # fmt: skip
    assert [str(note) for note in notes] == expected


def test_a_chip_that_is_misspelt() -> None:
    assert all(chip.near is None for chip in CHIPS.values())
    (note,) = check(model("min_py"), soc="Ascend910Bl")
    assert not note.fault
    assert note.problem.endswith("operators were not compared; did you mean Ascend910B1?")


def test_command_line(tmp_path: Path, capsys: Any) -> None:
    assert main(["verify", str(SAMPLES / "min_py.air")]) == 0
    assert "27 operators, 0 faults, 0 notes" in capsys.readouterr().out
    assert main(["verify", str(SAMPLES / "sw_concat.air"), "--soc", "Ascend910B"]) == 1
    assert "fault: graph '210_206___main___Net_concat_construct_309'" in capsys.readouterr().out
    bad = tmp_path / "bad.air"
    bad.write_bytes(b"no protobuf")
    assert main(["verify", str(bad)]) == 1
    assert "no AIR file" in capsys.readouterr().out


def test_inspect(capsys: Any) -> None:
    assert main(["inspect", str(SAMPLES / "ms_dense_w.air")]) == 0
    out = capsys.readouterr().out
    assert "MatMulV2" in out
    assert "d.weight_const" in out
    assert main(["inspect", str(SAMPLES / "ctrl.air"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in found["inputs"]] == ["p", "x"]
    assert found["graphs"] == 5
    assert {"name": "While", "count": 1, "loads": True} in found["operators"]
