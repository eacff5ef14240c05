"""``python -m tests.zoo``: build networks of whole repositories in MindSpore, load, and compare.

    python -m tests.zoo install --folder /tmp/zoo mindcv mindyolo
    python -m tests.zoo run --folder /tmp/zoo mindcv --only 'resnet.*'
    python -m tests.zoo document

A row of tests/zoo/results.tsv tells of a network; ``run`` passes over those that are there, unless
``--again``. ``document`` writes docs/zoo.md.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path

from tests.zoo import document, table
from tests.zoo.repositories import NAMES, Network, Repository, repository

ROOT = Path(__file__).parents[2]
RESULTS = Path(__file__).with_name("results.tsv")


def install(folder: Path, names: Sequence[str]) -> None:
    """Install repositories without what they depend on, each in a folder of its own."""
    for name in names:
        pip = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-cache-dir", "--upgrade"]
        target = ["--target", str(folder / name)]
        subprocess.run([*pip, *target, *repository(name).requirements], check=True)


def run(args: argparse.Namespace) -> None:
    rows = table.read(args.table)
    for name in args.repositories:
        of = repository(name)
        for network, spec in of.networks.items():
            key = (name, network)
            if not re.fullmatch(args.only, network) or (key in rows and not args.again):
                continue
            row = {"repository": name, "network": network, **tested(name, of, spec, args)}
            rows = table.read(args.table) | {key: row}
            table.write(args.table, rows.values())
            print("\t".join(row.get(column, "")[:60] for column in table.COLUMNS), flush=True)


def tested(name: str, of: Repository, network: Network, args: argparse.Namespace) -> table.Row:
    """Export a network in MindSpore and compare it; the cells of its row."""
    folder = Path(tempfile.mkdtemp(dir=args.folder))
    try:
        site = str(args.folder / name)
        (version,) = (d.version for d in metadata.distributions(name=name, path=[site]))
        row = {"version": version, **exported(folder, site, of, network, args)}
        if "load" in row:
            return row
        checks = [check for check in args.checks if check != "gradient" or network.gradients]
        for line in compared(folder, checks, args.timeout):
            row |= cells(*json.loads(line))
        return {"load": f"no answer within {args.timeout} s, or killed", **row}
    finally:
        shutil.rmtree(folder)


def exported(
    folder: Path, site: str, of: Repository, network: Network, args: argparse.Namespace
) -> table.Row:
    request = {
        "path": [site, str(ROOT)], "setup": of.setup, "make": network.make,
        "inputs": network.inputs, "gradients": network.gradients,
    }  # fmt: skip
    script = Path(__file__).with_name("exporting.py")
    try:
        done = subprocess.run(
            [args.python, script, folder], input=json.dumps(request), capture_output=True,
            text=True, timeout=args.timeout, env=os.environ | {"GLOG_v": "4"},
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return {"load": f"MindSpore: no answer within {args.timeout} s"}
    last = done.stdout.rstrip().rpartition("\n")[2]
    if not last.startswith("{"):
        return {"load": f"MindSpore: {reason(done.stderr)}"}
    answer = json.loads(last)
    return {"mindspore": answer["mindspore"], "parameters": str(answer["parameters"])}


def reason(text: str) -> str:
    """The line of an error in what a process wrote, and the next one."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    at = [k for k, line in enumerate(lines) if re.match(r"[\w.]*(Error|Exception)\b", line)]
    return " ".join(lines[at[-1] : at[-1] + 2] if at else lines[-1:])[:300].replace("\t", " ")


def compared(folder: Path, checks: Sequence[str], timeout: int) -> Iterator[str]:
    """Yield the answers of the JAX process."""
    command = [sys.executable, "-m", "tests.zoo.comparing", str(folder), *checks]
    command = ["timeout", str(timeout), *command]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        yield from (line for line in process.stdout if line.startswith("["))


def cells(check: str, result: object, seconds: float) -> table.Row:
    if isinstance(result, float):
        text = f"{result:.1e}"
    elif isinstance(result, list):
        text = " ".join(f"{number:.1e}" for number in result)
    else:
        text = str(result).replace("\t", " ")[:400]
    timed = {f"{check}_s": str(seconds)} if f"{check}_s" in table.COLUMNS else {}
    return {check: text, **timed}


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("action", choices=("install", "run", "document"))
    parser.add_argument("repositories", nargs="*", default=NAMES, metavar="REPOSITORY",
                        help=f"some of {', '.join(NAMES)}; all of them")  # fmt: skip
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "zoo",
                        help="where the repositories are installed")  # fmt: skip
    parser.add_argument("--table", type=Path, default=RESULTS, help="the TSV of the results")
    parser.add_argument("--only", default=".*", help="a regular expression of networks' names")
    parser.add_argument("--checks", nargs="*", choices=(*table.CHECKS, "float64"),
                        default=(*table.CHECKS, "float64"))  # fmt: skip
    parser.add_argument("--again", action="store_true", help="also networks that have a row")
    parser.add_argument("--timeout", type=int, default=600, help="seconds for each process")
    parser.add_argument("--python", default=sys.executable, help="one that has MindSpore")
    return parser.parse_intermixed_args()


def main() -> None:
    args = parsed()
    if args.action == "install":
        install(args.folder, args.repositories)
    elif args.action == "run":
        run(args)
    else:
        document.write(table.read(args.table))


if __name__ == "__main__":
    main()
