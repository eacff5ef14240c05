"""MindIR that real MindSpore writes from its own layers gives its numbers in JAX."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

import msckpt_jax as ms

from .cases import CASES

#: MindSpore's CPU kernels are no better: Tanh, and GeLU by it, err by 1e-4.
ROUGH = {"Tanh", "GELU", "Tanhshrink", "Mish", "dense", "encoder", "transformer"}


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if importlib.util.find_spec("mindspore") is None:
        message = "real MindSpore is not installed: pip install 'msckpt_jax[test]'"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    folder = tmp_path_factory.mktemp("networks")
    script = Path(__file__).with_name("networks.py")
    environment = os.environ | {"GLOG_v": "4"}
    subprocess.run([sys.executable, script, folder], check=True, env=environment, timeout=280,
                   capture_output=True)  # fmt: skip
    return folder


@pytest.mark.parametrize("name", CASES)
def test_mindspores_numbers(exported: Path, name: str) -> None:
    failure = exported / f"{name}.txt"
    assert not failure.exists(), failure.read_text()
    function = ms.load(exported / f"{name}.mindir")
    with np.load(exported / f"{name}.npz") as saved:
        inputs = [saved[key] for key in saved if key.startswith("input")]
        wanted = [saved[key] for key in saved if key.startswith("output")]
    found = jax.tree.leaves(jax.jit(function.apply)(function.parameters, *inputs))
    assert [a.shape for a in found] == [a.shape for a in wanted]
    assert [a.dtype for a in found] == [jax.dtypes.canonicalize_dtype(a.dtype) for a in wanted]
    tolerance = 3e-4 if name in ROUGH else 2e-5
    for got, want in zip(found, wanted, strict=True):
        np.testing.assert_allclose(got, want, tolerance, tolerance)
