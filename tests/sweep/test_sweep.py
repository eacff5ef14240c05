"""A part of the sweep: the whole of it is ``python -m tests.sweep.run``."""

from __future__ import annotations

import numpy as np
import pytest

from msckpt_jax.mindir import runner
from tests.sweep import run
from tests.sweep.errors import Part, row, units
from tests.sweep.known import Known

#: Each dtype of each format sweeps every so many functions.
SHARE = {"float32": 1, "float64": 2, "float16": 3, "bfloat16": 4}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("dtype", SHARE)
@pytest.mark.parametrize("file_format", run.FORMATS)
def test_no_row_is_beyond_what_is_allowed_but_for_a_known_reason(
    file_format: str, dtype: str
) -> None:
    if file_format == "MINDIR" and not runner.available():
        pytest.skip("real MindSpore is not installed")
    names = run.chosen(dtype)[:: SHARE[dtype]]
    found = dict(run.rows(file_format, dtype, names))
    beyond = {n: r for n, r in found.items() if isinstance(r, str) or r.beyond.places}
    assert not {n: r for n, r in beyond.items() if not run.reason(file_format, dtype, n, r)}


def test_the_document_explains_every_row() -> None:
    text = run.DOCUMENT.read_text()
    assert "not explained" not in text
    for name in run.chosen("float32"):
        assert f"\n| {name} |" in text


def test_an_error_is_in_units_of_the_last_place() -> None:
    right = np.array([1.0, 2.0, 1e-40, np.inf, np.nan, 4.0])
    found = np.array([1 + 2**-22, 2, 0, 3.4e38, np.nan, np.nan], np.float32)
    assert units(right, found).tolist() == [2, 0, 0, 0, 0, np.inf]


def test_a_row_is_measured_by_jax() -> None:
    x, right = np.arange(1, 5, dtype=np.float32), np.ones(4)
    by_jax = np.array([1 + 2**-23, 1, 2, np.inf], np.float32)  # the last one does not count
    found = row(x, right, by_jax, np.array([1, 1 + 5 * 2**-23, 4.5, 9], np.float32))
    assert (found.jax, found.allowed, found.worst) == (1, 4, 5)
    assert (found.rough.places, found.rough.jax) == (1, 2**23)
    assert found.beyond == Part(1, 5, 0, (2, 2))
    worse = row(x, right, by_jax, np.array([1, 1, 5.5, 1], np.float32))  # more than 4 times JAX's
    assert worse.beyond == Part(1, 4.5 * 2**23, 2**23, (3, 3))


def test_a_reason_has_bounds() -> None:
    known = Known("a kernel", worst=100, places=2, sizes=(1, 3))
    assert known.holds(Part(2, 100, 1, (1, 3)))
    for part in (Part(3, 9, 1, (1, 3)), Part(1, 101, 1, (1, 1)), Part(2, 9, 1, (0.9, 2))):
        assert not known.holds(part)
