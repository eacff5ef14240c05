"""Functions that are exact by nature: JAX's numbers to the bit in each format, at the edges too."""

from __future__ import annotations

from pathlib import Path

import pytest

from msckpt_jax.mindir import runner
from tests.sweep.exact import FORMATS, differences


@pytest.mark.timeout(900)
@pytest.mark.parametrize("file_format", FORMATS)
def test_bits(file_format: str, tmp_path: Path) -> None:
    if file_format == "MINDIR" and not runner.available():
        pytest.skip("real MindSpore is not installed")
    found = differences(file_format, tmp_path)
    assert found
    assert not {name: each for name, each in found.items() if each is not None}
