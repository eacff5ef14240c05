"""Ratios of saving and loading CheckPoints against named peers, measured in one run.

Times are medians over interleaved rounds in rotating order, divided by the time of a plain
os.write loop (or a memcpy) of the same bytes in the same run; extra MiB is the peak of anonymous
memory beyond what was there before. Run it alone on the machine:

    python tests/benchmarks/checkpoint.py                      # everything, about 20 minutes
    python tests/benchmarks/checkpoint.py --only save-large sharded --rounds 9
    python tests/benchmarks/checkpoint.py --scale 0.05         # a quick look at small sizes

It needs `pip install '.[test]'`, 12 GiB of memory and 8 GiB of disk.
"""

from __future__ import annotations

import os

_FLAG = "--xla_force_host_platform_device_count=8"
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {_FLAG}"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import argparse
import functools
import importlib.metadata
import json
import logging
import platform
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import jax
import jax.numpy as jnp
import numpy as np
import peers
import safetensors.numpy
from rich.console import Console
from timing import Contender, measure, remove, show

import msckpt_jax as ms
from msckpt_jax import boxes

TREES = {"large": (8, 1 << 26), "medium": (2_000, 1 << 18), "small": (20_000, 1 << 10)}
#: ratio to a plain write, and factors over MindSpore and Orbax
GOALS: dict[str, tuple[float | None, dict[str, float]]] = {
    "large": (0.7, {"safetensors": 1, "MindSpore": 8, "Orbax": 4}),
    "medium": (None, {}),
    "small": (3, {"MindSpore": 4, "Orbax": 80}),
}
OTHER_WAYS = ("gather, then write", "Orbax", "Orbax, no compression")
SPECS = {"axis 0": jax.P(("x", "y")), "axis 1": jax.P(None, ("x", "y")), "both": jax.P("x", "y")}


class Bench:
    def __init__(self, folder: Path, rounds: int, scale: float):
        self.folder, self.rounds, self.scale = folder, rounds, scale
        self.console = Console(width=150)
        self.rows: list[dict[str, Any]] = []
        self.mindspore = peers.MindSpore()

    def run(
        self, title: str, contenders: list[Contender], keep: Callable[[Path], bool] | None = None
    ) -> None:
        results = measure(contenders, self.rounds, self.folder, keep or (lambda path: False))
        self.rows += show(title, results, self.console)

    def arrays(self, kind: str) -> dict[str, np.ndarray]:
        count, size = TREES[kind]
        count = max(2, int(count * self.scale)) if kind != "large" else count
        size = max(1024, int(size * self.scale)) if kind == "large" else size
        random = np.random.default_rng(0)  # constants would be compressed to nothing by Orbax
        return {
            f"layer{i}.weight": random.standard_normal(size, dtype=np.float32) for i in range(count)
        }


def save_group(bench: Bench, kind: str) -> None:
    arrays = bench.arrays(kind)
    on_jax = {name: jnp.asarray(array) for name, array in arrays.items()}
    bench.mindspore.ask("make", count=len(arrays), shape=next(iter(arrays.values())).shape)
    folder, (goal, factors) = bench.folder, GOALS[kind]
    ours, path = ms.save_checkpoint, str(folder / "ours.ckpt")
    slow = 1 if kind == "small" else 3
    bench.run(
        f"save {kind}: {len(arrays):,} x {next(iter(arrays.values())).nbytes / 2**20:g} MiB",
        [
            Contender("plain write", lambda: peers.plain_write(folder / "p", arrays), None),
            Contender("plain write again", lambda: peers.plain_write(folder / "q", arrays)),
            Contender("ours", lambda: ours(arrays, path, durable=False), goal=goal,
                      at_least=factors),
            Contender("ours + crc", lambda: ours(arrays, path, durable=False, crc_check=True),
                      "ours", goal=1.3),
            Contender("ours, jax.Array", lambda: ours(on_jax, path, durable=False), goal=goal),
            Contender("plain write + fsync",
                      lambda: peers.plain_write(folder / "f", arrays, sync=True)),
            Contender("ours, durable", lambda: ours(arrays, path), "plain write + fsync",
                      goal=goal),
            Contender("safetensors",
                      lambda: peers.safetensors_save(folder / "s.safetensors", arrays)),
            Contender("Orbax", lambda: peers.orbax_save(folder / "orbax", on_jax), rounds=slow),
            Contender("Orbax, asynchronous, to the end",
                      lambda: void(peers.orbax_blocked(folder / "orbax", on_jax)), rounds=slow),
            Contender("MindSpore + crc", lambda: bench.mindspore.save(folder / "m.ckpt", crc=True),
                      rounds=slow, memory=False),
            Contender("MindSpore", lambda: bench.mindspore.save(folder / "m.ckpt"), rounds=3,
                      memory=False),
        ],
    )  # fmt: skip


def load_group(bench: Bench, kind: str) -> None:
    arrays = bench.arrays(kind)
    folder, path = bench.folder, str(bench.folder / "keep.ckpt")
    ms.save_checkpoint(arrays, path)
    safetensors.numpy.save_file(arrays, folder / "keep.safetensors")
    peers.orbax_save(folder / "keep.orbax", arrays)
    like = {n: jax.ShapeDtypeStruct(a.shape, a.dtype) for n, a in arrays.items()}
    bench.mindspore.ask("make", count=1, shape=[1])  # let go of what it saved
    data = np.memmap(path, np.uint8, "r")

    def touch() -> None:
        for array in ms.load_checkpoint(path).values():
            array.copy()

    bench.run(
        f"load {kind}",
        [
            Contender("memcpy", lambda: void(data.copy()), None),
            Contender("ours, index only", lambda: void(ms.load_checkpoint(path)), "memcpy"),
            Contender("ours, every value copied", touch, "memcpy"),
            Contender("ours, like=", lambda: void(ms.load_checkpoint(path, like=like)), "memcpy"),
            Contender(
                "safetensors",
                lambda: void(safetensors.numpy.load_file(folder / "keep.safetensors")),
                "memcpy",
            ),
            Contender(
                "Orbax", lambda: void(peers.orbax_load(folder / "keep.orbax")), "memcpy", rounds=2
            ),
            Contender(
                "MindSpore",
                lambda: bench.mindspore.load(Path(path)),
                "memcpy",
                rounds=2,
                memory=False,
            ),
        ],
        keep=lambda p: p.name.startswith("keep"),
    )


def void(_: Any) -> None:
    """Let a value go within the time that is measured."""


def one_tensor(bench: Bench) -> None:
    arrays = bench.arrays("large") | {"small": np.arange(1 << 20, dtype=np.float32)}
    path = str(bench.folder / "keep.ckpt")
    ms.save_checkpoint(arrays, path)

    def read() -> None:
        void(ms.open_checkpoint(path)["small"].copy())

    bench.run(
        "open 2 GiB and read one tensor of 4 MiB",
        [Contender("ours", read, None, goal=20, absolute=True)],
        keep=lambda p: p.name.startswith("keep"),
    )


def matrix(bench: Bench, specs: dict[str, jax.P]) -> tuple[np.ndarray, dict[str, jax.Array]]:
    """A 2 GiB matrix, and the same on a 2x4 mesh."""
    side = int((2**31 * bench.scale / 4) ** 0.5) // 8 * 8
    whole = np.random.default_rng(0).standard_normal((side, side), dtype=np.float32)
    mesh = jax.make_mesh((2, 4), ("x", "y"))
    return whole, {
        name: jax.device_put(whole, jax.NamedSharding(mesh, spec)) for name, spec in specs.items()
    }


def fresh(array: jax.Array) -> jax.Array:
    """The same array without the host copy that NumPy's view of it leaves behind."""
    return jax.make_array_from_single_device_arrays(
        array.shape, array.sharding, [shard.data for shard in array.addressable_shards]
    )


def sharded(bench: Bench) -> None:
    for name, spec in (SPECS | {"no axis (replicated)": jax.P()}).items():
        whole, arrays = matrix(bench, {name: spec})
        bench.run(
            f"save sharded over {name}: {whole.nbytes / 2**30:.1f} GiB on 2x4",
            sharded_contenders(bench.folder, whole, arrays[name]),
        )


def sharded_contenders(folder: Path, whole: np.ndarray, array: jax.Array) -> list[Contender]:
    plain = {"w": whole}

    def gather() -> None:
        peers.plain_write(folder / "g", {"w": np.asarray(fresh(array))})

    def ours(durable: bool = False) -> None:
        ms.save_checkpoint({"w": array}, str(folder / "o.ckpt"), durable=durable)

    def orbax(compressed: bool) -> None:
        peers.orbax_save(folder / "orbax", {"w": array}, compressed=compressed)

    return [
        Contender("plain write", lambda: peers.plain_write(folder / "p", plain), None),
        Contender("plain write again", lambda: peers.plain_write(folder / "q", plain)),
        Contender("ours", ours, goal=1.3, at_least=dict.fromkeys(OTHER_WAYS, 1.0)),
        Contender("gather, then write", gather, rounds=3),
        Contender("Orbax", lambda: orbax(True), rounds=3),
        Contender("Orbax, no compression", lambda: orbax(False), rounds=3),
        Contender("plain write + fsync", lambda: peers.plain_write(folder / "f", plain, sync=True)),
        Contender("ours, durable", lambda: ours(True), "plain write + fsync", goal=1.3),
    ]


def mesh_load(bench: Bench) -> None:
    whole, _ = matrix(bench, {})
    path = str(bench.folder / "keep.ckpt")
    ms.save_checkpoint({"w": whole}, path)
    data = np.memmap(path, np.uint8, "r")
    mesh = jax.make_mesh((2, 4), ("x", "y"))

    def load(spec: jax.P) -> None:
        sharding = jax.NamedSharding(mesh, spec)
        like = {"w": jax.ShapeDtypeStruct(whole.shape, whole.dtype, sharding=sharding)}
        jax.block_until_ready(ms.load_checkpoint(path, like=like))

    bench.run(
        f"load {whole.nbytes / 2**30:.1f} GiB onto a 2x4 mesh",
        [Contender("memcpy", lambda: void(data.copy()), None, memory=False)]
        + [
            Contender(f"ours, {name}", functools.partial(load, spec), "memcpy", 1.2, memory=False)
            for name, spec in SPECS.items()
        ],
        keep=lambda p: p.name.startswith("keep"),
    )
    for name, spec in SPECS.items():
        read = bytes_read(functools.partial(load, spec)) / whole.nbytes
        bench.console.print(f"{name}: {read:.2f} of the bytes read (goal <= 1)")


def many_small(bench: Bench) -> None:
    count = max(1, round(10_000 * bench.scale))
    arrays = [np.full(1024, n, np.float32) for n in range(count)]
    path = str(bench.folder / "keep.ckpt")
    ms.save_checkpoint({f"w{n}": array for n, array in enumerate(arrays)}, path)
    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    leaf = jax.ShapeDtypeStruct((1024,), np.float32, sharding=device)
    like = {f"w{n}": leaf for n in range(count)}

    def load() -> None:
        jax.block_until_ready(ms.load_checkpoint(path, like=like))

    def put() -> None:
        jax.block_until_ready(jax.device_put(arrays, device))

    bench.run(
        f"load {count:,} tensors of 4 KiB",
        [
            Contender("device_put of the list", put, None, memory=False),
            Contender("ours, like=", load, "device_put of the list", 1.8, memory=False),
        ],
        keep=lambda p: p.name.startswith("keep"),
    )


def bytes_read(work: Callable[[], Any]) -> int:
    """How many bytes ``work`` takes from the pieces of files."""
    found: list[int] = []
    original = boxes.gather

    def counting(pieces: Any, box: Any, out: np.ndarray) -> None:
        found.append(out.nbytes)
        original(pieces, box, out)

    boxes.gather = counting
    try:
        work()
    finally:
        boxes.gather = original
    return sum(found)


def asynchronous(bench: Bench) -> None:
    arrays = bench.arrays("large")
    on_jax = {name: jnp.asarray(array) for name, array in arrays.items()}
    on_mesh = matrix(bench, {"both": SPECS["both"]})[1]
    bench.mindspore.ask("make", count=len(arrays), shape=next(iter(arrays.values())).shape)
    folder = bench.folder
    path = str(folder / "o.ckpt")

    def blocked(tree: Any, how: str) -> float:
        begin = time.perf_counter()
        save = ms.save_checkpoint(tree, path, async_save=how)
        seconds = time.perf_counter() - begin
        assert save is not None
        save.result()
        return seconds

    def copy() -> None:
        void([array.copy() for array in arrays.values()])

    bench.run(
        "milliseconds that an asynchronous save of 2 GiB blocks the caller",
        [
            Contender("memcpy", copy, None, memory=False),
            Contender("ours, jax.Array, thread", lambda: blocked(on_jax, "thread"), None, 20,
                      absolute=True, memory=False),
            Contender("ours, sharded, thread", lambda: blocked(on_mesh, "thread"), None, 20,
                      absolute=True, memory=False),
            Contender("ours, NumPy, thread", lambda: blocked(arrays, "thread"), "memcpy", 20,
                      absolute=True, beyond="memcpy", memory=False),
            Contender("ours, NumPy, process", lambda: blocked(arrays, "process"), "memcpy", 20,
                      absolute=True, beyond="memcpy", memory=False),
            Contender("Orbax, jax.Array", lambda: peers.orbax_blocked(folder / "orbax", on_jax),
                      "memcpy", rounds=3, memory=False),
            Contender("MindSpore, thread",
                      lambda: bench.mindspore.save(folder / "m.ckpt", **{"async": "thread"}),
                      "memcpy", rounds=3, memory=False),
        ],
    )  # fmt: skip


GROUPS: dict[str, Callable[[Bench], None]] = {
    **{f"save-{kind}": functools.partial(save_group, kind=kind) for kind in TREES},
    **{f"load-{kind}": functools.partial(load_group, kind=kind) for kind in TREES},
    "one-tensor": one_tensor,
    "sharded": sharded,
    "mesh-load": mesh_load,
    "many-small": many_small,
    "async": asynchronous,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=GROUPS, default=list(GROUPS))
    parser.add_argument("--rounds", type=int, default=7, help="counted rounds (default 7)")
    parser.add_argument("--scale", type=float, default=1.0, help="scales the sizes")
    parser.add_argument("--json", metavar="FILE", help="write the figures there, too")
    parser.add_argument("--folder", help="where files are written (default: a temporary one)")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        bench = Bench(Path(folder), args.rounds, args.scale)
        packages = ("msckpt_jax", "jax", "orbax-checkpoint", "safetensors", "mindspore", "numpy")
        versions = ", ".join(f"{p} {importlib.metadata.version(p)}" for p in packages)
        bench.console.print(f"{versions}; {os.cpu_count()} cores; {platform.platform()}\n")
        for name in args.only:
            GROUPS[name](bench)
            for path in Path(folder).glob("keep*"):
                remove(path)
        if args.json:
            Path(args.json).write_text(json.dumps(bench.rows, indent=1))


if __name__ == "__main__":
    main()
