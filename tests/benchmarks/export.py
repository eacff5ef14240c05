"""Export, and the latency of what is exported, beside MindSpore's own export and jax2onnx.

Each peer runs in a process of its own and measures itself. Rounds are interleaved in rotating
order. MindSpore's CPU takes 12 s for one image through ResNet-50's Conv2D, ours and its own alike.
Run it alone on the machine:

    python tests/benchmarks/export.py                     # about 15 minutes
    python tests/benchmarks/export.py --only export load  # some of the groups
"""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import argparse
import functools
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
import onnxruntime
from flax import nnx
from models import Peer, jax2onnx, mindspore
from networks import NETWORKS, ours
from peers import PeerRefusedError
from rich.console import Console
from timing import Contender, anonymous_mib, measure, peak_of, show

import msckpt_jax as ms

Rows = list[dict[str, Any]]


def export_time(name: str, folder: Path, rounds: int, console: Console) -> Rows:
    """Seconds from a network in memory to a complete file."""
    case = NETWORKS[name]
    np.savez(folder / "inputs.npz", *case.inputs)
    peer, other = mindspore(), jax2onnx()

    def our(file_format: str) -> Callable[[], float]:
        def run() -> float:
            net, inputs = ours(name)  # a new one each time, as MindSpore's is
            begin = time.perf_counter()
            ms.export(net, *inputs, file_name=folder / "a", file_format=file_format, durable=False)
            return time.perf_counter() - begin

        return run

    theirs = {
        "net": case.mindspore,
        "args": list(case.arguments),
        "file": str(folder / "b"),
        "inputs": str(folder / "inputs.npz"),
    }
    contenders = [
        Contender("MindSpore's export", lambda: peer.ask("export", **theirs), None, memory=False),
        Contender("jax2onnx", lambda: other.ask("export", net=name, file=str(folder / "c.onnx")),
                  "MindSpore's export", memory=False),
        Contender("ours, MINDIR", our("MINDIR"), "MindSpore's export",
                  at_least={"MindSpore's export": 3}, memory=False),
        Contender("ours, ONNX", our("ONNX"), "jax2onnx", goal=1.05, memory=False),
        Contender("ours, AIR", our("AIR"), "ours, MINDIR", goal=1.2, memory=False),
    ]  # fmt: skip
    keep = {"inputs.npz"}
    results = measure(contenders, rounds, folder, lambda path: path.name in keep)
    peer.close()
    other.close()
    return show(f"export of {name}", results, console)


def latency(name: str, folder: Path, rounds: int, console: Console) -> Rows:
    """Seconds of one call in MindSpore's CPU, and of the function under ``jax.jit``."""
    net, inputs = ours(name)
    case = NETWORKS[name]
    files = {"default": folder / "ours.mindir", "cpu": folder / "cpu.mindir"}
    for target, path in files.items():
        ms.export(net, *inputs, file_name=path, target=None if target == "default" else target)
    np.savez(folder / "theirs.npz", *case.inputs)
    np.savez(folder / "ours.npz", *inputs)
    peer = mindspore()
    own = {"file": str(folder / "own.mindir"), "inputs": str(folder / "theirs.npz")}
    peer.ask("export", net=case.mindspore, args=list(case.arguments), **own)
    for path in (own["file"], *map(str, files.values())):
        peer.ask("load", file=path)

    def runs(path: Path) -> Callable[[], float]:
        return lambda: peer.ask("run", file=str(path), inputs=str(folder / "ours.npz"))

    compiled = jax.jit(lambda *x: net(*x))
    slow = 3 if name == "ResNet-50" else rounds
    contenders = [
        Contender("MindSpore's own file", lambda: peer.ask("run", **own), None, rounds=slow,
                  memory=False),
        Contender("ours", runs(files["default"]), "MindSpore's own file", 1.05, slow, memory=False),
        Contender("ours, target='cpu'", runs(files["cpu"]), "MindSpore's own file",
                  0.2 if name == "ResNet-50" else 1.05, memory=False),
        Contender("jax.jit", lambda: _call(compiled, inputs), "ours", memory=False),
    ]  # fmt: skip
    results = measure(contenders, rounds, folder, lambda path: True)
    peer.close()
    return show(f"one call of {name} on MindSpore's CPU", results, console)


def loaded(name: str, folder: Path, rounds: int, console: Console) -> Rows:
    """Seconds of a call of the function that ``load`` gives, beside the original, under jit."""
    net, inputs = ours(name)
    file = ms.export(net, *inputs, file_name=folder / "ours").file
    found = ms.load(file)
    weights = {k: jnp.asarray(v) for k, v in found.parameters.items()}
    original = jax.jit(lambda net, *x: net(*x))
    again = jax.jit(found.apply)
    contenders = [
        Contender("the original", lambda: _call(original, [net, *inputs]), None, memory=False),
        Contender("loaded", lambda: _call(again, [weights, *inputs]), "the original", 1.1,
                  memory=False),
    ]  # fmt: skip
    results = measure(contenders, 3 * rounds, folder, lambda path: True)
    return show(f"{name} under jax.jit, loaded from its MindIR", results, console)


def onnx_export(name: str, folder: Path, rounds: int, console: Console) -> Rows:
    """Seconds from a network in memory to a complete file, beside jax2onnx."""
    other = jax2onnx()

    def our() -> float:
        net, inputs = ours(name)
        begin = time.perf_counter()
        ms.export(net, *inputs, file_name=folder / "a", file_format="ONNX", durable=False)
        return time.perf_counter() - begin

    theirs = {"net": name, "file": str(folder / "b.onnx")}
    contenders = [
        Contender("jax2onnx", lambda: other.ask("export", **theirs), None, memory=False),
        Contender("ours", our, "jax2onnx", 1.05, memory=False),
    ]
    try:
        other.ask("export", **theirs)
    except PeerRefusedError as error:
        console.print(f"jax2onnx does not export {name}: {str(error)[:120]}")
        contenders = [Contender("ours", our, None, memory=False)]
    results = measure(contenders, rounds, folder, lambda path: False)
    other.close()
    return show(f"export of {name} as ONNX", results, console)


def onnx_latency(name: str, folder: Path, rounds: int, console: Console) -> Rows:
    """Seconds of one call in onnxruntime, our file beside jax2onnx's, and of ``jax.jit``."""
    net, inputs = ours(name)
    structure, state = nnx.split(net)
    jitted = jax.jit(lambda state, *x: nnx.merge(structure, state)(*x))
    compiled = functools.partial(jitted, state)
    expected = jax.tree.leaves(compiled(*inputs))
    file = ms.export(net, *inputs, file_name=folder / "ours", file_format="ONNX").file
    contenders = [Contender("jax.jit", lambda: _call(compiled, inputs), None, memory=False)]
    other: Peer = jax2onnx()
    try:
        other.ask("export", net=name, file=str(folder / "theirs.onnx"))
        theirs = _session(folder / "theirs.onnx", inputs, expected)
    except (PeerRefusedError, ValueError, onnxruntime.capi.onnxruntime_pybind11_state.Fail) as e:
        console.print(f"{name} by jax2onnx: {type(e).__name__}: {str(e)[:120]}")
        unit, goal = "jax.jit", None
    else:
        contenders.append(Contender("jax2onnx", theirs, "jax.jit", memory=False))
        unit, goal = "jax2onnx", 1.05
    other.close()
    contenders.append(Contender("ours", _session(file, inputs, expected), unit, goal, memory=False))
    results = measure(contenders, 4 * rounds, folder, lambda path: True)
    return show(f"one call of {name} in onnxruntime", results, console)


def _session(file: Path, inputs: Any, expected: Any) -> Callable[[], None]:
    """A call of the file in onnxruntime.

    Raises:
        ValueError: it gives other numbers.
    """
    options: Any = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    made = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    feed = {spec.name: x for spec, x in zip(made.get_inputs(), inputs, strict=True)}
    for have, want in zip(made.run(None, feed), map(np.asarray, expected), strict=True):
        error = np.abs(have - want).max() / np.abs(want).max()
        if not error < 1e-3:
            raise ValueError(f"wrong numbers, by {error:.2g} of the largest")
    return lambda: made.run(None, feed) and None


def memory(folder: Path, scale: float, console: Console) -> Rows:
    """The most memory beside the weights while a model of 3 GB is exported."""
    size, layers = 8192, max(1, round(12 * scale))
    weights = {f"layer{i}": jnp.full((size, size), 1e-3, jnp.float32) for i in range(layers)}
    jax.block_until_ready(weights)

    def net(weights: Any, x: Any) -> Any:
        for weight in weights.values():
            x = jnp.tanh(x @ weight)
        return x

    rows: Rows = []
    x = np.ones((1, size), np.float32)
    for file_format in ("MINDIR", "ONNX", "AIR"):
        with peak_of(anonymous_mib) as extra:
            ms.export((net, weights), x, file_name=folder / "a", file_format=file_format)
        word = "reached" if extra[0] <= 256 else "MISSED"
        gib = layers * size * size * 4 / 2**30
        console.print(
            f"{file_format} of {gib:.1f} GiB: {extra[0]:.0f} MiB extra (goal 256): {word}"
        )
        rows.append({"group": "memory", "name": file_format, "extra_mib": extra[0]})
        for path in folder.rglob("*"):
            if path.is_file():
                path.unlink()
    return rows


def _call(function: Callable[..., Any], arguments: Any) -> None:
    jax.block_until_ready(function(*arguments))


GROUPS: dict[str, Callable[..., Rows]] = {
    "export": export_time,
    "latency": latency,
    "load": loaded,
    "onnx": onnx_export,
    "onnxruntime": onnx_latency,
}
#: These are beside MindSpore's, for networks that it has here.
_MINDSPORE = ("export", "latency", "load")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    groups = [*GROUPS, "memory"]
    parser.add_argument("--only", nargs="+", choices=groups, default=groups)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--rounds", type=int, default=5, help="counted rounds (default 5)")
    parser.add_argument("--scale", type=float, default=1.0, help="scales the model of 3 GB")
    parser.add_argument("--json", metavar="FILE", help="write the figures there, too")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    console = Console(width=150)
    console.print(
        f"{os.cpu_count()} cores; {jax.devices()[0].device_kind}; {platform.platform()}\n"
    )
    rows: Rows = []
    for group in (g for g in GROUPS if g in args.only):
        for name in args.networks:
            if group in _MINDSPORE and not NETWORKS[name].mindspore:
                continue
            with tempfile.TemporaryDirectory() as folder:
                rows += GROUPS[group](name, Path(folder), args.rounds, console)
    if "memory" in args.only:
        with tempfile.TemporaryDirectory() as folder:
            rows += memory(Path(folder), args.scale, console)
    if args.json:
        Path(args.json).write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
