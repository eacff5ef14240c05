"""Ratios of handing over language models, live arrays and folders of Hugging Face, in one run.

A Llama-like model in MaxText's layout, bfloat16, layers scanned on axis 1, sharded over a 2x4 mesh,
with Llama 3.1's rotary pairs. Times are medians over interleaved rounds, divided by those of the
named peer in the same run (checkpoint.py); extra MiB is the peak of anonymous memory beyond what
was there before, of loads beyond the arrays themselves. Files lie in memory (/dev/shm) where that
is. Run it alone on the machine:

    python tests/benchmarks/language_models.py               # everything, about 10 minutes
    python tests/benchmarks/language_models.py --only save --rounds 9
    python tests/benchmarks/language_models.py --scale 0.01  # a quick look at small sizes

It needs `pip install '.[test]'`, 12 GiB of memory, of which the files take 5.
"""

from __future__ import annotations

import os

_FLAG = "--xla_force_host_platform_device_count=8"
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {_FLAG}"
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import argparse
import importlib.metadata
import json
import logging
import math
import platform
import struct
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import by_hand
import jax
import ml_dtypes
import numpy as np
import peers
from rich.console import Console
from timing import Contender, anonymous_mib, measure, peak_of, remove, show

import msckpt_jax as ms
from msckpt_jax import names
from msckpt_jax.checkpoint import formats
from msckpt_jax.checkpoint.formats import shards
from msckpt_jax.checkpoint.formats.format import How
from msckpt_jax.conventions import saving
from msckpt_jax.conventions.loading import Translated

LIMIT = 300_000_000
DEEPSEEK_V3 = {
    "model_type": "deepseek_v3", "vocab_size": 129280, "hidden_size": 7168,
    "intermediate_size": 18432, "moe_intermediate_size": 2048, "num_hidden_layers": 61,
    "num_attention_heads": 128, "num_key_value_heads": 128, "n_shared_experts": 1,
    "n_routed_experts": 256, "q_lora_rank": 1536, "kv_lora_rank": 512, "qk_rope_head_dim": 64,
    "qk_nope_head_dim": 128, "v_head_dim": 128, "first_k_dense_replace": 3,
    "torch_dtype": "bfloat16",
}  # fmt: skip
#: Each name in the released, quantised files, and that of its scales.
TWICE = 2


class Bench:
    def __init__(self, folder: Path, rounds: int, scale: float):
        self.folder, self.rounds, self.scale = folder, rounds, scale
        self.console = Console(width=150)
        self.rows: list[dict[str, Any]] = []
        self.mesh = jax.make_mesh((2, 4), ("x", "y"))

    def run(self, title: str, contenders: list[Contender]) -> None:
        results = measure(contenders, self.rounds, self.folder, lambda p: p.name.startswith("keep"))
        load = os.getloadavg()[0]
        self.rows += show(f"{title} (load of the machine {load:.1f})", results, self.console)
        fastest = ", ".join(f"{r.contender.name} {min(r.seconds):.2f} s" for r in results)
        self.console.print(f"fastest: {fastest}\n")

    def family(self, layers: int = 24) -> ms.Family:
        """A model of 1.22 GiB with 24 layers, at scale 1."""

        def scaled(size: int) -> int:
            return max(1, round(size * self.scale**0.5 / 512)) * 512

        config = {
            "model_type": "llama", "vocab_size": scaled(16384), "hidden_size": scaled(1536),
            "num_hidden_layers": layers, "num_attention_heads": scaled(1536) // by_hand.HEAD,
            "num_key_value_heads": 4, "head_dim": by_hand.HEAD, "intermediate_size": scaled(4096),
            "torch_dtype": "bfloat16", "rope_scaling": {"rope_type": "llama3"},
        }  # fmt: skip
        return ms.Family(config, jax="maxtext", maxtext_model="llama3.1-8b")

    def like(self, family: ms.Family) -> Any:
        """The abstract tree on the mesh, cut as MaxText cuts it."""

        def placed(path: Any, leaf: Any) -> jax.ShapeDtypeStruct:
            sharding = jax.NamedSharding(self.mesh, spec(jax.tree_util.keystr(path), leaf.ndim))
            return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)

        return jax.tree_util.tree_map_with_path(placed, family.abstract(scanned=True))

    def live(self, family: ms.Family) -> Any:
        random = np.random.default_rng(0)

        def filled(leaf: jax.ShapeDtypeStruct) -> jax.Array:
            array = random.standard_normal(leaf.shape, np.float32).astype(ml_dtypes.bfloat16)
            return jax.device_put(array, leaf.sharding)

        return jax.block_until_ready(jax.tree.map(filled, self.like(family)))


def spec(path: str, ndim: int) -> jax.P:
    if "norm" in path:
        return jax.P()
    if "embedding" in path:
        return jax.P("y", "x")
    if ndim == 2:
        return jax.P("x", "y")
    if "out" in path or "wo" in path:
        return jax.P("y", *(None,) * (ndim - 2), "x")
    return jax.P("x", None, "y")


def nbytes(tree: Any) -> int:
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def save(tree: Any, path: Path, family: ms.Family) -> None:
    ms.save_checkpoint(tree, path, format="safetensors", max_shard_size=LIMIT, convention=family,
                       durable=False)  # fmt: skip


def saving_group(bench: Bench) -> None:
    family, folder = bench.family(), bench.folder
    tree = bench.live(family)
    bits = {"all": np.zeros(nbytes(tree), np.uint8)}
    save(tree, folder / "ours", family)
    by_hand.save(tree, folder / "by hand", LIMIT)
    check_equal(folder / "ours", folder / "by hand")
    bench.run(
        f"live arrays to Hugging Face's folder, {nbytes(tree) / 2**30:.2f} GiB on 2x4",
        [
            Contender("plain write", lambda: peers.plain_write(folder / "p", bits), None),
            Contender("plain write again", lambda: peers.plain_write(folder / "q", bits)),
            Contender("ours", lambda: save(tree, folder / "o", family), goal=2.2, extra=96,
                      at_least={"allgather, NumPy, save_file": 5}),
            Contender("allgather, NumPy, save_file",
                      lambda: by_hand.save(tree, folder / "h", LIMIT), rounds=5),
        ],
    )  # fmt: skip


def check_equal(ours: Path, theirs: Path) -> None:
    mine, other = (ms.load_checkpoint(str(path)) for path in (ours, theirs))
    assert mine.keys() == other.keys()
    for name in mine:
        assert bytes(mine[name].view(np.uint8)) == bytes(other[name].view(np.uint8)), name


def sizes_group(bench: Bench) -> None:
    """The memory of saves of three sizes: it does not grow."""
    for layers in (12, 24, 48):
        family = bench.family(layers)
        tree = bench.live(family)
        with peak_of(anonymous_mib) as extra:
            save(tree, bench.folder / "sized", family)
        remove(bench.folder / "sized")
        reached = "reached" if extra[0] <= 96 else "MISSED"
        bench.console.print(f"save of {nbytes(tree) / 2**30:.2f} GiB: {extra[0]:.0f} MiB extra "
                            f"(goal <= 96: {reached})")  # fmt: skip
        bench.rows.append({"group": "sizes", "bytes": nbytes(tree), "extra_mib": extra[0]})


def loading_group(bench: Bench) -> None:
    family, keep = bench.family(), bench.folder / "keep"
    like = bench.like(family)
    save(bench.live(family), keep, family)

    def ours() -> None:
        jax.block_until_ready(ms.load_checkpoint(str(keep), like=like, convention=family))

    command = [sys.executable, __file__, "--scale", str(bench.scale), "--load", str(keep)]
    beyond = float(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout.split()[-1])
    most = max(math.prod(x.sharding.shard_shape(x.shape)) for x in jax.tree.leaves(like)) * 2
    goal = 2 * most / 2**20 + 64
    bench.console.print(f"load: {beyond:.0f} MiB beyond the arrays (goal <= {goal:.0f}: "
                        f"{'reached' if beyond <= goal else 'MISSED'})")  # fmt: skip
    bench.rows.append({"group": "load", "extra_mib": beyond, "goal": goal})
    tree = ms.load_checkpoint(str(keep), like=like, convention=family)
    same = jax.tree.map(np.array_equal, tree, by_hand.load(keep, like))
    assert all(jax.tree.leaves(same))
    del tree
    bench.run(
        f"Hugging Face's folder to a 2x4 mesh, {nbytes(like) / 2**30:.2f} GiB",
        [
            Contender("load_file, stack, device_put", lambda: void(by_hand.load(keep, like)), None,
                      memory=False),
            Contender("ours", ours, "load_file, stack, device_put", goal=0.6, memory=False),
        ],
    )  # fmt: skip


def print_memory_of_load(bench: Bench, folder: Path) -> None:
    """Print the MiB beyond the arrays, in a process that has no memory to use again."""
    family = bench.family()
    like = bench.like(family)
    with peak_of(anonymous_mib) as extra:
        tree = jax.block_until_ready(ms.load_checkpoint(str(folder), like=like, convention=family))
    print(extra[0] - nbytes(tree) / 2**20)


def void(_: Any) -> None:
    """Let a value go within the time that is measured."""


def planning_group(bench: Bench) -> None:
    """DeepSeek-V3 with its 671 billion parameters, without any: 163 files with holes for bytes.

    One thread does it: what counts is the time of the CPU, whoever else is on the machine.
    """
    family = ms.Family(DEEPSEEK_V3, jax="maxtext")
    shapes = ms.Family(DEEPSEEK_V3, jax="huggingface").abstract()
    if bench.scale < 1:
        shapes = dict(list(shapes.items())[:: round(1 / bench.scale)])
    tensors = {name: leaf.shape for name, leaf in shapes.items()}
    write_headers(bench.folder / "keep", tensors)
    write_headers(bench.folder / "keep twice", dict(twice(tensors)))
    like = family.abstract(scanned=True)

    def files_to_tree() -> None:
        parameters = ms.load_checkpoint(str(bench.folder / "keep"))
        leaves = names.named_leaves(like)
        view = Translated(family.targets(like), leaves, parameters, family)
        void([view[leaf] for leaf in view])

    def tree_to_files() -> None:
        holes = jax.tree.map(lambda x: np.broadcast_to(np.zeros((), x.dtype), x.shape), like)
        records = saving.from_tree(holes, family, lambda name: True)
        files = shards.dealt(records, 5_000_000_000).files
        void([formats.plan("safetensors", list(group), How()) for group in files.values()])

    contenders = [
        Contender(f"headers of {TWICE * len(tensors):,} tensors",
                  lambda: cpu_of(lambda: ms.open_checkpoint(str(bench.folder / "keep twice"))),
                  None, 2000, absolute=True, extra=200),
        Contender("tree to files", lambda: cpu_of(tree_to_files), None, 2000, absolute=True,
                  extra=200),
    ]  # fmt: skip
    if bench.scale >= 1:
        contenders.append(Contender("files to tree", lambda: cpu_of(files_to_tree), None, 2000,
                                    absolute=True, extra=200))  # fmt: skip
    bench.run("planning of DeepSeek-V3, 671B, 163 files, milliseconds of CPU", contenders)


def cpu_of(work: Callable[[], Any]) -> float:
    begin = time.process_time()
    work()
    return time.process_time() - begin


def twice(tensors: Mapping[str, tuple[int, ...]]) -> Iterator[tuple[str, tuple[int, ...]]]:
    for name, shape in tensors.items():
        yield name, shape
        yield f"{name}_scale_inv", tuple(-(-n // 128) for n in shape)


def write_headers(folder: Path, tensors: Mapping[str, tuple[int, ...]], count: int = 163) -> None:
    """A folder of Hugging Face whose files have all names and shapes, and no bytes."""
    folder.mkdir()
    places: dict[str, str] = {}
    items = list(tensors.items())
    for number in range(count):
        file = f"model-{number + 1:05}-of-{count:05}.safetensors"
        offset, header = 0, {}
        for name, shape in items[number::count]:
            stop = offset + 2 * math.prod(shape)
            header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [offset, stop]}
            places[name], offset = file, stop
        text = json.dumps(header).encode()
        with open(folder / file, "wb") as stream:
            stream.write(struct.pack("<Q", len(text)) + text)
            stream.truncate(8 + len(text) + offset)
    index = {"metadata": {}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


GROUPS: dict[str, Callable[[Bench], None]] = {
    "save": saving_group, "sizes": sizes_group, "load": loading_group, "planning": planning_group,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    memory = "/dev/shm" if os.path.isdir("/dev/shm") else None
    parser.add_argument("--only", nargs="+", choices=GROUPS, default=list(GROUPS))
    parser.add_argument("--rounds", type=int, default=7, help="counted rounds (default 7)")
    parser.add_argument("--scale", type=float, default=1.0, help="scales the sizes")
    parser.add_argument("--json", metavar="FILE", help="write the figures there, too")
    parser.add_argument("--folder", default=memory, help=f"for the files (default {memory})")
    parser.add_argument("--load", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    if args.load:
        print_memory_of_load(Bench(args.load, 0, args.scale), args.load)
        return
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        bench = Bench(Path(folder), args.rounds, args.scale)
        packages = ("msckpt_jax", "jax", "safetensors", "numpy")
        versions = ", ".join(f"{p} {importlib.metadata.version(p)}" for p in packages)
        bench.console.print(f"{versions}; {os.cpu_count()} cores; {platform.platform()}\n")
        for name in args.only:
            GROUPS[name](bench)
            for path in Path(folder).glob("*"):
                remove(path)
        if args.json:
            Path(args.json).write_text(json.dumps(bench.rows, indent=1))


if __name__ == "__main__":
    main()
