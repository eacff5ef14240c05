"""Small files that ask for much work: each reader says so, and soon."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest

import msckpt_jax as ms
from msckpt_jax._protos import mind_ir_pb2 as pb
from msckpt_jax.parallel import placement, strategy
from tests.air import handmade as air
from tests.checkpoint.test_hostile import record, tensor
from tests.mindir import handmade as mindir

#: Seconds that any of these files may take. They took minutes, or the process.
SECONDS = 40


@pytest.fixture(autouse=True)
def _soon() -> Iterator[None]:
    start = time.perf_counter()
    yield
    assert time.perf_counter() - start < SECONDS


# Strategies


LAYOUTS = {
    "ranks": ms.Layout((2**10, 2**10), ((0,),)),
    "optimizer sharding": ms.Layout((2**20,), ((),), -1, 1),
    "axes": ms.Layout((2,) * 20, ((),)),
}


def test_more_ranks_than_anyone_has(tmp_path: Path) -> None:
    file = tmp_path / "s.ckpt"
    too_many = 2**31 - 1, 2**31 - 1
    with pytest.raises(ms.CheckpointError, match="1048576 are the most"):
        ms.Layout(too_many, ((0,),))
    small = ms.Layout((2, 2), ((0,),))
    file.write_bytes(strategy._to_binary({"w": small._replace(dev_matrix=too_many)}, 0))
    with pytest.raises(ms.CheckpointError, match="1048576 are the most") as error:
        ms.build_searched_strategy(file)
    assert error.value.file == str(file)


@pytest.mark.parametrize("name", LAYOUTS)
def test_strategies(tmp_path: Path, name: str) -> None:
    (tmp_path / "rank_0").mkdir()
    ms.save_checkpoint({"w": np.ones(4, np.float32)}, tmp_path / "rank_0" / "a.ckpt")
    file = tmp_path / "s.ckpt"
    strategy.write(file, {"w": LAYOUTS[name]})
    assert file.stat().st_size < 120
    for use in (
        lambda: ms.rank_list_for_transform(0, file, None),
        lambda: ms.transform_checkpoints(tmp_path, tmp_path / "out", "t", None, file),
        lambda: ms.load_checkpoint(tmp_path, strategy=file),
    ):
        with pytest.raises(ms.CheckpointError, match="more work than a file of this size") as error:
            use()
        assert error.value.file == str(file)
    assert ms.build_searched_strategy(file) == {"w": LAYOUTS[name]}


def test_a_large_cluster_is_within_its_budget(tmp_path: Path) -> None:
    """A thousand tensors on 16,384 devices."""
    file = tmp_path / "s.ckpt"
    strategy.write(file, {f"layer.{k}.weight": ms.Layout((64, 256), ((0,),)) for k in range(1000)})
    plan = placement.plan_of(file)
    assert plan is not None
    assert plan.ranks == 16384


# MindIR


def chain(count: int) -> Callable[[pb.ModelProto], None]:
    """Functions that each call the next two, last of all."""

    def change(model: pb.ModelProto) -> None:
        for level in range(count):
            for side in "ab":
                name = f"{side}{level}"
                made = mindir.function(model, name, "x")
                following = [f"{other}{level + 1}" for other in "ab"]
                if level == count - 1:
                    made.output.add(name=mindir.node(made, f"{name}:y", "ReLU", f"{name}:x"))
                    continue
                switch = mindir.node(made, f"{name}:s", "Switch", f"{name}:x", *following)
                made.output.add(name=mindir.call(made, f"{name}:y", switch, f"{name}:x"))
        model.graph.output[0].name = mindir.call(model.graph, "y", "a0", "main:x")

    return change


def loops(count: int) -> Callable[[pb.ModelProto], None]:
    """Loops within loops."""

    def change(model: pb.ModelProto) -> None:
        for k in range(count):
            head, body = (mindir.function(model, f"{kind}{k}", "x") for kind in "hb")
            left = f"h{k - 1}" if k else "end"
            switch = mindir.node(head, f"h{k}:s", "Switch", f"h{k}:x", f"b{k}", left)
            head.output.add(name=mindir.call(head, f"h{k}:y", switch, f"h{k}:x"))
            next_value = mindir.node(body, f"b{k}:r", "ReLU", f"b{k}:x")
            inner = f"h{min(k + 1, count - 1)}"
            body.output.add(name=mindir.call(body, f"b{k}:y", inner, next_value))
        mindir.function(model, "end", "x").output.add(name="end:x")
        model.graph.output[0].name = mindir.call(model.graph, "y", "h0", "main:x")

    return change


def dense(count: int) -> Callable[[pb.ModelProto], None]:
    """Functions that each choose among all later ones."""

    def change(model: pb.ModelProto) -> None:
        for k in range(count):
            made, last = mindir.function(model, f"f{k}", "x"), f"f{(k + 1) % count}"
            for j in range(count):
                other = f"f{j}" if j > k else "end"
                last = mindir.node(made, f"f{k}:s{j}", "Switch", f"f{k}:x", other, last)
            made.output.add(name=mindir.call(made, f"f{k}:y", last, f"f{k}:x"))
        mindir.function(model, "end", "x").output.add(name="end:x")
        model.graph.output[0].name = mindir.call(model.graph, "y", "f0", "main:x")

    return change


def part(number: int) -> Callable[[pb.ModelProto], None]:
    """A part, of a tuple whose length only this number tells."""

    def change(model: pb.ModelProto) -> None:
        mindir.constant(model.graph, "k", type=pb.AttributeProto.INT64, i=number)
        split = mindir.node(model.graph, "t", "Split", "main:x")
        model.graph.output[0].name = mindir.node(model.graph, "y", "TupleGetItem", split, "k")

    return change


def shared(count: int) -> Callable[[pb.ModelProto], None]:
    """Tuples that each hold the same tuple of many parts."""

    def change(model: pb.ModelProto) -> None:
        large = mindir.node(model.graph, "t", "MakeTuple", *["main:x"] * 9000)
        made = [mindir.node(model.graph, f"u{k}", "MakeTuple", large, "main:x")
                for k in range(count)]  # fmt: skip
        model.graph.output[0].name = mindir.node(model.graph, "y", "AddN", *made)

    return change


def legacy(model: pb.ModelProto) -> None:
    form = f"scalar:{'Tuple[' * 10_000}a{',]' * 10_000}"
    constant = mindir.constant(model.graph, "c", ref_attr_name=form, ints=[1], type=7)
    model.graph.output[0].name = mindir.node(model.graph, "y", "Add", "main:x", constant)


MODELS: dict[str, tuple[Callable[[pb.ModelProto], None], str]] = {
    "tail calls": (chain(30), "too many nodes"),
    "nested loops": (loops(20), "too many nodes"),
    "nested switches": (dense(20), "too many nodes"),
    "shared tuples": (shared(4000), "tuples of too many parts"),
    "far part": (part(2**62), "tuples of too many parts"),
    "nested text": (legacy, "nested deeper than 60"),
}


@pytest.mark.parametrize("name", MODELS)
def test_mindir(tmp_path: Path, name: str) -> None:
    change, message = MODELS[name]
    model = mindir.network()
    change(model)
    (tmp_path / "a.mindir").write_bytes(model.SerializeToString())
    with pytest.raises(ms.MindIRError, match=message) as error:
        ms.load(tmp_path / "a.mindir")
    assert "a.mindir" in str(error.value)


#: Prints a model, and the most memory that this took, in KiB (``ru_maxrss`` counts the parent's).
LOOK = """
import re, sys
from pathlib import Path
from msckpt_jax.cli import main
main(["inspect", sys.argv[1]])
print(re.search("VmHWM:\\\\s*([0-9]+)", Path("/proc/self/status").read_text())[1])
"""


@pytest.mark.parametrize("op", ["Ones", "BroadcastTo"])
def test_a_look_at_a_mindir_makes_no_large_constants(tmp_path: Path, op: str) -> None:
    """The function is asked for the types of its results, and must not compute gigabytes for it."""
    model = mindir.network()
    for name, value in (("float32", 43), ("one", 1), ("many", 20_000)):
        mindir.constant(model.graph, name, type=pb.AttributeProto.INT64, i=value)
    sizes = {n: mindir.node(model.graph, f"{n}2", "MakeTuple", n, n) for n in ("one", "many")}
    size = sizes["many" if op == "Ones" else "one"]
    made = mindir.node(model.graph, "made", "Ones", size, "float32")
    if op == "BroadcastTo":
        made = mindir.node(model.graph, "wide", op, made, sizes["many"])
    model.graph.output[0].name = mindir.node(model.graph, "y", "ReLU", made)
    (tmp_path / "a.mindir").write_bytes(model.SerializeToString())
    done = subprocess.run(
        [sys.executable, "-c", LOOK, tmp_path / "a.mindir"], capture_output=True, check=True
    )
    printed, _, kib = done.stdout.decode().strip().rpartition("\n")
    assert op in printed
    assert int(kib) < 1 << 20


def test_a_long_chain_of_functions_is_read(tmp_path: Path) -> None:
    model = mindir.network()
    for k in range(500):
        made = mindir.function(model, f"f{k}", "x")
        inner = mindir.node(made, f"f{k}:a", "Neg", f"f{k}:x")
        made.output.add(name=mindir.call(made, f"f{k}:y", f"f{k + 1}", inner) if k < 499 else inner)
    model.graph.output[0].name = mindir.call(model.graph, "y", "f0", "main:x")
    (tmp_path / "a.mindir").write_bytes(model.SerializeToString())
    x = jnp.arange(6.0).reshape(2, 3)
    np.testing.assert_array_equal(ms.load(tmp_path / "a.mindir")(x), x)


# AIR


@pytest.mark.parametrize(("levels", "width"), [(40, 2), (3, 300), (2, 3000)])
def test_air_graphs_within_graphs(tmp_path: Path, levels: int, width: int) -> None:
    (tmp_path / "a.air").write_bytes(air.calls(levels, width).SerializeToString())
    with pytest.raises(ms.AirError, match="graphs within graphs beyond all bounds"):
        ms.load(tmp_path / "a.air")


def test_air_graphs_within_their_budget(tmp_path: Path) -> None:
    (tmp_path / "a.air").write_bytes(air.calls(3, 5).SerializeToString())
    f = ms.load(tmp_path / "a.air")
    assert sum(node.op == "Relu" for node in f.graph.walk()) == 125
    assert all(f"%{k}: f32[3] = Relu(%{k - 1})" in repr(f) for k in range(3, 8))
    np.testing.assert_array_equal(f(np.float32([-1, 0, 2])), [0, 0, 2])


def test_air_side_files_count_once(tmp_path: Path) -> None:
    with (tmp_path / "w").open("wb") as file:
        file.truncate(64 << 20)  # it takes no place on the disk
    (tmp_path / "a.air").write_bytes(air.sides(100, 64 << 20).SerializeToString())
    with pytest.raises(ms.AirError, match="the same side files again and again"):
        ms.load(tmp_path / "a.air")


def test_air_constants_may_share_a_side_file(tmp_path: Path) -> None:
    (tmp_path / "w").write_bytes(np.ones(3, np.float32).tobytes())
    (tmp_path / "a.air").write_bytes(air.sides(5, 12).SerializeToString())
    np.testing.assert_array_equal(ms.load(tmp_path / "a.air")(np.zeros(3, np.float32)), [5, 5, 5])


# Orbax


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A directory of Orbax with an array in a folder of its own."""
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler(use_ocdbt=False)) as checkpointer:
        checkpointer.save(tmp_path / "o", {"w": np.arange(6, dtype=np.float32)})
    return tmp_path / "o"


@pytest.mark.parametrize(
    ("shape", "chunks", "message"),
    [
        ([6], [2**50], "a chunk is larger than its array"),
        ([6], [2**33], "a chunk is larger than its array"),
        ([2**31], [6], "too small to be so many"),
        ([2**45], [2**45], "no memory for an array"),
        ([2**62], [2**62], "Orbax cannot read the tree"),
    ],
)
def test_orbax(directory: Path, shape: list[int], chunks: list[int], message: str) -> None:
    """TensorStore ends the process when it cannot have the memory for a chunk."""
    file = directory / "w" / ".zarray"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"shape": shape, "chunks": chunks}))
    with pytest.raises(ms.CheckpointError, match=message):
        np.asarray(ms.load_checkpoint(directory)["w"])


# Slices


def test_many_small_slices(tmp_path: Path) -> None:
    count = 100_000
    body = tensor(dims=(count,), content=np.float32(7).tobytes())
    (tmp_path / "a.ckpt").write_bytes(record(body=body) * count)
    whole: Any = ms.load_checkpoint(tmp_path / "a.ckpt")["w"]
    np.testing.assert_array_equal(whole, np.full(count, 7, np.float32))
    rows = ms.open_checkpoint(tmp_path / "a.ckpt").get_slice("w")
    assert [rows[k] for k in range(0, count, 1000)] == [7] * 100
    assert os.path.getsize(tmp_path / "a.ckpt") < 3_000_000
