"""jax2onnx behind our rules and rows: in a process of its own, kept only if it is right."""

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
from jax import lax

import msckpt_jax as ms
from msckpt_jax.errors import ExportError
from msckpt_jax.onnx import runner
from msckpt_jax.onnx.rows import ROWS
from tests.exporting import Mlp

X = np.linspace(0.5, 3, 12, dtype=np.float32).reshape(3, 4)


@pytest.fixture
def without_tan(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if our rows lacked an operator that jax2onnx has."""
    monkeypatch.delitem(ROWS, "Tan")  # type: ignore[arg-type]


@pytest.mark.usefixtures("without_tan")
def test_what_our_rules_lack(tmp_path: Path) -> None:
    out = ms.export(jnp.tan, X, file_name=tmp_path / "a", file_format="ONNX")
    assert out.graph is None
    assert out.notes[0] == "made by jax2onnx"
    assert "Tan" in out.notes[1]
    onnx.checker.check_model(str(out.file), full_check=True)
    np.testing.assert_allclose(runner.session(out.file)(X)[0], jnp.tan(X), 1e-4, 1e-5)


@pytest.mark.usefixtures("without_tan")
def test_our_rules_alone(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="Tan: has no row"):
        ms.export(jnp.tan, X, file_name=tmp_path / "a", file_format="ONNX", engine="native")
    assert not list(tmp_path.iterdir())


def test_weights_keep_their_names(tmp_path: Path) -> None:
    net, x = Mlp(), np.ones((2, 3), np.float32)
    out = ms.export(net, x, file_name=tmp_path / "a", file_format="ONNX", engine="jax2onnx")
    ms.save_checkpoint(net, tmp_path / "a.ckpt")
    found = {tensor.name: tensor for tensor in onnx.load(out.file).graph.initializer}
    for name, value in ms.load_checkpoint(tmp_path / "a.ckpt").items():
        assert found[name].raw_data == np.asarray(value).tobytes()
    np.testing.assert_allclose(runner.session(out.file)(x)[0], net(x), rtol=1e-5)


def test_refused_by_both_with_both_reasons(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"(?s)schur: no rule.*jax2onnx: ") as caught:
        ms.export(
            lambda x: lax.linalg.schur(x[:, :3], sort_eig_vals=True),
            X,
            file_name=tmp_path / "a",
            file_format="ONNX",
        )
    assert "test_fallback.py" in caught.value.problems[0]
    assert not list(tmp_path.iterdir())


def test_other_formats_have_no_other_engine(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="engine is for ONNX, not for MINDIR"):
        ms.export(jnp.sin, X, file_name=tmp_path / "a", engine="jax2onnx")
    with pytest.raises(ValueError, match="engine must be one of"):
        ms.export(jnp.sin, X, file_name=tmp_path / "a", file_format="ONNX", engine="fast")


@pytest.mark.usefixtures("without_tan")
def test_dynamic_sizes(tmp_path: Path) -> None:
    spec = jax.ShapeDtypeStruct(("b", 4), jnp.float32)
    out = ms.export(lambda x: jnp.tan(x) @ jnp.ones((4, 2)), spec, file_name=tmp_path / "a",
                    file_format="ONNX", verify=True)  # fmt: skip
    assert out.notes[0] == "made by jax2onnx"
    for size in (1, 5):
        x = np.full((size, 4), 0.3, np.float32)
        expected = jnp.tan(x) @ jnp.ones((4, 2))
        np.testing.assert_allclose(runner.session(out.file)(x)[0], expected, 1e-5)


def test_64_bits(tmp_path: Path) -> None:
    x = np.linspace(0.1, 1, 6)
    with jax.enable_x64(True):
        out = ms.export(lambda x, i: jnp.exp(x) * i, x, np.arange(6), file_name=tmp_path / "a",
                        file_format="ONNX", engine="jax2onnx", verify=True)  # fmt: skip
    (found,) = runner.session(out.file)(x, np.arange(6))
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, np.exp(x) * np.arange(6), 1e-12)


@pytest.mark.usefixtures("without_tan")
def test_encryption(tmp_path: Path) -> None:
    def flip(data: bytes, key: bytes) -> bytes:
        return bytes(b ^ key[0] for b in data)

    out = ms.export(jnp.tan, X, file_name=tmp_path / "a", file_format="ONNX", enc_key=b"\x55",
                    enc_mode=flip)  # fmt: skip
    assert list(tmp_path.iterdir()) == [out.file]
    model = onnx.load_model_from_string(flip(out.file.read_bytes(), b"\x55"))
    onnx.checker.check_model(model, full_check=True)


@pytest.mark.usefixtures("without_tan")
@pytest.mark.parametrize("what", [{"rules": {"sin": lambda ctx, x, **_: x}}, {"exact": True}])
def test_what_jax2onnx_does_not_heed(what: Any, tmp_path: Path) -> None:
    for engine, error in (("auto", "Tan: has no row"), ("jax2onnx", "heeds neither")):
        with pytest.raises(ValueError, match=error):
            ms.export(jnp.tan, X, file_name=tmp_path / "a", file_format="ONNX", engine=engine,
                      **what)  # fmt: skip
    assert not list(tmp_path.iterdir())


def test_its_patches_stay_in_its_process(tmp_path: Path) -> None:
    code = f"""
import sys
import jax, jax.numpy as jnp, numpy as np
import flax.linen, flax.nnx
import msckpt_jax as ms
modules = jnp, jnp.linalg, jax, jax.nn, jax.lax, flax.nnx, flax.linen, flax.nnx.Linear
before = [dict(vars(module)) for module in modules]
x = np.ones((2, 3), np.float32)
how = dict(file_format="ONNX", engine="jax2onnx")
out = ms.export(jnp.sin, x, file_name={str(tmp_path / "a")!r}, **how)
assert out.notes[0] == "made by jax2onnx"
assert "jax2onnx" not in sys.modules
for module, were in zip(modules, before, strict=True):
    assert all(vars(module)[name] is value for name, value in were.items())
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)
