"""Write the matrix of docs/runtimes.md: each network, exported, in each runtime that is listed.

``python -m tests.runtimes.run FOLDER`` makes an environment for each runtime in the folder, by pip,
and takes some minutes. ``--export`` exports only, ``--column NAME`` tries one column again.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

import msckpt_jax as ms
from msckpt_jax.onnx import runtime_worker
from tests.runtimes import networks, worker

PAGE = Path(__file__).parents[2] / "docs" / "runtimes.md"
BEGIN, END = "<!-- begin: tests/runtimes/run.py -->\n", "<!-- end -->"
#: Errors up to which results are JAX's, and up to which a quantised network still is that network.
EXACT, HALF, QUANTISED = 1e-4, 5e-3, 0.1


class Column(NamedTuple):
    """What runs or changes files, its name in the worker, and the packages that it takes."""

    name: str
    kind: str
    packages: tuple[str, ...]

    @property
    def quantises(self) -> bool:
        return self.kind.startswith("quantize")


_TOOLS = ("onnxruntime", "onnx", "onnxslim", "onnxsim", "sympy")
COLUMNS = (
    Column("onnxruntime", "onnxruntime", ("onnxruntime",)),
    Column("onnxruntime 1.20", "onnxruntime", ("onnxruntime==1.20.1",)),
    Column("onnxruntime 1.16", "onnxruntime", ("onnxruntime==1.16.3", "numpy<2")),
    Column("onnxruntime-web", "onnxruntime-web", ("numpy",)),
    Column("OpenVINO", "openvino", ("openvino",)),
    Column("tract", "tract", ("tract", "numpy")),
    Column("onnxslim", "onnxslim", _TOOLS),
    Column("onnxsim", "onnxsim", _TOOLS),
    Column("quantize_dynamic", "quantize_dynamic", _TOOLS),
    Column("quantize_static", "quantize_static", _TOOLS),
)


def export(folder: Path) -> None:
    """Export each network, with inputs and JAX's results beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, case in networks.CASES.items():
        net = case.make()
        ms.export(net, *(case.specs or case.inputs), file_name=folder / f"{name}.onnx",
                  file_format="ONNX", engine="native", durable=False)  # fmt: skip
        results = net[0](net[1], *case.inputs) if isinstance(net, tuple) else net(*case.inputs)
        arrays = {f"i{i}": x for i, x in enumerate(case.inputs)}
        arrays |= {f"o{i}": np.asarray(x) for i, x in enumerate(jax.tree.leaves(results))}
        np.savez(folder / f"{name}.npz", **arrays)


def python(folder: Path, packages: tuple[str, ...]) -> Path:
    """The interpreter of an environment with these packages."""
    place = folder / "-".join(packages).replace("<", "").replace("=", "")
    if not place.exists():
        venv.create(place, with_pip=True)
        subprocess.run([place / "bin" / "pip", "install", "-q", *packages], check=True)
    return place / "bin" / "python"


def version(column: Column, folder: Path, made: Path) -> str:
    """The version of what is tried; what Node.js runs is installed first."""
    if column.kind == "onnxruntime-web":
        place = folder / "node_modules" / column.kind / "package.json"
        if not place.exists():
            subprocess.run(["npm", "install", "--prefix", folder, column.kind], check=True)
        return json.loads(place.read_text())["version"]
    package = column.kind if column.kind in _TOOLS else column.packages[0].partition("=")[0]
    text = f"import importlib.metadata as m; print(m.version({package!r}))"
    told = subprocess.run([made, "-c", text], capture_output=True, text=True, check=True)
    return told.stdout.strip()


def tried(column: Column, folder: Path) -> dict[str, Any]:
    """The version of what is tried, and the fate of each network."""
    made = python(folder, column.packages)
    told = version(column, folder, made)
    command = [made, worker.__file__, column.kind, runtime_worker.__file__, folder / "networks"]
    environment = os.environ | {"NODE_PATH": str(folder / "node_modules")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith('{"network"')]
    fates = {each["network"]: each["fate"] for each in map(json.loads, lines)}
    return {"version": told, "fates": fates}


def right(column: Column, network: str, fate: Any) -> bool:
    limit = QUANTISED if column.quantises else HALF if "float16" in network else EXACT
    return isinstance(fate, float) and fate <= limit


def table(results: dict[str, Any]) -> list[str]:
    """The lines of the matrix of the columns that were tried, and the reasons below it."""
    columns = [column for column in COLUMNS if column.name in results]
    heads = [f"{c.name.split()[0]} {results[c.name]['version']}" for c in columns]
    lines = [f"| network | {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|"]
    counts, notes = dict.fromkeys(columns, 0), []
    for network in networks.CASES:
        cells = []
        for column in columns:
            fate = results[column.name]["fates"].get(network, "it ends without a word")
            good = right(column, network, fate)
            counts[column] += good
            cells.append("yes" if good else f"{fate:.0%} off" if isinstance(fate, float) else "no")
            if not good and not isinstance(fate, float):
                notes.append(f"- {network}, {column.name}: `{fate.replace('`', '')}`")
        lines.append(f"| {network} | {' | '.join(cells)} |")
    total = [f"{n} of {len(networks.CASES)}" for n in counts.values()]
    lines.append(f"| **right** | {' | '.join(total)} |")
    return [*lines, "", *notes]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--export", action="store_true")
    parser.add_argument("--column")
    args = parser.parse_args()
    folder = args.folder.absolute()
    if not (folder / "networks").exists() or args.export:
        export(folder / "networks")
    kept = folder / "results.json"
    results = json.loads(kept.read_text()) if kept.exists() else {}
    for column in COLUMNS:
        if args.column in (None, column.name):
            results[column.name] = tried(column, folder)
            print(column.name, file=sys.stderr)
    kept.write_text(json.dumps(results, indent=1))
    before, rest = PAGE.read_text("utf-8").split(BEGIN)
    text = "\n".join(table(results))
    PAGE.write_text(f"{before}{BEGIN}{text}\n{END}{rest.partition(END)[2]}", "utf-8")


if __name__ == "__main__":
    main()
