"""A part of JAX's catalogue: JAX's numbers, or a refusal that is known."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from msckpt_jax.mindir import runner
from tests.sweep import catalogue
from tests.sweep.catalogue import FORMATS, Entry, document, logged, reason
from tests.sweep.harnesses import HarnessCase, harness_cases

#: Of complex numbers: they have an order in JAX alone.
_COMPLEX = ("scatter_max_dtypes_shape_complex", "scatter_min_dtypes_shape_complex")
#: The beginnings of the names of cases that a format may refuse.
REFUSED: dict[str, tuple[str, ...]] = {"AIR": (), "MINDIR": _COMPLEX, "ONNX": _COMPLEX}


def part() -> list[HarnessCase]:
    """A case of each primitive, the smallest of its first ten."""
    groups: dict[str, list[HarnessCase]] = {}
    for case in harness_cases():
        groups.setdefault(case.group, []).append(case)
    return [min(cases[:10], key=lambda case: len(case.name)) for cases in groups.values()]


@pytest.mark.timeout(1200)
def test_a_part_of_the_catalogue(tmp_path: Path) -> None:
    formats = [f for f in FORMATS if f != "MINDIR" or runner.available()]
    names = tmp_path / "names"
    names.write_text("\n".join(case.name for case in part()))
    command = [sys.executable, "-W", "ignore", "-m", "tests.sweep.catalogue", tmp_path / "log",
               "--names", names, "--format", ",".join(formats)]  # fmt: skip
    flags = os.environ.get("XLA_FLAGS", "") + " --xla_backend_optimization_level=0"
    root = Path(__file__).parents[2]
    subprocess.run(command, check=True, cwd=root, env=os.environ | {"XLA_FLAGS": flags})
    found = logged(tmp_path / "log")
    assert not [entry for entry in found if entry.state != "equal" and not _is_known(entry)]
    ran = Counter(entry.format for entry in found)
    assert all(ran[format_] == len(names.read_text().split()) - ran["JAX"] for format_ in formats)


def _is_known(entry: Entry) -> bool:
    if entry.format == "JAX" or reason(entry.format, entry.name):
        return True
    return entry.state == "refused" and entry.name.startswith(REFUSED[entry.format])


def test_the_document() -> None:
    case = harness_cases()[0]
    found = [
        Entry("AIR", case.name, "wrong", "off by 3"),
        Entry("ONNX", case.name, "equal"),
        Entry("JAX", "another", "jax"),
    ]
    text = document(found, 2)
    assert "Of 2 cases JAX itself does not run 1;" in text
    assert "| AIR | 1 | 0 (0.00%) | 0 | 1 | 0 |" in text
    assert f"| AIR | {case.group} | 1 | wrong | other numbers |" in text


def test_wrong_factors_are_found() -> None:
    """What is determined of a result still tells wrong ones from right ones."""
    case = next(c for c in harness_cases() if c.name.startswith("eigh_shape_float32_50"))
    (matrix,) = case.arguments()
    values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    right = case.determined([matrix], [vectors, values])
    turned = case.determined([matrix], [-vectors, values])
    wrong = case.determined([matrix], [vectors[:, ::-1], values])
    for a, b in zip(right, turned, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)
    assert not all(np.allclose(a, b, atol=1e-4) for a, b in zip(right, wrong, strict=True))


def test_parts_are_the_same_in_each_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """JAX lists its cases in an order that differs between processes."""
    listed = harness_cases()
    want = [case.name for case in catalogue.chosen(part="1/3")]
    monkeypatch.setattr(catalogue, "harness_cases", lambda: listed[::-1])
    assert [case.name for case in catalogue.chosen(part="1/3")] == want
