"""One of several processes of jax.distributed on this machine, for test_hosts.py."""

from __future__ import annotations

import functools
import itertools
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

count, me, port, folder, what = int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:6]
os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={8 // count}"
os.environ["JAX_PLATFORMS"] = "cpu"

import jax
import jax.numpy as jnp
import lora_tree  # beside this file
import numpy as np
from jax.experimental import multihost_utils

import msckpt_jax as ms
from msckpt_jax import boxes
from msckpt_jax.checkpoint import folder as folders_of
from msckpt_jax.checkpoint import plan as planning
from msckpt_jax.parallel import dealing, hosts, meeting, pieces, slots

SPECS = {
    "rows": jax.P(("x", "y")),
    "columns": jax.P(None, ("x", "y")),
    "both": jax.P("x", "y"),
    "swapped": jax.P("y", "x"),
    "replicated": jax.P(),
    "half": jax.P(None, "y"),
}


def whole(version: int = 0) -> np.ndarray:
    return np.arange(64 * 48, dtype=np.float32).reshape(64, 48) + version


def tree(mesh: Any, version: int = 0) -> dict[str, Any]:
    def put(spec: jax.P) -> jax.Array:
        sharding = jax.NamedSharding(mesh, spec)
        return jax.make_array_from_callback((64, 48), sharding, lambda i: whole(version)[i])

    return {name: put(spec) for name, spec in SPECS.items()} | {
        "numpy": np.arange(5), "step": version, "note": "many"}  # fmt: skip


def save(mesh: Any) -> None:
    for kwargs in ({}, {"crc_check": True, "slice_bytes": 4096}, {"format": "safetensors"}):
        name = "-".join(["merged", *map(str, kwargs)])
        found = tree(mesh)
        if "format" in kwargs:
            del found["note"]
        ms.save_checkpoint(found, f"{folder}/{name}", **kwargs)


def save_folder(mesh: Any, version: int, **kwargs: Any) -> Any:
    found = {k: v for k, v in tree(mesh, version).items() if k != "note"}
    size = 64 * 48 * 4 * (1 + version)
    path = f"{folder}/out"
    return ms.save_checkpoint(found, path, format="safetensors", max_shard_size=size, **kwargs)


def folders(mesh: Any) -> None:
    """A new folder, then one that is there, then by a thread; files with and without shards."""
    for version, files in enumerate((8, 4, 3)):
        handle = save_folder(mesh, version, async_save=version == 2 and what == "folders")
        if handle is not None:
            handle.result()
        with open(f"{folder}/out/model.safetensors.index.json") as file:
            assert len(set(json.load(file)["weight_map"].values())) == files
        assert ms.load_checkpoint(f"{folder}/out")["step"] == version
        multihost_utils.sync_global_devices("read")


def folders_gathered(mesh: Any) -> None:
    blind()
    folders(mesh)
    try:
        save_folder(mesh, 0, async_save=True).result()
    except ms.CheckpointError as error:
        print(f"told: {error}", flush=True)
    else:
        raise AssertionError


def cut(mesh: Any, moment: str, victims: str) -> None:
    """Save over what the last such group has left, then be killed in the midst of another save."""
    save_folder(mesh, 2)
    if me == 0:
        check = ms.load_checkpoint(f"{folder}/out")
        assert all(np.array_equal(check[name], whole(2)) for name in SPECS)
    multihost_utils.sync_global_devices("checked")
    if str(me) in victims:
        module, name = {
            "staging": (hosts, "_write_own"),
            "exchange": (slots.Shared, "swapped"),
            "written": (folders_of, "_finish"),
            "replacing": (folders_of, "_move"),
        }[moment]
        original = getattr(module, name)

        def kill(*args: Any) -> None:
            if moment == "replacing":
                original(args[0][:1], *args[1:])
            os.kill(os.getpid(), signal.SIGKILL)

        setattr(module, name, kill)
    try:
        save_folder(mesh, 1, timeout=3)
    except ms.CheckpointError as error:
        print(f"told: {error}", flush=True)
    os._exit(0)  # jax.distributed would wait for the dead process


def fails(mesh: Any) -> None:
    """A process cannot write, send or make a file: all are told at once, and the old files stay."""

    def full(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    dealing.FEW_RUNS = 0
    save_folder(mesh, 2)
    ms.save_checkpoint(tree(mesh, 2), f"{folder}/a")
    for module, name in ((pieces, "write_runs"), (boxes, "gather"), (hosts, "_reserve")):
        original = getattr(module, name)
        for victim in (1, count - 1):
            if me == victim:
                setattr(module, name, full)
            for save in (save_folder, lambda m, v: ms.save_checkpoint(tree(m, v), f"{folder}/a")):
                begun, told = time.monotonic(), ""
                try:
                    save(mesh, 1)
                except (ms.CheckpointError, OSError) as error:
                    told = str(error)
                if told:
                    own = "No space" if me == victim else f"failed on processes [{victim}]"
                    assert own in told, told
                else:
                    assert name == "_reserve"  # which process 0 does with a single file
                    save(mesh, 2)
                assert time.monotonic() - begun < 60  # not the time-out
                multihost_utils.sync_global_devices(name)
            setattr(module, name, original)
            for path in ("out", "a.ckpt"):
                check = ms.load_checkpoint(f"{folder}/{path}")
                assert all(np.array_equal(check[name], whole(2)) for name in SPECS)
            multihost_utils.sync_global_devices("read")


def arrays(put: Any) -> dict[str, Any]:
    """Arrays of many dtypes, ranks and shardings, scattered ones among them."""
    specs = [jax.P(), jax.P("x"), jax.P(None, "y"), jax.P("y", "x"), jax.P(None, ("x", "y")),
             jax.P(None, None, "y"), jax.P(None, "x", "y"), jax.P("x", None, "y")]  # fmt: skip
    shapes = [(8,), (48, 64), (3, 40, 16), (2, 8, 8, 24), (128, 72), (1, 16, 8)]
    kinds = ["float32", "bfloat16", "int32", "int8", "bool", "uint16"]
    rng = np.random.default_rng(0)
    out = {}
    for shape, kind, spec in itertools.product(shapes, kinds, specs):
        if len(spec) <= len(shape):
            whole = rng.integers(0, 2 if kind == "bool" else 100, shape).astype(jnp.dtype(kind))
            spec = jax.P(*spec, *(None,) * (len(shape) - len(spec)))
            if all(n % (mesh_size(axes)) == 0 for n, axes in zip(shape, spec, strict=True)):
                out[f"{kind}.{len(out)}"] = put(whole, spec)
    return out | {"numpy": rng.normal(size=(70, 30)), "own": np.full(5, me)}  # 0's counts


def mesh_size(axes: Any) -> int:
    sizes = {"x": 2, "y": 4}
    names = axes if isinstance(axes, tuple) else (axes,) if axes else ()
    return int(np.prod([sizes[name] for name in names]))


def saved_alike(name: str, spread: Any, whole: Any, **kwargs: Any) -> None:
    """Save a tree of all processes, and one of process 0 alone."""
    ms.save_checkpoint(spread, f"{folder}/{name}", **kwargs)
    if me == 0:
        ms.save_checkpoint(whole, f"{folder}/{name}-one", **kwargs)


def watch_rounds(told: Callable[[slots.Carried | slots.Shared], Any]) -> None:
    """Call ``told`` in each round, with the slots that this process has filled."""
    for way in (slots.Carried, slots.Shared):

        def watched(self: Any, original: Any = way.swapped) -> slots.Slots:
            told(self)
            return original(self)

        way.swapped = watched  # type: ignore[method-assign]


def varied(mesh: Any) -> None:
    """Small windows and slots, so that small arrays take many batches and rounds."""
    rounds: list[int] = []
    watch_rounds(lambda way: rounds.append(len(way.sent.heads)))
    dealing.FEW_RUNS, dealing.EXTENT_BYTES = 0, 1 << 12

    def put(whole: np.ndarray, spec: jax.P) -> jax.Array:
        sharding = jax.NamedSharding(mesh, spec)
        return jax.make_array_from_callback(whole.shape, sharding, lambda i: whole[i])

    whole = arrays(lambda whole, spec: whole)
    for window in (1 << 14, planning.CHUNK_BYTES):
        planning.CHUNK_BYTES = window
        spread = arrays(put)
        for name, kwargs in {
            "file": {"slice_bytes": 4096}, "crc": {"crc_check": True},
            "hub": {"format": "safetensors", "max_shard_size": 100_000},
            "alone": {"format": "safetensors", "max_shard_size": "1GB"},
            "tensors": {"format": "safetensors"},
        }.items():  # fmt: skip
            rounds.clear()
            saved_alike(f"{name}{window}", spread, whole, **kwargs)
            assert rounds, name


#: Model, JAX stack, scanned, names in the files, dtype, and what a save is told.
HUB = {"format": "safetensors", "max_shard_size": 20_000}
MODELS = [
    ("llama", "maxtext", True, "huggingface", "bfloat16", HUB),
    ("llama", "maxtext", True, "mindformers-concat", "float32", {}),
    ("gemma2", "maxtext", True, "huggingface", "bfloat16", HUB),
    ("qwen3_moe", "maxtext", True, "huggingface", "bfloat16", HUB),
    ("deepseek_v3", "maxtext", False, "huggingface", "float32", HUB),
    ("gemma3_text", "tunix", False, "huggingface", "bfloat16", HUB),
    ("mixtral", "levanter", True, "huggingface", "float32", HUB),
    ("gpt2", "levanter", True, "huggingface", "bfloat16", HUB),
]
SIZES = {
    "vocab_size": 32, "hidden_size": 32, "num_attention_heads": 8, "num_key_value_heads": 4,
    "intermediate_size": 24, "n_embd": 32, "n_layer": 4, "n_head": 8, "num_experts": 8,
    "moe_intermediate_size": 16, "num_local_experts": 8,
}  # fmt: skip


def spec_of(shape: tuple[int, ...], way: int) -> jax.P:
    """A sharding of a leaf: over both axes of the mesh, where it can be, in several ways."""
    first, second = [("x", "y"), ("y", "x"), (("x", "y"), None), ("y", None)][way]
    order = list(range(len(shape)))
    spec: list[Any] = [None] * len(shape)
    for axes, at in ((first, order), (second, order[::-1])):
        size = mesh_size(axes)
        fits = [k for k in at if spec[k] is None and shape[k] % size == 0 and size > 1]
        if fits:
            spec[fits[0]] = axes
    return jax.P(*spec)


def families(mesh: Any) -> None:
    """Models of JAX stacks, sharded in several ways, to the files of others and back."""
    from tests.families import models

    dealing.FEW_RUNS = 0
    for number, (model, stack, scanned, files, dtype, how) in enumerate(MODELS):
        config = models.config(model)
        config |= {key: value for key, value in SIZES.items() if key in config}
        config["torch_dtype"] = dtype
        family = ms.Family(config, jax=stack, files=files)
        abstract = family.abstract(scanned)
        rng = np.random.default_rng(number)
        whole = jax.tree.map(lambda a, r=rng: r.normal(size=a.shape).astype(a.dtype), abstract)
        for way in (0, 1 + number % 3):
            name = f"{model}-{stack}-{files}-{way}"

            def sharding(a: Any, way: int = way) -> Any:
                return jax.NamedSharding(mesh, spec_of(a.shape, way))

            def put(a: np.ndarray, sharding: Any = sharding) -> jax.Array:
                return jax.make_array_from_callback(a.shape, sharding(a), lambda i: a[i])

            saved_alike(name, jax.tree.map(put, whole), whole, convention=family, **how)
            multihost_utils.sync_global_devices(name)
            like = jax.tree.map(
                lambda a, s=sharding: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=s(a)),
                abstract,
            )
            path = f"{folder}/{name}{'' if how else '.ckpt'}"
            back = ms.load_checkpoint(path, like=like, convention=family)
            one = ms.load_checkpoint(path, like=abstract, convention=family)
            for a, b in zip(jax.tree.leaves(back), jax.tree.leaves(one), strict=True):
                for shard in a.addressable_shards:
                    assert np.array_equal(shard.data, np.asarray(b)[shard.index]), name


def load(mesh: Any) -> None:
    read: list[int] = []
    original = boxes.gather

    def counting(pieces: Any, box: Any, out: Any) -> None:
        read.append(out.nbytes)
        original(pieces, box, out)

    boxes.gather = counting
    like = {
        name: jax.ShapeDtypeStruct((64, 48), np.float32, sharding=jax.NamedSharding(mesh, spec))
        for name, spec in SPECS.items()
    }
    found = ms.load_checkpoint(f"{folder}/merged.ckpt", like=like)
    mine = 0
    for array in found.values():
        parts = {str(shard.index): shard for shard in array.addressable_shards}
        mine += sum(shard.data.nbytes for shard in parts.values())
        for shard in parts.values():
            assert np.array_equal(shard.data, whole()[shard.index])
    assert sum(read) == mine, (sum(read), mine)


def ranks(mesh: Any) -> None:
    with_names = tree(mesh)
    del with_names["note"]
    ms.save_checkpoint(with_names, f"{folder}/net", integrated_save=False)


def blind() -> None:
    """The hosts share no memory, and no file system: only process 0 sees the file."""
    offer = slots._offer
    slots._offer = lambda *args: None if me == 1 else offer(*args)
    original = Path.exists
    Path.exists = lambda self: (me == 0 or self.suffix != ".tmp") and original(self)  # ty: ignore


def gather(mesh: Any) -> None:
    blind()
    sent: list[int] = []

    def count_bytes(way: slots.Carried | slots.Shared) -> None:
        assert isinstance(way, slots.Carried)
        sent.append(way.sent.heads.nbytes + sum(c.nbytes for c in way.sent.contents))

    watch_rounds(count_bytes)
    save(mesh)
    sharding = jax.NamedSharding(mesh, jax.P("x", "y"))
    large = jax.make_array_from_callback(
        (4096, 8192), sharding, lambda i: np.broadcast_to(np.float32(7), (4096, 8192))[i]
    )
    ms.save_checkpoint({"large": large}, f"{folder}/large")  # 128 MiB in windows
    assert max(sent) == (8 << 20) + 16 * count
    bucket(mesh)
    os.chdir(folder)
    if me != 0:
        os.chdir("/")  # nor does the folder exist there
    ms.save_checkpoint({"rows": tree(mesh)["rows"]}, "relative")


def bucket(mesh: Any) -> None:
    """A store that takes no parts, which process 0 writes to."""
    import pytest
    from fsspec.implementations.memory import MemoryFileSystem

    ms.save_checkpoint(tree(mesh), "memory://bucket/a.ckpt", crc_check=True)
    assert list(MemoryFileSystem.store) == (["/bucket/a.ckpt"] if me == 0 else [])
    rows = {"rows": tree(mesh)["rows"]}
    with pytest.raises(ValueError, match="save a folder to s3://, gs://, az:// or a local file"):
        ms.save_checkpoint(rows, "memory://b/f", format="safetensors", max_shard_size="9MB")
    if me == 0:
        found = ms.load_checkpoint("memory://bucket/a.ckpt", crc_check=True)
        assert all(np.array_equal(found[name], whole()) for name in SPECS)


def asynchronous(mesh: Any) -> None:
    step = jax.jit(lambda t: jax.tree.map(lambda x: x * 0 - 1, t), donate_argnums=0)
    for version in range(3):
        found = {k: v for k, v in tree(mesh, version).items() if k in SPECS}
        handle = ms.save_checkpoint(found, f"{folder}/a{version}", async_save=True)
        step(found)  # donated at once, and collectives go on
    handle.result()
    blind()
    found = {k: v for k, v in tree(mesh).items() if k in SPECS}
    handle = ms.save_checkpoint(found, f"{folder}/b", async_save=True)
    try:
        handle.result()
    except ms.CheckpointError as error:
        print(f"told: {error}", flush=True)


def counted(mesh: Any) -> None:
    """Count the rounds, writes and bytes of a file split on its columns, and a folder of rows."""
    numbers: dict[str, int] = {}
    original = os.pwritev

    def count_round(way: slots.Carried | slots.Shared) -> None:
        assert isinstance(way, slots.Shared)
        numbers["rounds"] += 1
        others = np.delete(way.sent.heads, me, 0)
        numbers["sent"] += int(others[:, 8:16].copy().view(np.uint64).sum())

    def write(fd: int, data: Any, offset: int) -> int:
        numbers["calls"] += 1
        return original(fd, data, offset)

    watch_rounds(count_round)
    os.pwritev = write
    side = 4096
    how = {"format": "safetensors", "max_shard_size": side * side * 4}
    for spec, kwargs in ((jax.P(None, ("x", "y")), {}), (jax.P(("x", "y")), how)):
        sharding = jax.NamedSharding(mesh, spec)
        large = {
            str(n): jax.make_array_from_callback(
                (side, side), sharding, lambda i: np.broadcast_to(np.float32(0), (side, side))[i]
            )
            for n in range(4)
        }
        numbers.update(rounds=0, sent=0, calls=0)
        ms.save_checkpoint(large, f"{folder}/{len(kwargs)}", **kwargs)
        print(json.dumps(numbers), flush=True)


def requests(mesh: Any) -> None:
    """How often a save asks the key-value store, and for how much."""
    client, calls, sizes = meeting._client(), [], []

    class Counting:
        def __getattr__(self, name: str) -> Any:
            method = getattr(client, name)

            def call(*args: Any) -> Any:
                answer = method(*args)
                calls.append(name)
                sizes.append(sum(len(a) for a in (*args, answer) if isinstance(a, str)))
                return answer

            return call

    found = {k: v for k, v in tree(mesh).items() if k in SPECS}
    meeting._client = Counting
    for kwargs in ({}, {"format": "safetensors", "max_shard_size": 20_000}):
        calls.clear()
        ms.save_checkpoint(found, f"{folder}/a{len(kwargs)}", **kwargs)
        print(json.dumps({"calls": len(calls), "largest": max(sizes)}), flush=True)


def layers(mesh: Any) -> None:
    """MindSpore's layouts: transposed, mirrored, heads and projections in one."""
    from flax import nnx

    rngs = nnx.Rngs(0)
    net = nnx.Dict(
        attention=nnx.MultiHeadAttention(4, 16, decode=False, rngs=rngs),
        up=nnx.ConvTranspose(8, 8, (2, 2), rngs=rngs),
        lstm=nnx.LSTMCell(8, 4, rngs=rngs),
    )
    whole = jax.tree.map(np.asarray, nnx.state(net, nnx.Param))

    def put(x: np.ndarray) -> jax.Array:
        axes = ["x", "y"]
        spec = [axes.pop() if axes and n % mesh.shape[axes[-1]] == 0 else None for n in x.shape]
        sharding = jax.NamedSharding(mesh, jax.P(*spec))
        return jax.make_array_from_callback(x.shape, sharding, lambda i: x[i])

    spread = jax.tree.map(put, whole)
    how = ms.Convention(module=net)
    ms.save_checkpoint(spread, f"{folder}/spread", convention=how)
    if me == 0:
        ms.save_checkpoint(whole, f"{folder}/whole", convention=how)
    back = ms.load_checkpoint(f"{folder}/spread.ckpt", like=spread, convention=how)
    for a, b in zip(jax.tree.leaves(back), jax.tree.leaves(whole), strict=True):
        for shard in a.addressable_shards:
            assert np.array_equal(shard.data, b[shard.index])


def manager(mesh: Any) -> None:
    """Orbax on many processes, both APIs: retention, asynchrony, each reads its own boxes."""
    import orbax.checkpoint as ocp
    from orbax.checkpoint.experimental import v1

    from msckpt_jax.interop.orbax import MindSporeRestore, MindSporeSave

    step = jax.jit(lambda t: jax.tree.map(lambda x: x * 0 - 1, t), donate_argnums=0)
    options = ocp.CheckpointManagerOptions(max_to_keep=2)
    with ocp.CheckpointManager(f"{folder}/run", options=options) as manager:
        for version in range(4):
            found = {k: v for k, v in tree(mesh, version).items() if k in SPECS}
            manager.save(version, args=MindSporeSave(found))
            step(found)  # donated at once
        manager.wait_until_finished()
        assert manager.all_steps() == [2, 3]
        like = {
            name: jax.ShapeDtypeStruct((64, 48), np.float32, sharding=jax.NamedSharding(mesh, spec))
            for name, spec in SPECS.items()
        }
        restored = [manager.restore(3, args=MindSporeRestore(like))]
    found = {k: v for k, v in tree(mesh, 3).items() if k in SPECS}
    v1.save_checkpointables(f"{folder}/v1", {"params": MindSporeSave(found)})
    wanted = {"params": MindSporeRestore(like)}
    restored.append(v1.load_checkpointables(f"{folder}/v1", wanted)["params"])
    for array in jax.tree.leaves(restored):
        for shard in array.addressable_shards:
            assert np.array_equal(shard.data, whole(3)[shard.index])


def local(mesh: Any) -> None:
    """What a process has for itself needs no other: process 0 alone saves."""
    found = jax.tree.map(np.asarray, {"a": whole(), "b": jax.numpy.ones(3)})
    if me == 0:
        ms.save_checkpoint(found, f"{folder}/a", timeout=2)


def training(mesh: Any) -> None:
    """Two runs in one folder, merged and by ranks; the second process is slower."""
    for merged in (True, False):
        config = ms.CheckpointConfig(
            2, keep_checkpoint_max=1, async_save=True, integrated_save=merged
        )
        for _ in range(2):
            time.sleep(0.3 * me)
            with ms.ModelCheckpoint("m", f"{folder}/{merged}", config) as ckpt:
                for version in range(1, 6):
                    found = tree(mesh, version)
                    del found["note"]
                    ckpt.step(found)
    keep_by_time(mesh)
    by_seconds = ms.CheckpointConfig(save_checkpoint_seconds=1)
    try:
        with ms.ModelCheckpoint("m", folder, by_seconds) as ckpt:
            ckpt.step(tree(mesh))
    except ValueError as error:
        print(f"told: {error}", flush=True)


def keep_by_time(mesh: Any) -> None:
    """The clocks of the processes differ; then a run takes over the files of the one before."""
    found = {name: x for name, x in tree(mesh).items() if name in SPECS}
    for keep in (True, False):
        config = ms.CheckpointConfig(
            1, keep_checkpoint_max=1, keep_every=timedelta(seconds=25), integrated_save=False,
            keep_earlier_runs=keep,
        )  # fmt: skip
        now = [0.0]
        clock = functools.partial(now.__getitem__, 0)
        with ms.ModelCheckpoint("m", f"{folder}/time{keep}", config, clock=clock) as ckpt:
            for _ in range(6):
                now[0] += (10, 24)[me]
                ckpt.step(found)
        if keep:
            multihost_utils.sync_global_devices("first")
            if me == 0:
                shutil.copytree(f"{folder}/timeTrue", f"{folder}/timeFalse")
            multihost_utils.sync_global_devices("copied")


def die(mesh: Any, victim: int = count - 1) -> None:
    """A process is killed while it writes; the others must not hang."""
    ms.save_checkpoint(tree(mesh, 1), f"{folder}/a", timeout=4)
    if me == victim:
        pieces.write_runs = boxes.gather = lambda *args: os.kill(os.getpid(), signal.SIGKILL)
    try:
        ms.save_checkpoint(tree(mesh, 2), f"{folder}/a", timeout=4)
    except ms.CheckpointError as error:
        print(f"told: {error}", flush=True)
        if me == 0:
            time.sleep(3)  # JAX ends the others when process 0 is gone: they hear of it first
        os._exit(0)  # jax.distributed would wait for the dead one


def die_gathering(mesh: Any) -> None:
    blind()
    die(mesh, 2)


def die_first(mesh: Any) -> None:
    die(mesh, 0)


def absent(mesh: Any) -> None:
    """A process never calls save_checkpoint; a slow one does, and is waited for."""
    original = pieces.write_runs

    def slowly(*args: Any) -> None:
        time.sleep(0.5)
        original(*args)

    if me == 0:
        pieces.write_runs = slowly  # 6 tensors and more: longer than the time-out in all
    ms.save_checkpoint(tree(mesh, 1), f"{folder}/a", timeout=2, threads=1)
    try:
        if me == 0:
            ms.save_checkpoint(tree(mesh, 2), f"{folder}/a", timeout=2)
    except ms.CheckpointError as error:
        print(f"told: {error}", flush=True)


def fail_gathering(mesh: Any) -> None:
    blind()
    fail(mesh, 0)


def fail(mesh: Any, victim: int = 1) -> None:
    """One process cannot write: all are told, and the old file stays."""
    ms.save_checkpoint(tree(mesh, 1), f"{folder}/a")

    def full(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    if me == victim:
        pieces.write_runs = full
    try:
        ms.save_checkpoint(tree(mesh, 2), f"{folder}/a")
    except (ms.CheckpointError, OSError) as error:
        print(f"told: {error}", flush=True)


def differ(mesh: Any) -> None:
    try:
        ms.save_checkpoint(tree(mesh) | {f"only_{me}": np.ones(1)}, f"{folder}/a")
    except ms.CheckpointError as error:
        print(f"told: {error}", flush=True)


def adapters(mesh: Any) -> None:
    """LoRA leaves, saved by themselves and merged; then A and B where the weights are not."""
    mine, family = lora_tree.sharded(mesh), lora_tree.FAMILY
    ms.save_adapter(mine, f"{folder}/adapter", family)
    ms.save_checkpoint(mine, f"{folder}/merged", format="safetensors", convention=family)
    parts = {"format": "safetensors", "max_shard_size": 4000, "convention": family}
    ms.save_checkpoint(mine, f"{folder}/parts", **parts)
    loaded = ms.load_adapter(f"{folder}/adapter", mine, family)
    for name, array in loaded.items():
        for shard in array.addressable_shards:
            assert np.array_equal(shard.data, lora_tree.whole()[name][shard.index]), name
    path = "layers.0.mlp.up_proj.kernel_lora_b"
    away = jax.NamedSharding(mesh, jax.P(None, "x"))
    mine[path] = jax.make_array_from_callback(
        mine[path].shape, away, lambda i: lora_tree.whole()[path][i]
    )
    try:
        ms.save_checkpoint(mine, f"{folder}/away", format="safetensors", convention=family)
    except ms.CheckpointError as error:
        print(f"told: {error}", flush=True)


def main(works: dict[str, Any]) -> None:
    jax.distributed.initialize(f"127.0.0.1:{port}", count, me)
    name, *arguments = what.split(":")
    works[name](jax.make_mesh((2, 4), ("x", "y")), *arguments)
    print(f"process {me} of {count} done", flush=True)


if __name__ == "__main__":
    assert Path(folder).is_dir()
    main(globals())
