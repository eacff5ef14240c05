"""One of the processes that benchmarks/parallel.py starts: a 1 GiB array over all of them."""

from __future__ import annotations

import os
import sys

count, me, port, folder, spec, rounds, side = int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:]
os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={8 // count}"
os.environ["JAX_PLATFORMS"] = "cpu"

import json
import logging
import shutil
import time
import warnings
from pathlib import Path
from typing import Any

import jax
import numpy as np
import peers
from jax.experimental import multihost_utils
from timing import anonymous_mib, peak_of

import msckpt_jax as ms

warnings.simplefilter("ignore")
logging.disable(logging.WARNING)


def main() -> None:
    jax.distributed.initialize(f"127.0.0.1:{port}", count, me)
    mesh = jax.make_mesh((8,), ("x",))
    size = int(side)
    sharding = jax.NamedSharding(mesh, jax.P("x") if spec == "axis 0" else jax.P(None, "x"))

    def part(index: Any) -> np.ndarray:
        shape = [len(range(*s.indices(size))) for s in index]
        return np.random.default_rng(me).standard_normal(shape, dtype=np.float32)

    array = jax.make_array_from_callback((size, size), sharding, part)

    def gather() -> None:
        whole = multihost_utils.process_allgather(array, tiled=True)
        if me == 0:
            peers.plain_write(Path(folder) / "g", {"w": np.asarray(whole)})

    ways = {
        "process_allgather + write": gather,
        "ours": lambda: ms.save_checkpoint({"w": array}, f"{folder}/o", durable=False),
        "ours, durable": lambda: ms.save_checkpoint({"w": array}, f"{folder}/d"),
        "Orbax": lambda: peers.orbax_save(Path(folder) / "x", {"w": array}),
        "Orbax, no compression": lambda: peers.orbax_save(
            Path(folder) / "y", {"w": array}, compressed=False
        ),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    extra: dict[str, float] = {}
    for number in range(int(rounds) + 1):
        order = list(ways)[number % len(ways) :] + list(ways)[: number % len(ways)]
        for name in order:
            if me == 0:
                for path in Path(folder).iterdir():
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
                os.sync()
            multihost_utils.sync_global_devices("ready")
            begin = time.perf_counter()
            if number:
                ways[name]()
            else:  # the first round warms up; here its memory is watched
                with peak_of(anonymous_mib) as peak:
                    ways[name]()
                extra[name] = max(extra.get(name, 0.0), peak[0])
            multihost_utils.sync_global_devices("done")
            if number:
                times[name].append(time.perf_counter() - begin)
    for name in ways:
        peaks = multihost_utils.process_allgather(np.array([extra[name]]))
        extra[name] = float(np.max(peaks))
    if me == 0:
        print(json.dumps({"times": times, "extra": extra}), flush=True)


main()
