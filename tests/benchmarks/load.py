"""MindSpore's own MindIR in JAX: its calls and compilation beside Flax, its file beside a read.

MindSpore exports its networks in a process of its own; Flax has the same ones, with other numbers.
Rounds are interleaved in rotating order. Run it alone on the machine:

    python tests/benchmarks/load.py                      # about 10 minutes
    python tests/benchmarks/load.py --only compile file
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import jax
import numpy as np
from models import Peer, mindspore
from networks import NETWORKS, ours
from rich.console import Console
from timing import Contender, measure, show

import msckpt_jax as ms

Rows = list[dict[str, Any]]


def exported(name: str, folder: Path, peer: Peer) -> dict[str, str]:
    """The file that MindSpore exports, and that of its inputs."""
    case = NETWORKS[name]
    files = {"file": str(folder / "own.mindir"), "inputs": str(folder / "inputs.npz")}
    np.savez(files["inputs"], *case.inputs)
    peer.ask("export", net=case.mindspore, args=list(case.arguments), **files)
    return files


def calls(name: str, folder: Path, rounds: int, console: Console, peer: Peer) -> Rows:
    """Seconds of a call: of the loaded function, of Flax under jit, and in MindSpore.

    Under ``jit`` weights are constants, which XLA lays out once, or arguments.
    """
    files = exported(name, folder, peer)
    peer.ask("load", file=files["file"])
    net, inputs = ours(name)
    loaded = ms.load(files["file"])
    given = NETWORKS[name].inputs
    jitted = {
        "Flax": _call(jax.jit(lambda *x: net(*x)), *inputs),
        "loaded": _call(jax.jit(loaded), *given),
        "Flax, weights as arguments": _call(jax.jit(lambda net, *x: net(*x)), net, *inputs),
        "loaded, weights as arguments": _call(jax.jit(loaded.apply), loaded.on_device, *given),
    }
    contenders = [
        Contender(what, call, what.replace("loaded", "Flax") if "loaded" in what else None,
                  1.1 if "loaded" in what else None, memory=False)
        for what, call in jitted.items()
    ]  # fmt: skip
    contenders.append(
        Contender("MindSpore", lambda: peer.ask("run", **files), "Flax", rounds=2, memory=False)
    )
    results = measure(contenders, 3 * rounds, folder, lambda path: True)
    return show(f"one call of {name}, exported by MindSpore", results, console)


def compilation(name: str, folder: Path, rounds: int, console: Console, peer: Peer) -> Rows:
    """Seconds to trace and to compile."""
    loaded = ms.load(exported(name, folder, peer)["file"])
    net, inputs = ours(name)

    def compiled(function: Callable[..., Any], *arguments: Any) -> Callable[[], float]:
        def run() -> float:
            jax.clear_caches()
            begin = time.perf_counter()
            jax.jit(lambda *given: function(*given)).lower(*arguments).compile()
            return time.perf_counter() - begin

        return run

    contenders = [
        Contender("Flax", compiled(lambda net, *x: net(*x), net, *inputs), None, memory=False),
        Contender("loaded", compiled(loaded.apply, loaded.on_device, *NETWORKS[name].inputs),
                  "Flax", 1.5, memory=False),
    ]  # fmt: skip
    results = measure(contenders, rounds, folder, lambda path: True)
    return show(f"jit of {name}, exported by MindSpore", results, console)


def file(name: str, folder: Path, rounds: int, console: Console, peer: Peer) -> Rows:
    """Seconds and memory to load the file, with its weights left there, and in JAX's memory."""
    path = Path(exported(name, folder, peer)["file"])
    size = path.stat().st_size / 2**20

    def onto_device() -> None:
        jax.block_until_ready(ms.load(path).on_device)

    contenders = [
        Contender("a plain read", lambda: path.read_bytes() and None, None),
        Contender("load", lambda: ms.load(path) and None, "a plain read", 1.0),
        Contender("load, weights in JAX's memory", onto_device, "a plain read", extra=1.1 * size),
        Contender("MindSpore's load", lambda: peer.ask("load", file=str(path)), "a plain read",
                  memory=False),
    ]  # fmt: skip
    results = measure(contenders, rounds, folder, lambda path: True)
    return show(f"a MindIR of {size:.0f} MiB ({name})", results, console)


GROUPS: dict[str, Callable[..., Rows]] = {"call": calls, "compile": compilation, "file": file}
_NETWORKS = [name for name, case in NETWORKS.items() if case.mindspore]


def _call(function: Callable[..., Any], *arguments: Any) -> Callable[[], None]:
    def run() -> None:
        jax.block_until_ready(function(*arguments))

    return run


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=GROUPS, default=list(GROUPS))
    parser.add_argument("--networks", nargs="+", choices=_NETWORKS, default=_NETWORKS)
    parser.add_argument("--rounds", type=int, default=5, help="counted rounds (default 5)")
    parser.add_argument("--json", metavar="FILE", help="write the figures there, too")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    console, rows = Console(width=150), []
    for group in args.only:
        for name in args.networks:
            peer = mindspore()
            with tempfile.TemporaryDirectory() as folder:
                rows += GROUPS[group](name, Path(folder), args.rounds, console, peer)
            peer.close()
    if args.json:
        Path(args.json).write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
