"""Other runtimes: the forms that they take, and ``verify`` by one of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import pytest
from flax import nnx
from jax import lax
from onnx import numpy_helper

import msckpt_jax as ms
from msckpt_jax import cli
from msckpt_jax.errors import ExportError, UnsupportedError
from msckpt_jax.onnx import packages, runner, runtime_worker, runtimes
from tests.exporting import CASES
from tests.runtimes import networks, run

X = np.arange(6, dtype=np.float32).reshape(2, 3)


def exported(folder: Path, net: Any, *inputs: Any, **more: Any) -> Path:
    out = ms.export(net, *inputs, file_name=folder / "a", file_format="ONNX", engine="native",
                    **more)  # fmt: skip
    onnx.checker.check_model(str(out.file), full_check=True)
    return out.file


def operators(file: Path) -> list[str]:
    return [node.op_type for node in onnx.load(file).graph.node]


_EDGES = np.array(
    [0, -0.0, 1, -1, np.inf, -np.inf, np.nan, -np.nan, 1e-30, 3.4e38], np.float32
)  # fmt: skip


def test_finite_and_not_less(tmp_path: Path) -> None:
    def net(x: Any, n: Any) -> Any:
        return jnp.isfinite(x), n >= 3, n <= 3, x >= 0, x <= 0, jnp.isfinite(x.astype(jnp.float16))

    n = np.array([-(2**31), -1, 2, 3, 4, 2**31 - 1, 0, 3, 3, 9], np.int32)
    file = exported(tmp_path, net, _EDGES, n)
    for have, want in zip(
        runner.session(file)(_EDGES, n), net(jnp.asarray(_EDGES), n), strict=True
    ):
        np.testing.assert_array_equal(have, want)
    found = operators(file)
    assert not {"IsInf", "IsNaN"} & set(found)
    assert (found.count("GreaterOrEqual"), found.count("LessOrEqual")) == (1, 1)  # of floats


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32])
@pytest.mark.parametrize("size", [7, "n"])
def test_integers_are_sorted_by_keys_that_differ(dtype: Any, size: Any, tmp_path: Path) -> None:
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    x = np.array([[3, low, high, 3, low, high, 0], [high, high, 1, 1, 0, low, low]], dtype)

    def net(x: Any) -> Any:
        results = jnp.sort(x), jnp.argsort(x, stable=True)
        return results if size == "n" else (*results, *lax.top_k(x, 5))

    file = exported(tmp_path, net, jax.ShapeDtypeStruct((2, size), dtype))
    for have, want in zip(runner.session(file)(x), net(jnp.asarray(x)), strict=True):
        np.testing.assert_array_equal(have, want)


def test_quantisers_find_no_nan_and_no_infinity(tmp_path: Path) -> None:
    def net(x: Any, i: Any) -> Any:
        pooled = nnx.max_pool(x, (3, 3), (2, 2), [(1, 1), (1, 1)])
        return pooled, jnp.take(x, i, axis=2)

    x = np.random.default_rng(0).standard_normal((1, 6, 5, 2)).astype(np.float32)
    x[0, 0, 0] = np.nan
    x[0, 4, 3] = -0.0
    i = np.array([0, 4, 9], np.int32)
    file = exported(tmp_path, net, x, i)
    have, want = runner.session(file)(x, i), net(jnp.asarray(x), i)
    assert np.isnan(np.asarray(want[1])[:, :, 2]).all()
    for one, other in zip(have, want, strict=True):
        np.testing.assert_array_equal(one, other)
        numbers = ~np.isnan(one)
        np.testing.assert_array_equal(np.signbit(one)[numbers], np.signbit(other)[numbers])
    for tensor in onnx.load(file).graph.initializer:
        assert np.isfinite(numpy_helper.to_array(tensor)).all()


def test_loops_of_known_length_are_scans(tmp_path: Path) -> None:
    def net(x: Any, w: Any) -> Any:
        last, rows = lax.scan(lambda c, y: (jnp.tanh(c @ w + y), c.sum()), jnp.zeros(4), x)
        count = lax.while_loop(lambda i: i < 40, lambda i: i + 1, jnp.int32(3))
        free = lax.while_loop(lambda c: c.sum() < 40, lambda c: c + 1, last)
        return last, rows, count, free

    draw = np.random.default_rng(0)
    x, w = (draw.standard_normal(shape).astype(np.float32) for shape in ((60, 4), (4, 4)))
    file = exported(tmp_path, net, x, w)
    assert [op for op in operators(file) if op in ("Loop", "Scan")] == ["Scan", "Loop"]
    for have, want in zip(runner.session(file)(x, w), net(x, w), strict=True):
        np.testing.assert_allclose(have, want, 2e-5, 1e-6)


@pytest.mark.parametrize(
    "count",
    [(0, 1 << 20), (np.float32(0.5), np.float32(40)), (5, 5)],
    ids=["many steps", "no whole numbers", "no step"],
)
def test_loops_that_stay_loops(count: Any, tmp_path: Path) -> None:
    first, last = count

    def net(x: Any) -> Any:
        start = jnp.asarray(first), x
        return lax.while_loop(lambda c: c[0] < last, lambda c: (c[0] + 1, c[1] + 1), start)

    x = np.array(1, np.float32)
    file = exported(tmp_path, net, x)
    assert operators(file).count("Loop") == 1
    for have, want in zip(runner.session(file)(x), net(x), strict=True):
        np.testing.assert_array_equal(have, want)


def test_bytes_are_multiplied_as_bytes(tmp_path: Path) -> None:
    a, b = (np.random.default_rng(i).integers(-128, 128, (3, 3)).astype(np.int8) for i in range(2))
    net = lambda x, y: lax.dot(x, y, preferred_element_type=jnp.int32)  # noqa: E731
    file = exported(tmp_path, net, a, b)
    assert "MatMulInteger" in operators(file)
    np.testing.assert_array_equal(runner.session(file)(a, b)[0], a.astype(int) @ b.astype(int))


def test_a_runtime_runs_in_a_process_of_its_own(tmp_path: Path) -> None:
    net, inputs = CASES["mlp"]
    file = exported(tmp_path, net, *inputs)
    (have,) = runtimes.results(file, "onnxruntime", inputs)
    np.testing.assert_array_equal(have, runner.session(file)(*inputs)[0])
    problems, line = runtimes.problems(file, "onnxruntime")
    assert (problems, line) == ([], "the largest difference of onnxruntime and onnxruntime is 0")
    with pytest.raises(UnsupportedError, match=r"onnxruntime: .*Got: 5 Expected: 3"):
        runtimes.results(file, "onnxruntime", [np.ones((2, 5), np.float32)])


def test_results_of_a_runtime_are_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A runtime that computes something else, and one that refuses the file."""
    file = exported(tmp_path, lambda x: x + 1, X)
    worker = tmp_path / "worker.py"
    monkeypatch.setattr(runtime_worker, "__file__", str(worker))
    monkeypatch.setattr(packages, "missing", lambda name: "")
    command = ["verify", str(file), "--runtime", "openvino"]
    text = Path(runtimes.__file__).with_name("runtime_worker.py").read_text()
    same = "difference of openvino and onnxruntime is 0"
    other, refusal = f"{same}.1", "openvino: NameError: name 'no' is not defined"
    for add, code, said in (("1", 0, same), ("1.1", 1, other), ("no", 1, refusal)):
        fake = f'RUNNERS["openvino"] = lambda file, inputs: [inputs[0] + np.float32({add})]\n\n\n'
        worker.write_text(text.replace("def main(", f"{fake}def main("))
        assert cli.main(command) == code
        assert said in capsys.readouterr().out
    with pytest.raises(ExportError, match="NameError: name 'no' is not defined"):
        exported(tmp_path, jnp.sin, X, verify=True, runtime="openvino")


def test_a_runtime_that_is_missing_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = exported(tmp_path, jnp.sin, X)
    line = "tract is not installed: pip install tract"
    monkeypatch.setattr(packages, "missing", lambda name: line if name == "tract" else "")
    assert cli.main(["verify", str(file), "--runtime", "tract"]) == 2
    assert line in capsys.readouterr().err
    with pytest.raises(ImportError, match=line):
        exported(tmp_path, jnp.cos, X, verify=True, runtime="tract")
    with pytest.raises(ValueError, match="runtime must be one of onnxruntime, openvino, tract"):
        exported(tmp_path, jnp.cos, X, verify=True, runtime="lite")


def test_the_page_has_the_networks_that_are_tried() -> None:
    lines = run.PAGE.read_text("utf-8").partition(run.BEGIN)[2].partition(run.END)[0].splitlines()
    rows = [line.split("|")[1].strip() for line in lines if line.startswith("|")]
    assert rows[2:-1] == [*networks.CASES], "run: python -m tests.runtimes.run FOLDER"
