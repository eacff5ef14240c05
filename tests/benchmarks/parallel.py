"""Ratios of saving from several processes and of merging rank files, in one run each.

Processes: one file from 2 and 4 processes of jax.distributed (gloo) against a gather to process 0
and against Orbax; wall time from barrier to barrier, extra memory of the process that needs most.
Merging: rank files of 8 ranks to one, against real MindSpore's transform_checkpoints. Run it alone:

    python tests/benchmarks/parallel.py               # about 6 minutes
    python tests/benchmarks/parallel.py --scale 0.05  # a quick look at small sizes
"""

from __future__ import annotations

import os

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import argparse
import json
import logging
import shutil
import socket
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import jax
import numpy as np
import peers
from rich.console import Console
from timing import Contender, Result, anonymous_mib, measure, peak_of, show

import msckpt_jax as ms


def processes(count: int, spec: str, rounds: int, side: int, console: Console) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    with tempfile.TemporaryDirectory() as folder:
        script = str(Path(__file__).with_name("process.py"))
        args = [port, folder, spec, str(rounds), str(side)]
        started = [
            subprocess.Popen(
                [sys.executable, script, str(count), str(i), *args],
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
            for i in range(count)
        ]
        outputs = [process.communicate()[0] for process in started]
    if any(process.returncode for process in started):
        raise RuntimeError(f"a process failed; by hand: {script} {count} RANK {' '.join(args)}")
    found = json.loads(outputs[0].splitlines()[-1])
    unit = "process_allgather + write"
    results = []
    for name, times in found["times"].items():
        ours = name.startswith("ours")
        others = dict.fromkeys(found["times"].keys() - {"ours", "ours, durable"}, 1.0)
        contender = Contender(
            name, lambda: None, None if name == unit else unit, 1.0 if ours else None,
            at_least=others if name == "ours" else {},
        )  # fmt: skip
        results.append(Result(contender, times, found["extra"][name]))
    title = f"{count} processes, {side * side * 4 / 2**30:.2g} GiB sharded over {spec}"
    show(title, results, console)


def merging(rounds: int, side: int, folder: Path, console: Console) -> None:
    mesh = jax.make_mesh((2, 4), ("x", "y"))
    random = np.random.default_rng(0)
    specs = [jax.P("x", "y"), jax.P(None, ("x", "y")), jax.P(("y", "x")), jax.P("y")] * 2
    tree = {
        f"layer{i}.weight": jax.device_put(
            random.standard_normal((side, side), dtype=np.float32), jax.NamedSharding(mesh, spec)
        )
        for i, spec in enumerate(specs)
    }
    source = folder / "keep"
    source.mkdir()
    ms.save_checkpoint(tree, str(source / "net.ckpt"), integrated_save=False)
    del tree
    mindspore = peers.MindSpore()
    strategy = str(source / "strategy.ckpt")
    theirs, ours = folder / "theirs", folder / "ours"

    def merge() -> None:
        ms.transform_checkpoints(source, ours, "p", strategy)

    def merge_theirs() -> float:
        return mindspore.ask("merge", src=str(source), dst=str(theirs), strategy=strategy)

    contenders = [
        Contender("MindSpore", merge_theirs, None, rounds=min(3, rounds), memory=False),
        Contender("ours, durable", merge, "MindSpore", 1 / 5),
    ]
    results = measure(contenders, rounds, folder, lambda path: path.name == "keep")
    pid = str(mindspore.process.pid)
    with peak_of(lambda: anonymous_mib(pid)) as extra:
        merge_theirs()
    results[0].extra = extra[0]
    title = f"merge 8 rank files of {8 * side * side * 4 / 2**30:.2g} GiB in all into one"
    show(title, results, console)
    shutil.rmtree(source)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5, help="counted rounds (default 5)")
    parser.add_argument("--scale", type=float, default=1.0, help="scales the sizes")
    parser.add_argument("--only", choices=["processes", "merge"])
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    console = Console(width=150)
    side = int((args.scale * 2**30 / 4) ** 0.5) // 64 * 64
    if args.only != "merge":
        for count in (2, 4):
            for spec in ("axis 0", "axis 1"):
                processes(count, spec, args.rounds, side, console)
    if args.only != "processes":
        with tempfile.TemporaryDirectory() as folder:
            side = int((args.scale * 2**31 / 8 / 4) ** 0.5) // 64 * 64
            merging(args.rounds, side, Path(folder), console)


if __name__ == "__main__":
    main()
