"""Functions exported as AIR: the file checks clean, and gives JAX's numbers by GE's definitions."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import msckpt_jax as ms
from msckpt_jax._protos import ge_ir_pb2
from msckpt_jax.air import adapt, check, chips, file
from msckpt_jax.air.prototypes import prototypes
from msckpt_jax.air.rows import ROWS
from msckpt_jax.air.rows.row import Row
from msckpt_jax.air.target import open_model
from msckpt_jax.errors import ExportError
from msckpt_jax.graph.graph import Graph, Node
from msckpt_jax.graph.values import Const, Tensor, Value
from tests.exporting import CASES, Mlp
from tests.oracle.test_mindir_dynamic import CASES as DYNAMIC


@pytest.mark.parametrize(("net", "inputs"), CASES.values(), ids=CASES)
def test_numbers(net: Any, inputs: Any, tmp_path: Path) -> None:
    out = ms.export(net, *inputs, file_name=tmp_path / "a", file_format="AIR", verify=True)
    assert out.file == tmp_path / "a.air"
    assert [finding for finding in check.check(file.read(out.file)) if finding.fault] == []
    assert out.difference is not None
    assert out.difference < 1e-4


def test_weights_are_constants_under_their_names(tmp_path: Path) -> None:
    net = Mlp()
    out = ms.export(net, np.zeros((2, 3), np.float32), file_name=tmp_path / "a", file_format="AIR")
    ms.save_checkpoint(net, tmp_path / "a.ckpt")
    saved = ms.load_checkpoint(tmp_path / "a.ckpt")
    found = open_model(out.file).parameters
    for name, value in saved.items():
        np.testing.assert_array_equal(found[name], value)


def test_large_weights_lie_beside_the_file(tmp_path: Path) -> None:
    net, x = Mlp(), np.ones((2, 3), np.float32)
    for split in (100, 100, 0):  # again and again: what is not needed any more goes
        out = ms.export(net, x, file_name=tmp_path / "a", file_format="AIR", split_bytes=split)
    (folder,) = (tmp_path / "air_weight").iterdir()
    assert len(list(folder.iterdir())) == 4
    np.testing.assert_allclose(open_model(out.file)(x), net(x), rtol=1e-6)
    out = ms.export(net, x, file_name=tmp_path / "a", file_format="AIR")
    assert list(tmp_path.iterdir()) == [out.file]
    np.testing.assert_allclose(open_model(out.file)(x), net(x), rtol=1e-6)


def _beside(path: Path, **how: Any) -> Path:
    x = np.ones((2, 3), np.float32)
    return ms.export(Mlp(), x, file_name=path, file_format="AIR", split_bytes=1, **how).file


def _files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_another_files_weights_are_left_alone(tmp_path: Path) -> None:
    _beside(tmp_path / "a_1")
    before, x = _files(tmp_path), np.ones((2, 3), np.float32)
    for split in (1, 0, None):
        ms.export(Mlp(), x, file_name=tmp_path / "a", file_format="AIR", split_bytes=split)
    (tmp_path / "a.air").unlink()
    assert _files(tmp_path) == before


@pytest.mark.parametrize("older", [False, True])
def test_a_failure_leaves_what_was_there(tmp_path: Path, older: bool) -> None:
    def fails(data: bytes, key: bytes) -> bytes:
        if len(data) > 200:  # not the first weights
            raise RuntimeError("no")
        return data

    if older:
        _beside(tmp_path / "a")
    before = _files(tmp_path)
    for _ in range(3):
        with pytest.raises(RuntimeError, match="no"):
            _beside(tmp_path / "a", enc_key=b"k", enc_mode=fails)
        assert _files(tmp_path) == before
        assert older or not list(tmp_path.iterdir())


_KILLED = """
import os, sys
import numpy as np
import msckpt_jax as ms
from tests.exporting import Mlp
def die(data, key):
    if len(data) > 200:
        os._exit(9)
    return data
ms.export(Mlp(), np.ones((2, 3), np.float32), file_name=sys.argv[1], file_format="AIR",
          split_bytes=0, enc_key=b"k", enc_mode=die)
"""


def test_a_process_that_dies_is_no_obstacle(tmp_path: Path) -> None:
    path = _beside(tmp_path / "a")
    before = _files(tmp_path)
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    died = subprocess.run([sys.executable, "-c", _KILLED, path], env=environment, check=False)
    assert died.returncode == 9
    assert before.items() < _files(tmp_path).items()  # there are some weights more
    for _ in range(2):
        _beside(tmp_path / "a")
        np.testing.assert_allclose(open_model(path)(np.ones((2, 3), np.float32)),
                                   Mlp()(np.ones((2, 3), np.float32)), rtol=1e-6)  # fmt: skip
        assert len(_files(tmp_path)) == len(before)


def test_bytes_are_the_same_each_time(tmp_path: Path) -> None:
    paths = [tmp_path / "one", tmp_path / "two"]
    for path in paths:
        path.mkdir()
        ms.export(Mlp(), np.ones((2, 3), np.float32), file_name=path / "a", file_format="AIR")
    one, two = ((path / "a.air").read_bytes() for path in paths)
    assert one == two


_EXPORT = """
import sys
import numpy as np
import msckpt_jax as ms
from flax import nnx
from tests.exporting import Block, _switch
block, x = Block(nnx.Rngs(0)), np.ones((2, 5, 8), np.float32)
ms.export(block, x, file_name=sys.argv[1], file_format="AIR")
ms.export(_switch, np.int32(1), np.ones(3, np.float32), file_name=sys.argv[2], file_format="AIR")
"""


def test_bytes_are_the_same_in_each_process(tmp_path: Path) -> None:
    found = []
    for seed in ("1", "2"):
        (tmp_path / seed).mkdir()
        paths = [tmp_path / seed / name for name in ("a.air", "b.air")]
        environment = os.environ | {
            "PYTHONHASHSEED": seed,
            "PYTHONPATH": str(Path(__file__).parents[2]),
        }
        subprocess.run([sys.executable, "-c", _EXPORT, *paths], check=True, env=environment)
        found.append([path.read_bytes() for path in paths])
    assert found[0] == found[1]


def _constants(path: Path) -> dict[str, bytes]:
    graph = ge_ir_pb2.ModelDef.FromString(path.read_bytes()).graph[0]
    return {op.name: op.attr["value"].t.data for op in graph.op if op.type == "Const"}


def test_weights_have_the_checkpoints_bytes(tmp_path: Path) -> None:
    """Of a sharded network, which is not gathered, and in files beside the file, too."""
    mesh = jax.make_mesh((2, 2), ("a", "b"), axis_types=(jax.sharding.AxisType.Auto,) * 2)
    net, x = Mlp(), np.zeros((2, 3), np.float32)
    spread = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(None, ("a", "b")))
    net.first.kernel[...] = jax.device_put(net.first.kernel[...], spread)
    ms.save_checkpoint(net, tmp_path / "a.ckpt")
    saved = {
        name: value.tobytes() for name, value in ms.load_checkpoint(tmp_path / "a.ckpt").items()
    }
    with jax.transfer_guard_device_to_device("disallow"):
        whole = ms.export(net, x, file_name=tmp_path / "a", file_format="AIR").file
    assert saved.items() <= _constants(whole).items()
    apart = ms.export(net, x, file_name=tmp_path / "b", file_format="AIR", split_bytes=100).file
    files = {path.read_bytes() for path in (tmp_path / "air_weight" / "b").iterdir()}
    assert files == set(saved.values())
    assert not any(_constants(apart)[name] for name in saved)


@pytest.mark.parametrize(
    ("soc", "version"),
    [("Ascend910B", "Ascend910B1"), ("Ascend310P", "Ascend310P3"), ("Ascend910", "Ascend910A"),
     ("Ascend910B4", "Ascend910B4"), ("Ascend910ProB", "Ascend910ProB")],
)  # fmt: skip
def test_dtypes_that_a_chip_lacks(soc: str, version: str, tmp_path: Path) -> None:
    """A note where the chip's CPU computes it, a refusal where nothing does."""
    kind = chips.named(soc).kernels
    path, place = tmp_path / "a", f"of {kind} takes {{'x': 'double'}}"
    with jax.enable_x64(True):
        x = np.ones((2, 3), np.float64)
        *notes, command = ms.export(jnp.tanh, x, file_name=path, file_format="AIR", soc=soc).notes
    assert [place in note for note in notes] == [True]
    assert f"--soc_version={version} " in command
    (tmp_path / "a.air").unlink()
    x = np.ones((2, 3), jnp.bfloat16)
    if kind == "ascend910b":  # the only one that computes with bfloat16
        assert len(ms.export(jnp.tanh, x, file_name=path, file_format="AIR", soc=soc).notes) == 1
        return
    with pytest.raises(ExportError, match=rf"no kernel on {kind} takes .*bf16"):
        ms.export(jnp.tanh, x, file_name=path, file_format="AIR", soc=soc)
    assert not list(tmp_path.iterdir())


def test_the_two_numberings_of_dtypes(tmp_path: Path) -> None:
    """Descriptions have the messages' numbers, Cast those of ge::DataType."""
    kinds = {"float16": (2, 1), "int32": (7, 3), "int8": (3, 2), "bfloat16": (27, 27)}
    x = np.ones((2, 3), np.float32)
    for name, numbers in kinds.items():
        path = ms.export(lambda x, n=name: x.astype(n), x, file_name=tmp_path / name,
                         file_format="AIR").file  # fmt: skip
        casts = [op for op in file.read(path).graph[0].op if op.type == "Cast"]
        assert [(op.output_desc[0].dtype, op.attr["dst_type"].i) for op in casts] == [numbers]


def test_results_given_twice_stay_two(tmp_path: Path) -> None:
    x = np.arange(3, dtype=np.float32)
    out = ms.export(lambda x: (x, x, x + 1, x), x, file_name=tmp_path / "a", file_format="AIR")
    results = open_model(out.file)(x)
    assert [list(map(float, r)) for r in results] == [[0, 1, 2], [0, 1, 2], [1, 2, 3], [0, 1, 2]]


def test_what_the_chip_lacks_is_told(tmp_path: Path) -> None:
    x = np.ones((2, 3), np.float32)
    out = ms.export(jnp.cumprod, x, file_name=tmp_path / "a", file_format="AIR", soc="Ascend910B")
    assert any("only the CPU (tf_aicpu) of ascend910b" in note for note in out.notes)
    assert "--soc_version=Ascend910B1 --precision_mode=must_keep_origin_dtype" in out.notes[-1]


def test_narrow_leaves_no_wide_dtypes(tmp_path: Path) -> None:
    with jax.enable_x64(True):
        x = np.ones((2, 3), np.float64)
        out = ms.export(lambda x: x @ x.T, x, file_name=tmp_path / "a", file_format="AIR",
                        narrow=True)  # fmt: skip
    wide = {"DT_DOUBLE", "DT_INT64"}
    types = ge_ir_pb2.DESCRIPTOR.enum_types_by_name["DataType"].values_by_number
    for op in file.read(out.file).graph[0].op:
        for tensor in (*op.input_desc, *op.output_desc):
            assert types[tensor.dtype].name not in wide, op.name


@pytest.mark.parametrize("kind", ["float64", "int64"])
@pytest.mark.parametrize("beside", [None, 0])
def test_narrow_weights(kind: str, beside: int | None, tmp_path: Path) -> None:
    """They have the narrow dtype's bytes, and casts go to it."""
    weights = {"w": np.arange(6).reshape(2, 3).T.astype(kind), "b": np.arange(2).astype(kind)}

    def net(p: Any, x: Any) -> Any:
        y = x @ p["w"] + p["b"]
        return y, y.astype("float64"), y.astype("int64"), jnp.argmax(y, 1), y.sum()

    with jax.enable_x64(True):
        out = ms.export((net, weights), np.ones((4, 3), kind), file_name=tmp_path / "a",
                        file_format="AIR", narrow=True, verify=True,
                        split_bytes=beside)  # fmt: skip
    assert out.difference == 0
    model = file.read(out.file)
    assert [finding for finding in check.check(model) if finding.fault] == []
    narrow = {"float64": "float32", "int64": "int32"}[kind]
    for name, value in open_model(out.file).parameters.items():
        if name in weights:
            assert value.dtype == narrow
            np.testing.assert_array_equal(value, weights[name])
    casts = [(op.output_desc[0].dtype, op.attr["dst_type"].i) for op in model.graph[0].op
             if op.type == "Cast"]  # fmt: skip
    assert set(casts) <= {(1, 0), (7, 3)}  # float32 and int32 in both numberings


def test_narrow_keeps_shards_apart(tmp_path: Path) -> None:
    mesh = jax.make_mesh((2, 2), ("a", "b"), axis_types=(jax.sharding.AxisType.Auto,) * 2)
    spread = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("a", "b"))
    with jax.enable_x64(True):
        whole = np.arange(16.0).reshape(4, 4)
        weights = {"w": jax.device_put(jnp.asarray(whole), spread)}
        with jax.transfer_guard_device_to_device("disallow"):
            out = ms.export((lambda p, x: x @ p["w"], weights), np.ones((2, 4)),
                            file_name=tmp_path / "a", file_format="AIR", narrow=True)  # fmt: skip
    np.testing.assert_array_equal(open_model(out.file).parameters["w"], whole)


@pytest.mark.parametrize(
    ("value", "kind"), [(2**40, "int64"), (-(2**31) - 1, "int64"), (1e300, "float64")]
)
def test_what_a_narrow_dtype_lacks_is_refused(value: Any, kind: str, tmp_path: Path) -> None:
    x = np.ones(3, kind)
    how = {"file_name": tmp_path / "a", "file_format": "AIR", "narrow": True}
    with jax.enable_x64(True):
        with pytest.raises(ExportError, match=r"test_export.py.*narrow=True: a constant has"):
            ms.export(lambda x: x + value, x, **how)
        weights = {"w": np.full(3, value, kind)}
        with pytest.raises(ExportError, match="the weight 'w': narrow=True: it has"):
            ms.export((lambda p, x: x + p["w"], weights), x, **how)
        assert not list(tmp_path.iterdir())
        bound = np.iinfo if kind == "int64" else np.finfo
        out = ms.export(lambda x: jnp.minimum(x, bound(kind).max), x, verify=True, **how)
    assert out.difference == 0


def test_encryption_is_the_users_function(tmp_path: Path) -> None:
    def flip(data: bytes, key: bytes) -> bytes:
        return bytes(b ^ key[0] for b in data)

    x = np.ones((2, 3), np.float32)
    plain = ms.export(jnp.sin, x, file_name=tmp_path / "a", file_format="AIR").file
    secret = ms.export(jnp.sin, x, file_name=tmp_path / "b", file_format="AIR", enc_key=b"\x55",
                       enc_mode=flip).file  # fmt: skip
    # The name of the model is the only difference.
    assert len(secret.read_bytes()) == len(plain.read_bytes())
    model = ge_ir_pb2.ModelDef.FromString(flip(secret.read_bytes(), b"\x55"))
    assert model.graph[0].op[1].type == "Sin"
    with pytest.raises(ValueError, match="AIR has no cipher of its own"):
        ms.export(jnp.sin, x, file_name=tmp_path / "c", file_format="AIR", enc_key=bytes(16))


def test_gaps_are_named_all_at_once(tmp_path: Path) -> None:
    def net(x: Any) -> Any:
        first = jax.lax.linalg.schur(x, sort_eig_vals=True)
        return first, jax.lax.linalg.schur(x + 1, sort_eig_vals=True)

    x = np.eye(3, dtype=np.float32) + 1
    with pytest.raises(ExportError, match="nothing was written") as caught:
        ms.export(net, x, file_name=tmp_path / "a", file_format="AIR")
    assert len(caught.value.problems) >= 2
    assert all("test_export.py" in problem for problem in caught.value.problems)
    assert not list(tmp_path.iterdir())


def test_dtypes_that_stay_inside_are_named_at_each_end(tmp_path: Path) -> None:
    def net(p: Any, x: Any, y: Any) -> Any:
        cast = x.astype(jnp.float8_e4m3fn)
        return cast.astype(jnp.float32), x.astype(jnp.int4), y, p["w"].astype(jnp.float32)

    small = np.ones(3, jnp.float8_e5m2)
    with pytest.raises(ExportError, match="nothing was written") as caught:
        ms.export((net, {"w": small}), np.ones(3, np.float32), small, file_name=tmp_path / "a",
                  file_format="AIR")  # fmt: skip
    ends = [problem.partition(" stay inside")[0] for problem in caught.value.problems]
    assert ends == [
        "the input 1: numbers of float8_e5m2",
        "the result 1: numbers of int4",
        "the result 2: numbers of float8_e5m2",
    ]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("axes", [(), Const(None), Const(())])
@pytest.mark.parametrize("shape", [(2, 3), ()])
@pytest.mark.parametrize("skip", [False, True])
def test_no_axes_are_all_in_mindspore(axes: Any, shape: Any, skip: bool, tmp_path: Path) -> None:
    """GE is never given an empty list, of which its versions make different things."""
    x = Value(Tensor(np.dtype(np.float32), shape), "x")
    out = Value(Tensor(np.dtype(np.float32), shape if skip else ()))
    node = Node("ReduceSum", (x, axes, Const(False), Const(skip)), (out,))
    made = adapt.adapt(Graph("main", [x], [node], [out]))
    assert check.check(made.model) == []
    path = tmp_path / "a.air"
    path.write_bytes(made.model.SerializeToString())
    value = np.arange(np.prod(shape, dtype=int), dtype=np.float32).reshape(shape)
    np.testing.assert_array_equal(open_model(path, strict=True)(value),
                                  value if skip else value.sum())  # fmt: skip
    assert all(op.attr["value"].t.data for op in made.model.graph[0].op if op.type == "Const")


def test_argmax_that_follows_jax_on_nan(tmp_path: Path) -> None:
    x = np.array([[1, np.nan, 3], [4, 5, np.inf]], np.float32)
    done = ms.export(lambda x: (jnp.argmax(x, 1), jnp.argmin(x, 0)), x, file_name=tmp_path / "a",
                     file_format="AIR", exact=True)  # fmt: skip
    rows, columns = ms.load(done.file)(x)
    assert (rows.tolist(), columns.tolist()) == ([1, 2], [0, 0, 0])


@pytest.mark.parametrize(("name", "row"), ROWS.items(), ids=ROWS)
def test_rows_name_operators_of_ge(name: str, row: Row) -> None:
    assert row.operators
    for operator in row.operators:
        assert operator in prototypes(), name


def test_a_chip_whose_kernels_are_not_known(tmp_path: Path) -> None:
    x = np.ones(3, np.float32)
    note, command = ms.export(
        jnp.sin, x, file_name=tmp_path / "a", file_format="AIR", soc="ascend310b4"
    ).notes
    assert note == "note: model: no kernel table for Ascend310B4: operators were not compared"
    assert "--soc_version=Ascend310B4 " in command


def test_a_chip_that_is_none(tmp_path: Path) -> None:
    x = np.ones(3, np.float32)
    with pytest.raises(ValueError, match="soc is the name of a chip"):
        ms.export(jnp.sin, x, file_name=tmp_path / "a", file_format="AIR", soc="910; ls")
    with pytest.raises(TypeError, match="soc is the name of a chip, not int"):
        ms.export(jnp.sin, x, file_name=tmp_path / "a", file_format="AIR", soc=910)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="soc is for AIR"):
        ms.export(jnp.sin, x, file_name=tmp_path / "a", soc="Ascend910B")


@pytest.mark.parametrize(
    "name", ["attention, causal", "average pool", "conv, SAME", "half", "loop over the batch"]
)
def test_dynamic_sizes(tmp_path: Path, name: str) -> None:
    case = DYNAMIC[name]
    inputs = [jax.ShapeDtypeStruct(shape, jnp.dtype(case.dtype)) for shape in case.shapes]
    done = ms.export(case.function, *inputs, file_name=tmp_path / "a", file_format="AIR",
                     verify=True)  # fmt: skip
    assert done.difference is not None  # one that is too large has been raised


def test_kept_sizes_and_bools(tmp_path: Path) -> None:
    def net(x: Any) -> Any:
        wide = jnp.broadcast_to(x[:, None, :], (x.shape[0], 4, 3))
        return wide, jnp.pad(x > 0, ((0, 0), (1, 2)), constant_values=True)

    spec = jax.ShapeDtypeStruct(("b", 3), jnp.float32)
    done = ms.export(net, spec, file_name=tmp_path / "a", file_format="AIR")
    for size in (1, 5):
        x = np.arange(3.0 * size, dtype=np.float32).reshape(size, 3) - 2
        wide, padded = ms.load(done.file)(x)
        np.testing.assert_array_equal(wide, np.broadcast_to(x[:, None, :], (size, 4, 3)))
        np.testing.assert_array_equal(padded, np.pad(x > 0, ((0, 0), (1, 2)), constant_values=True))


def test_a_loop_with_dynamic_sizes(tmp_path: Path) -> None:
    """Sizes that operators in its body compute are shapes there."""

    def net(x: Any, times: Any) -> Any:
        def step(i: Any, c: Any) -> Any:
            wide = jnp.where(jnp.arange(3)[None] <= i, c, jnp.broadcast_to(-1.0, c.shape))
            return wide * 2 + jnp.ones((c.shape[0], 1))

        return jax.lax.fori_loop(0, times, step, x)

    x = jax.ShapeDtypeStruct(("b", 3), jnp.float32)
    out = ms.export(net, x, np.int32(4), file_name=tmp_path / "a", file_format="AIR", verify=True)
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    again = jax.jit(open_model(out.file))(values, np.int32(4))
    np.testing.assert_array_equal(again, net(values, np.int32(4)))


def test_products_scattered_at_dynamic_sizes(tmp_path: Path) -> None:
    def net(x: Any, index: Any) -> Any:
        return x.at[index].mul(2.0)

    index = ms.TensorSpec((None,), jnp.int32)
    for x in (np.ones((6, 3), np.float32), jax.ShapeDtypeStruct(("b", 3), jnp.float32)):
        ms.export(net, x, index, file_name=tmp_path / "a", file_format="AIR", verify=True)
    (tmp_path / "a.air").unlink()
    x = jax.ShapeDtypeStruct((4, "b"), jnp.float32)
    with pytest.raises(ExportError, match=r"test_export.py.*sizes after the first are dynamic"):
        ms.export(net, x, np.arange(2), file_name=tmp_path / "a", file_format="AIR")


def test_the_command_is_one_for_the_shell(tmp_path: Path) -> None:
    x = np.ones(3, np.float32)
    *_, command = ms.export(jnp.sin, x, file_name=tmp_path / "my net", file_format="AIR").notes
    words = shlex.split(command)
    assert f"--model={tmp_path / 'my net.air'}" in words
    assert f"--output={tmp_path / 'my net'}" in words
