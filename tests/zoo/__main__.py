"""``python -m tests.zoo``: build networks of whole repositories in MindSpore, load, and compare.

    python -m tests.zoo install --folder /tmp/zoo mindcv mindyolo
    python -m tests.zoo run --folder /tmp/zoo mindcv --only 'resnet.*'
    python -m tests.zoo document

A row of tests/zoo/results.tsv tells of a network; ``run`` passes over those that are there, unless
``--again``. ``document`` writes docs/zoo.md.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from tests.zoo import document, table
from tests.zoo.repositories import NAMES, Network, repository

ROOT = Path(__file__).parents[2]
RESULTS = Path(__file__).with_name("results.tsv")
_NOTHING: Mapping[str, str] = MappingProxyType({})


class Work(NamedTuple):
    """A network to test, and the folder of its files."""

    name: str
    network: Network
    folder: Path

    @property
    def answer(self) -> Path:
        return self.folder / "answer.json"


def install(folder: Path, names: Sequence[str]) -> None:
    """Install repositories without what they depend on, each in a folder of its own."""
    for name in names:
        pip = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-cache-dir", "--upgrade"]
        target = ["--target", str(folder / name)]
        subprocess.run([*pip, *target, *repository(name).requirements], check=True)
        shutil.rmtree(folder / name / "tests", ignore_errors=True)  # a package's, beside ours
        if url := repository(name).source:
            clone = ["git", "clone", "--depth", "1", url, str(folder / name / "source")]
            subprocess.run(clone, check=True)


def run(args: argparse.Namespace) -> None:
    there = table.read(args.table)
    for name in args.repositories:
        todo = [
            Work(network, spec, args.folder / "exported" / name / network)
            for network, spec in repository(name).networks.items()
            if re.fullmatch(args.only, network) and (args.again or (name, network) not in there)
        ]
        for start in range(0, len(todo), args.at_once):
            some = todo[start : start + args.at_once]
            rows = [{"repository": name, **row} for row in tested(name, some, args)]
            table.add(args.table, rows)
            for row in rows:
                print("\t".join(row.get(column, "")[:60] for column in table.COLUMNS), flush=True)


def tested(name: str, todo: Sequence[Work], args: argparse.Namespace) -> list[table.Row]:
    """Export some networks in MindSpore and compare them; their rows."""
    site = [str(args.folder / name)]
    (version,) = (d.version for d in metadata.distributions(name=name, path=site))
    for work in todo:
        work.folder.mkdir(parents=True, exist_ok=True)
    rows: dict[str, dict[str, str]] = {}
    try:
        export([work for work in todo if not work.answer.exists()], name, args)
        rows = {str(work.folder): json.loads(work.answer.read_text()) for work in todo}
        compare([work for work in todo if "load" not in rows[str(work.folder)]], rows, args)
        return [
            {"network": work.name, "version": version, **rows[str(work.folder)]} for work in todo
        ]
    finally:
        for work in todo:
            if not args.keep or rows.get(str(work.folder), {}).get("load") == "yes":
                shutil.rmtree(work.folder)


def export(todo: list[Work], name: str, args: argparse.Namespace) -> None:
    """Let MindSpore export networks; each gets its answer, also where it kills the process."""
    script, site = str(Path(__file__).with_name("exporting.py")), str(args.folder / name)
    while todo:
        networks = [{**asdict(work.network), "folder": str(work.folder)} for work in todo]
        request = {"path": [site, str(ROOT)], "repository": name, "networks": networks}
        first = {"PYTHONPATH": site}  # of packages that are there twice, the repository's
        lines = answered([args.python, script], request, args.timeout * len(todo), first)
        errors = [line.strip() for line in lines if re.match(r"[\w.]*(Error|Exception): \S", line)]
        if not todo[0].answer.exists():
            reason = errors[-1] if errors else f"no answer in {args.timeout} s, or killed"
            todo[0].answer.write_text(json.dumps({"load": f"MindSpore: {reason[:300]}"}))
        todo = [work for work in todo if not work.answer.exists()]


def compare(
    todo: Sequence[Work], rows: dict[str, dict[str, str]], args: argparse.Namespace
) -> None:
    """Let the JAX process compare networks, and add to their rows."""
    request = [
        (str(w.folder), [c for c in args.checks if c != "gradient" or w.network.gradients])
        for w in todo
    ]
    command = [sys.executable, "-m", "tests.zoo.comparing"]
    for line in answered(command, request, args.timeout * len(todo)):
        if line.startswith('["'):  # and no line of a log, such as [WARNING]
            folder, *result = json.loads(line)
            rows[folder] |= cells(*result)
    for row in rows.values():
        row.setdefault("load", f"no answer in {args.timeout} s, or killed")


def answered(
    command: Sequence[str], request: object, timeout: int, env: Mapping[str, str] = _NOTHING
) -> list[str]:
    """The lines that a process writes until it ends, or its time is over."""
    with tempfile.TemporaryFile("w+") as out:
        with contextlib.suppress(subprocess.TimeoutExpired):
            subprocess.run(
                command, input=json.dumps(request), stdout=out, stderr=subprocess.STDOUT,
                text=True, cwd=ROOT, timeout=timeout,
                env={**os.environ, "GLOG_v": "4", **env},
            )  # fmt: skip
        out.seek(0)
        return out.readlines()


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
    parser.add_argument("--keep", action="store_true", help="keep the files that do not load")
    parser.add_argument("--at-once", type=int, default=8, help="networks for a process")
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
        document.write(table.read(args.table).values())


if __name__ == "__main__":
    main()
