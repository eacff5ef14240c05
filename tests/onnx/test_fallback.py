"""jax2onnx behind our rules: what they lack, in a process of its own, kept only if it is right."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import pytest

import msckpt_jax as ms
from msckpt_jax.errors import ExportError
from msckpt_jax.onnx import runner
from tests.exporting import Mlp

X = np.linspace(0.5, 3, 12, dtype=np.float32).reshape(3, 4)


def test_what_our_rules_lack(tmp_path: Path) -> None:
    out = ms.export(jax.scipy.special.gammaln, X, file_name=tmp_path / "a", file_format="ONNX")
    assert out.graph is None
    assert out.notes[0] == "made by jax2onnx"
    assert "Lgamma" in out.notes[1]
    onnx.checker.check_model(str(out.file), full_check=True)
    expected = jax.scipy.special.gammaln(X)
    np.testing.assert_allclose(runner.run(out.file, [X])[0], expected, 1e-4, 1e-5)


def test_our_rules_alone(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="Lgamma: has no rule"):
        ms.export(jax.scipy.special.gammaln, X, file_name=tmp_path / "a", file_format="ONNX",
                  engine="native")  # fmt: skip
    assert not list(tmp_path.iterdir())


def test_weights_keep_their_names(tmp_path: Path) -> None:
    net, x = Mlp(), np.ones((2, 3), np.float32)
    out = ms.export(net, x, file_name=tmp_path / "a", file_format="ONNX", engine="jax2onnx")
    ms.save_checkpoint(net, tmp_path / "a.ckpt")
    found = {tensor.name: tensor for tensor in onnx.load(out.file).graph.initializer}
    for name, value in ms.load_checkpoint(tmp_path / "a.ckpt").items():
        assert found[name].raw_data == np.asarray(value).tobytes()
    np.testing.assert_allclose(runner.run(out.file, [x])[0], net(x), rtol=1e-5)


def test_refused_by_both_with_both_reasons(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"(?s)Svd: has no rule.*jax2onnx: ") as caught:
        ms.export(lambda x: jnp.linalg.svd(x), X, file_name=tmp_path / "a", file_format="ONNX")
    assert "test_fallback.py" in caught.value.problems[0]
    assert not list(tmp_path.iterdir())


def test_other_formats_have_no_other_engine(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="the last for ONNX"):
        ms.export(jnp.sin, X, file_name=tmp_path / "a", engine="jax2onnx")
    with pytest.raises(ValueError, match="engine must be one of"):
        ms.export(jnp.sin, X, file_name=tmp_path / "a", file_format="ONNX", engine="fast")


@pytest.mark.parametrize("what", [{"rules": {"sin": lambda ctx, eqn, x: x}}, {"exact": True}])
def test_what_jax2onnx_does_not_heed(what: Any, tmp_path: Path) -> None:
    for engine, error in (("auto", "Lgamma: has no rule"), ("jax2onnx", "heeds neither")):
        with pytest.raises(ValueError, match=error):
            ms.export(jax.scipy.special.gammaln, X, file_name=tmp_path / "a", file_format="ONNX",
                      engine=engine, **what)  # fmt: skip
    assert not list(tmp_path.iterdir())


def test_its_patches_stay_in_its_process(tmp_path: Path) -> None:
    code = f"""
import sys
import jax, jax.numpy as jnp, numpy as np
import msckpt_jax as ms
before = jnp.cumsum, jax.nn.relu, jnp.where
x = np.ones((2, 3), np.float32)
out = ms.export(jax.scipy.special.digamma, x, file_name={str(tmp_path / "a")!r}, file_format="ONNX")
assert out.notes[0] == "made by jax2onnx"
assert "jax2onnx" not in sys.modules
assert (jnp.cumsum, jax.nn.relu, jnp.where) == before
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)
