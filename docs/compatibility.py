"""``python docs/compatibility.py`` rewrites the tables of compatibility.md.

Ranges are those of pyproject.toml, versions those of the environment that runs this, which is that
of the tests; chips and runtimes come from where they are kept.
"""

from __future__ import annotations

import importlib.metadata
import platform
import re
import tomllib
from pathlib import Path

from msckpt_jax.air import chips

ROOT = Path(__file__).parents[1]
PAGE = Path(__file__).parent / "compatibility.md"
#: Packages of the first table, and what each is for.
PACKAGES = {
    "jax": "",
    "flax": "",
    "orbax-checkpoint": "reads and writes its directories",
    "tensorstore": "their contents",
    "numpy": "",
    "ml_dtypes": "bfloat16, float8, int4",
    "protobuf": "",
    "onnx": "ONNX files",
    "onnxruntime": "runs them, for `verify=True`",
    "jax2onnx": "operators without a row of ours",
    "openvino": "another runtime",
    "tract": "another runtime",
    "grain": "data sets",
    "opencv-python-headless": "transforms of images",
    "boto3": "`s3://`",
    "gcsfs": "`gs://`",
    "adlfs": "`az://`",
    "mindspore": "the other side, in tests",
}
_REQUIREMENT = re.compile(r"(?P<name>[\w.-]+)(?:\[[^]]*\])?(?P<range>[^;]*)(?:;(?P<where>.*))?")


def _ranges() -> dict[str, list[str]]:
    """The ranges of each package in pyproject.toml, with the extra or the condition of each."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    groups = {"": project["dependencies"], **project["optional-dependencies"]}
    ranges: dict[str, list[str]] = {}
    for extra, requirements in groups.items():
        for requirement in requirements:
            parts = _REQUIREMENT.fullmatch(requirement)
            assert parts is not None, requirement
            where = [f"extra `{extra}`"] if extra else []
            where += [parts["where"].strip()] if parts["where"] else []
            more = f" ({', '.join(where)})" if where else ""
            ranges.setdefault(parts["name"], []).append(f"{parts['range'].strip()}{more}")
    return ranges | {"python": [project["requires-python"]]}


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not there"


def packages() -> list[str]:
    """The table of packages: ranges, versions, purposes."""
    ranges = _ranges()
    rows = [f"| Python | {ranges['python'][0]} | {platform.python_version()} | |"]
    rows += [
        f"| {name} | {'; '.join(ranges[name])} | {_version(name)} | {purpose} |"
        for name, purpose in PACKAGES.items()
    ]
    return ["| | asked for | in the tests | what for |", "|---|---|---|---|", *rows]


def runtimes() -> list[str]:
    """The table of ONNX's runtimes: the heads and the totals of runtimes.md."""
    lines = (ROOT / "docs/runtimes.md").read_text("utf-8").splitlines()
    heads = next(line for line in lines if line.startswith("| network |"))
    totals = next(line for line in lines if line.startswith("| **right** |"))
    cells = [[cell.strip() for cell in line.strip("|").split("|")][1:] for line in (heads, totals)]
    rows = [f"| {runtime} | {total} |" for runtime, total in zip(*cells, strict=True)]
    return ["| runtime or tool | networks that are right |", "|---|---|", *rows]


def kinds() -> list[str]:
    """The table of chips by kinds."""
    members: dict[str, list[str]] = {}
    for chip in chips.CHIPS.values():
        names = members.setdefault(chip.kind, [])
        if chip.version not in names:
            names.append(chip.version)
    rows = [
        f"| {', '.join(f'`{name}`' for name in names)} | "
        f"{'compared' if kind in chips.TABLES else 'not known'} |"
        for kind, names in members.items()
    ]
    return ["| `soc=` | kernels |", "|---|---|", *rows]


TABLES = {"packages": packages, "runtimes": runtimes, "chips": kinds}


def page() -> str:
    """The page with current tables."""
    text = PAGE.read_text("utf-8")
    for name, rows in TABLES.items():
        begin, end = f"<!-- begin: {name} -->\n", "<!-- end -->"
        before, rest = text.split(begin)
        text = before + begin + "\n".join(rows()) + "\n" + end + rest.partition(end)[2]
    return text


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
