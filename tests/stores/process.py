"""One of several processes of jax.distributed that save to a server, for test_many.py."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from typing import Any

count, me, port, bucket, what = int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:6]
os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={4 // count}"
os.environ["JAX_PLATFORMS"] = "cpu"

import jax
import numpy as np
from jax.experimental import multihost_utils

import msckpt_jax as ms
from msckpt_jax.checkpoint import paths

Upload: Any = type(paths.path_of(f"{bucket}/a").store.resumed("bucket/a", "id"))
SPECS = {
    "rows": jax.P(("x", "y")),
    "columns": jax.P(None, ("x", "y")),
    "both": jax.P("x", "y"),
    "replicated": jax.P(),
    "half": jax.P(None, "x"),
}
SHAPE = (1036, 1028)


def whole(version: float = 0) -> dict[str, np.ndarray]:
    """Tensors of 4 MiB in a file of parts of 8 MiB, and small ones."""
    size = SHAPE[0] * SHAPE[1]
    large = {name: np.arange(size, dtype=np.float32).reshape(SHAPE) + version for name in SPECS}
    return large | {"numpy": np.arange(1 << 17) * 3.0 + version, "step": np.array(version)}


def tree(mesh: Any, version: float = 0) -> dict[str, Any]:
    def put(array: np.ndarray, spec: jax.P) -> jax.Array:
        sharding = jax.NamedSharding(mesh, spec)
        return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])

    every = whole(version)
    return every | {name: put(every[name], spec) for name, spec in SPECS.items()}


def save(mesh: Any) -> None:
    """One file of each kind, a folder, and rank files; each process reads what it needs."""
    for name, kwargs in {
        "plain": {},
        "summed": {"crc_check": True, "slice_bytes": 1 << 20},
        "safe": {"format": "safetensors"},
        "folder": {"format": "safetensors", "max_shard_size": "9MB"},
    }.items():
        ms.save_checkpoint(tree(mesh), f"{bucket}/{name}", timeout=30, **kwargs)
    ms.save_checkpoint({"w": whole()["rows"][:8, 0]}, f"{bucket}/small", timeout=30)
    ms.save_checkpoint({"w": tree(mesh)["rows"]}, f"{bucket}/ranks/a", integrated_save=False)
    multihost_utils.sync_global_devices("saved")
    like = {
        name: jax.ShapeDtypeStruct(SHAPE, np.float32, sharding=jax.NamedSharding(mesh, spec))
        for name, spec in SPECS.items()
    }
    for name in ("plain.ckpt", "folder"):
        found = ms.load_checkpoint(f"{bucket}/{name}", like=like)
        for part in SPECS:
            for shard in found[part].addressable_shards:
                assert np.array_equal(shard.data, whole()[part][shard.index]), (name, part)


def die(mesh: Any, victim: str, moment: str, ranks: str = "") -> None:
    """Be killed at a request of a save, of rank files if asked; the other process is told."""
    integrated = not ranks
    ms.save_checkpoint(tree(mesh, 1), f"{bucket}/a", integrated, timeout=30)

    def kill(*args: Any) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    if victim in (str(me), "all"):
        setattr(Upload, moment, kill)
    begun = time.monotonic()
    try:
        ms.save_checkpoint(tree(mesh, 2), f"{bucket}/a", integrated, timeout=3)
    except ms.CheckpointError as error:
        assert time.monotonic() - begun < 60
        print(f"told: {error}", flush=True)
    os._exit(0)  # jax.distributed would wait for the dead process


def fails(mesh: Any) -> None:
    """A part that the store refuses: all are told at once, and the old object stays."""
    for name, kwargs in {"a": {}, "f": {"format": "safetensors", "max_shard_size": "9MB"}}.items():
        ms.save_checkpoint(tree(mesh, 1), f"{bucket}/{name}", timeout=30, **kwargs)
        put = Upload.put

        def refuse(self: Any, number: int, data: Any) -> str:
            raise OSError(5, "refused")

        for victim in range(count):
            Upload.put = refuse if me == victim else put
            begun, told = time.monotonic(), ""
            try:
                ms.save_checkpoint(tree(mesh, 2), f"{bucket}/{name}", timeout=30, **kwargs)
            except (ms.CheckpointError, OSError) as error:
                told = str(error)
            own = "refused" if me == victim else f"failed on processes [{victim}]"
            assert own in told, told
            assert time.monotonic() - begun < 20  # not the time-out
            Upload.put = put
            multihost_utils.sync_global_devices(f"{name}{victim}")


def trains(mesh: Any) -> None:
    """Steps of all processes run while parts are uploaded that they have sent to each other."""
    go_on, put = threading.Event(), Upload.put
    steps = jax.jit(lambda x: x.sum(), out_shardings=jax.NamedSharding(mesh, jax.P()))

    def late(self: Any, number: int, data: Any) -> str:
        assert go_on.wait(60)
        return put(self, number, data)

    Upload.put = late
    for name, kwargs in {"a": {}, "f": {"format": "safetensors", "max_shard_size": "9MB"}}.items():
        go_on.clear()
        state = tree(mesh, 1)
        handle = ms.save_checkpoint(
            state, f"{bucket}/{name}", async_save=True, timeout=30, **kwargs
        )
        assert jax.block_until_ready(steps(state["columns"])).is_fully_replicated
        assert not handle.done()
        go_on.set()
        handle.result()


def main() -> None:
    jax.distributed.initialize(f"127.0.0.1:{port}", count, me)
    name, *arguments = what.split(":")
    globals()[name](jax.make_mesh((2, 2), ("x", "y")), *arguments)
    print(f"process {me} of {count} done", flush=True)


if __name__ == "__main__":
    main()
