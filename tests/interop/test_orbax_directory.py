"""Orbax directories to MindSpore's formats and back, tensor by tensor."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest
from flax import nnx
from flax.training import train_state

import msckpt_jax as ms
from msckpt_jax.cli import main
from msckpt_jax.parallel import merged

METADATA = {"lr": 0.1, "who": "me", "seven": "7", "list": [1, None]}


def tree(mesh: Any) -> dict[str, Any]:
    def put(array: np.ndarray, *spec: Any) -> jax.Array:
        return jax.device_put(array, jax.NamedSharding(mesh, jax.P(*spec)))

    whole = np.arange(64 * 16, dtype=np.float32).reshape(64, 16)
    return {
        "params": {
            "both": put(whole, "x", "y"),
            "columns": put(whole + 1, None, ("x", "y")),
            "bf16": put(whole[:8].astype(jnp.bfloat16), "y"),
            "int4": jnp.arange(4, dtype=jnp.int4),
            "list": [np.ones(3), (np.zeros(2, np.int8),)],
        },
        "step": 3,
        "rate": 2.5,
        "on": True,
        "none": None,
        "key": jax.random.key(1),
        "keys": jax.random.split(jax.random.key(2, impl="rbg"), 3),
    }


@pytest.fixture(params=[True, False], ids=["ocdbt", "folders"])
def saved(request: Any, tmp_path: Path, mesh: Any) -> Path:
    handler = ocp.PyTreeCheckpointHandler(use_ocdbt=request.param)
    with ocp.Checkpointer(handler) as checkpointer:
        args = ocp.args.PyTreeSave(tree(mesh), custom_metadata=METADATA)
        checkpointer.save(tmp_path / "orbax", args=args)
    return tmp_path / "orbax"


def check(found: Any, mesh: Any) -> None:
    wanted = tree(mesh)
    params = wanted["params"]
    for name in ("both", "columns", "bf16"):
        assert found[f"params.{name}"].dtype == params[name].dtype
        assert np.array_equal(found[f"params.{name}"], params[name])
    assert np.asarray(found["params.int4"]).astype(int).tolist() == [0, 1, 2, 3]
    assert found["params.list.0"].tolist() == [1, 1, 1]
    assert found["params.list.1.0"].dtype == np.int8
    assert (found["step"], found["rate"], found["on"]) == (3, 2.5, True)
    for name in ("key", "keys"):
        assert jax.random.key_impl(found[name]) == jax.random.key_impl(wanted[name])
        assert np.array_equal(*(jax.random.key_data(t[name]) for t in (found, wanted)))
    assert "none" not in found


def restored(path: Path) -> Any:
    with ocp.PyTreeCheckpointer() as checkpointer, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that the shardings come from the directory
        return checkpointer.restore(path)


@pytest.mark.parametrize("format", ["ckpt", "safetensors"])
def test_to_a_file_and_back(saved: Path, tmp_path: Path, mesh: Any, format: str) -> None:
    file, back, again = tmp_path / f"a.{format}", tmp_path / "back", tmp_path / f"b.{format}"
    assert main(["convert", str(saved), str(file)]) == 0
    check(ms.load_checkpoint(file), mesh)
    assert main(["convert", str(file), str(back)]) == 0
    assert ms.open_checkpoint(back).metadata == METADATA
    found = restored(back)
    check(ms.load_checkpoint(file), mesh)
    assert np.array_equal(found["params"]["both"], tree(mesh)["params"]["both"])
    assert found["params"]["bf16"].dtype == jnp.bfloat16
    assert found["params"]["int4"].dtype == jnp.int4
    assert jax.random.key_impl(found["keys"]) == "rbg"
    assert found["step"] == 3
    assert main(["convert", str(back), str(again)]) == 0
    assert file.read_bytes() == again.read_bytes()
    assert main(["diff", str(file), str(again)]) == 0


def test_it_is_opened_as_files_are(
    saved: Path, tmp_path: Path, mesh: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    file = ms.open_checkpoint(saved)
    check(file, mesh)
    assert (file.format, file.metadata, file.custom_metadata) == ("orbax", METADATA, METADATA)
    both = np.asarray(tree(mesh)["params"]["both"])
    assert np.array_equal(file.get_slice("params.both")[3:5, 2], both[3:5, 2])
    sharding = jax.NamedSharding(mesh, jax.P("y", None))
    like = {"params": {"both": jax.ShapeDtypeStruct((64, 16), jnp.bfloat16, sharding=sharding)},
            "keys": tree(mesh)["keys"]}  # fmt: skip
    found = ms.load_checkpoint(saved, like=like)
    assert found["params"]["both"].sharding == sharding
    assert np.array_equal(found["params"]["both"], both.astype(jnp.bfloat16))
    assert np.array_equal(*(jax.random.key_data(t["keys"]) for t in (found, tree(mesh))))
    assert main(["convert", str(saved), str(tmp_path / "a.ckpt"), "--filter", "params|key"]) == 0
    assert main(["diff", str(saved), str(tmp_path / "a.ckpt"), "--filter", "params|key"]) == 0
    assert main(["verify", str(saved)]) == 0
    capsys.readouterr()
    assert main(["inspect", str(saved), "--json"]) == 0
    entries = {e["name"]: e for e in json.loads(capsys.readouterr().out)["entries"]}
    assert entries["params.columns"]["shape"] == [64, 16]
    assert (entries["step"]["value"], entries["keys"]["prng_key"]) == (3, "rbg")


def test_strings(tmp_path: Path) -> None:
    tree = {"name": "größe", "empty": "", "w": np.ones(2), "z": "end"}
    with ocp.PyTreeCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "orbax", tree)
    file = ms.open_checkpoint(tmp_path / "orbax")
    assert {name: file[name] for name in ("name", "empty", "z")} == {
        "name": "größe", "empty": "", "z": "end"
    }  # fmt: skip
    assert main(["convert", str(tmp_path / "orbax"), str(tmp_path / "a.ckpt")]) == 0
    assert main(["diff", str(tmp_path / "orbax"), str(tmp_path / "a.ckpt")]) == 0


def test_to_rank_files_and_back(saved: Path, tmp_path: Path, mesh: Any) -> None:
    ranks = tmp_path / "ranks"
    assert main(["convert", str(saved), str(ranks), "--to", "saved"]) == 0
    strategy = ranks / "strategy.ckpt"
    found = merged.open_ranks(ranks, strategy)
    assert len(found.files) == 8
    assert found.files[5].entries["params.both"].shape == (32, 4)
    assert found.files[5].entries["params.columns"].shape == (64, 2)
    check(ms.load_checkpoint(ranks, strategy=strategy), mesh)
    two = tmp_path / "two"
    assert main(["convert", str(saved), str(two), "--to", "a=2; both=,a"]) == 0
    check(ms.load_checkpoint(two, strategy=two / "strategy.ckpt"), mesh)
    back = tmp_path / "back"
    assert main(["convert", str(ranks), str(back), "--strategy", str(strategy)]) == 0
    assert np.array_equal(restored(back)["params"]["columns"], tree(mesh)["params"]["columns"])


def test_a_restore_onto_another_mesh(tmp_path: Path, mesh: Any, other_mesh: Any) -> None:
    """What we write, Orbax restores sharded."""
    ms.save_checkpoint({"a": {"w": tree(mesh)["params"]["both"]}}, tmp_path / "a.ckpt")
    assert main(["convert", str(tmp_path / "a.ckpt"), str(tmp_path / "orbax")]) == 0
    sharding = jax.NamedSharding(other_mesh, jax.P("b", "a"))
    like = {"a": {"w": jax.ShapeDtypeStruct((64, 16), jnp.float32, sharding=sharding)}}
    with ocp.StandardCheckpointer() as checkpointer:
        found = checkpointer.restore(tmp_path / "orbax", like)
    assert found["a"]["w"].sharding == sharding
    assert np.array_equal(found["a"]["w"], tree(mesh)["params"]["both"])


def test_names_of_flax_states(tmp_path: Path) -> None:
    model = nnx.Sequential(nnx.Linear(2, 3, rngs=nnx.Rngs(0)), nnx.Dropout(0.1, rngs=nnx.Rngs(1)))
    state = train_state.TrainState.create(
        apply_fn=len, params={"value": jnp.ones(2), "a": jnp.ones(3)}, tx=optax.adam(1e-3)
    )
    manager = ocp.CheckpointManager(tmp_path / "run")
    manager.save(1, args=ocp.args.PyTreeSave(nnx.state(model)))
    manager.save(2, args=ocp.args.PyTreeSave(state))
    manager.wait_until_finished()
    for step, wanted in ((1, model), (2, state)):
        ms.save_checkpoint(wanted, tmp_path / "ours.ckpt")
        assert main(["convert", str(tmp_path / "run" / str(step)), str(tmp_path / "a.ckpt")]) == 0
        ours, theirs = (ms.load_checkpoint(tmp_path / f"{n}.ckpt") for n in ("ours", "a"))
        assert set(ours) == set(theirs)
        for name in ours:
            if not jnp.issubdtype(ours[name].dtype, jax.dtypes.prng_key):
                assert np.array_equal(ours[name], theirs[name])
    manager.close()


def test_what_cannot_be_converted(
    tmp_path: Path, mesh: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(*args: Any) -> str:
        assert main(["convert", *map(str, args)]) == 2
        return capsys.readouterr().err

    run = tmp_path / "run"
    with ocp.CheckpointManager(run) as manager:
        item = ocp.args.StandardSave({"w": jnp.ones(2)})
        manager.save(7, args=ocp.args.Composite(a=item, b=item))
        manager.wait_until_finished()
    assert f"name one of them, such as {run / '7'}" in refused(run, tmp_path / "a.ckpt")
    assert "several items, a, b" in refused(run / "7", tmp_path / "a.ckpt")
    (tmp_path / "empty").mkdir()
    assert "no folder of the format sharded or orbax" in refused(
        tmp_path / "empty", tmp_path / "a.ckpt"
    )
    (tmp_path / "empty" / "_CHECKPOINT_METADATA").touch()
    assert "no tree of Orbax" in refused(tmp_path / "empty", tmp_path / "a.ckpt")
    with ocp.PyTreeCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "z", {"z": jnp.ones(2, jnp.complex64), "w": jnp.ones(2)})
    assert "parameter 'z'" in refused(tmp_path / "z", tmp_path / "a.ckpt")
    assert "no array was on a mesh" in refused(tmp_path / "z", tmp_path / "r", "--to", "saved")
    assert "are for .ckpt" in refused(tmp_path / "z", tmp_path / "r", "--crc", "--filter", "w")
    ms.save_checkpoint({"none": np.zeros((0, 3)), "w": np.ones(2)}, tmp_path / "e.ckpt")
    assert "'none'" in refused(tmp_path / "e.ckpt", tmp_path / "orbax")
    ms.save_checkpoint({"a": np.ones(2), "a.b": np.ones(2)}, tmp_path / "p.ckpt")
    assert "prefix" in refused(tmp_path / "p.ckpt", tmp_path / "orbax")
    assert "new directories only" in refused(tmp_path / "e.ckpt", tmp_path / "z", "--filter", "w")
    (tmp_path / "z" / "_METADATA").write_text("{")
    assert "Orbax cannot read" in refused(tmp_path / "z", tmp_path / "a.ckpt")
    assert not list(tmp_path.glob("orbax*"))
    assert not list(tmp_path.glob("a.ckpt"))


_MEASURE = """
import sys, threading, time
from msckpt_jax.cli import main
from msckpt_jax.api import orbax_directory

def anonymous():
    return int(open("/proc/self/status").read().split("RssAnon:")[1].split()[0]) / 1024

source, target = sys.argv[1:]
folder = target + "-warm"
main(["convert", source, folder + ".ckpt", "--filter", "small"])
main(["convert", folder + ".ckpt", folder])
before, peak, run = anonymous(), [0.0], [True]

def watch():
    while run[0]:
        peak[0] = max(peak[0], anonymous())
        time.sleep(0.001)

thread = threading.Thread(target=watch)
thread.start()
main(["convert", source, target])
run[0] = False
thread.join()
print(peak[0] - before)
"""


def test_memory_stays_below_that_of_the_tensors(tmp_path: Path) -> None:
    """Half a GiB in 4 tensors that lie in slices."""
    random = np.random.default_rng(0)
    arrays = {f"w{i}": random.standard_normal((8192, 4096), np.float32) for i in range(4)}
    arrays["small"] = np.ones(3, np.float32)
    ms.save_checkpoint(arrays, tmp_path / "a.ckpt", slice_bytes=48 << 20, durable=False)
    for source, target in (("a.ckpt", "orbax"), ("orbax", "b.ckpt")):
        out = subprocess.run(
            [sys.executable, "-c", _MEASURE, tmp_path / source, tmp_path / target],
            check=True,
            capture_output=True,
            text=True,
        )
        assert float(out.stdout.split()[-1]) < 300, out.stdout
    found = ms.load_checkpoint(tmp_path / "b.ckpt")
    assert all(np.array_equal(found[name], array) for name, array in arrays.items())
