"""How dynamic sizes are said, what is refused, and the sizes at which files are tried."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import pytest
from jax import lax

import msckpt_jax as ms
from msckpt_jax import cli
from msckpt_jax.lowering import symbols
from msckpt_jax.lowering.trace import trace
from msckpt_jax.lowering.trials import trials
from msckpt_jax.onnx import runner

TABLE = jnp.arange(128.0).reshape(16, 8)


def dims(file: Any) -> list[list[int | str]]:
    """The sizes of the inputs and results of an ONNX file."""
    graph = onnx.load(file).graph
    return [
        [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in (*graph.input, *graph.output)
    ]


def export(function: Any, *inputs: Any, folder: Path, **options: Any) -> ms.Exported:
    return ms.export(function, *inputs, file_name=folder / "a", file_format="ONNX",
                     engine="native", **options)  # fmt: skip


def test_a_scope_of_jax_is_kept(tmp_path: Path) -> None:
    b, s = jax.export.symbolic_shape("b, s", constraints=["s <= 16"])
    x, y = jax.ShapeDtypeStruct((b, s, 8), np.float32), jax.ShapeDtypeStruct((2 * s, b), np.int32)
    done = export(lambda x, y: (x + TABLE[: x.shape[1]], y.T), x, y, folder=tmp_path, verify=True)
    assert dims(done.file) == [["b", "s", 8], ["2*s", "b"], ["b", "s", 8], ["b", "2*s"]]


def test_names_join_the_scope_of_jax(tmp_path: Path) -> None:
    (s,) = jax.export.symbolic_shape("s", constraints=["s <= 16"])
    x, y = jax.ShapeDtypeStruct((s, 8), np.float32), ms.TensorSpec(("s", 8), "float32")
    done = export(lambda x, y: x + y + TABLE[: y.shape[0]], x, y, folder=tmp_path, verify=True)
    assert dims(done.file) == [["s", 8]] * 3


def test_a_size_without_a_name_is_no_other(tmp_path: Path) -> None:
    x = ms.TensorSpec((None, "d0", None), "float32")
    done = export(jnp.sin, x, folder=tmp_path, verify=True)
    assert dims(done.file) == [["d0_1", "d0", "d1"]] * 2
    x = jax.ShapeDtypeStruct(jax.export.symbolic_shape("d0"), np.float32)
    done = export(lambda x, y: (x, y), x, ms.TensorSpec((None,), "float32"), folder=tmp_path)
    assert dims(done.file) == [["d0"], ["d0_1"]] * 2


def test_equal_sizes_by_a_constraint(tmp_path: Path) -> None:
    x, y = ms.TensorSpec(("a", 3), "float32"), ms.TensorSpec(("b", 3), "float32")
    with pytest.raises(ms.ExportError, match=r'incompatible shapes.*; equal sizes .*"c == b"'):
        export(lambda x, y: x + y, x, y, folder=tmp_path)
    done = export(lambda x, y: x + y, x, y, folder=tmp_path, constraints=["a == b"], verify=True)
    assert dims(done.file) == [["b", 3]] * 3


def test_scopes_and_constraints_that_are_refused(tmp_path: Path) -> None:
    one, two = (jax.export.symbolic_shape(name)[0] for name in "bc")
    x, y = (jax.ShapeDtypeStruct((n,), np.float32) for n in (one, two))
    with pytest.raises(ValueError, match="b of x and c of y are of two scopes"):
        export(lambda x, y: (x, y), x, y, folder=tmp_path)
    with pytest.raises(ValueError, match="b of x has a scope of its own"):
        export(jnp.sin, x, folder=tmp_path, constraints=["b >= 2"])
    z = ms.TensorSpec(("b",), "float32")
    for constraints, error, text in (
        (["B <= 2"], ValueError, "'B <= 2' is of B, a size of no input"),
        (["b < 2"], ValueError, "must contain one of"),
        (["b + 1 == 4"], ValueError, "left-hand-side"),
        ("b >= 2", TypeError, "a list of texts"),
    ):
        with pytest.raises(error, match=text):
            export(jnp.sin, z, folder=tmp_path, constraints=constraints)
    for size in ("2b", "b c", "b,c", "b +"):
        with pytest.raises(ValueError, match=r"the size '.*' of the input .* is"):
            export(jnp.sin, ms.TensorSpec((size,), "float32"), folder=tmp_path)
    assert not list(tmp_path.iterdir())


def branch(x: Any) -> Any:
    if x.shape[1] > 5:
        return x
    return x * 2


#: A function of f32[b,s], and what the error says, of JAX's words and of ours.
REFUSED: dict[str, tuple[Callable[..., Any], str]] = {
    "a branch": (branch, r'"s >= 6"\] or constraints=\["s <= 5"\]'),
    "top 3": (lambda x: lax.top_k(x, 3), r'"s <= 2"\] or constraints=\["s >= 3"\]'),
    "a loop of Python": (lambda x: sum(x[:, i] for i in range(x.shape[1])), "jax.lax"),
    "a number of Python": (lambda x: x * int(x.shape[1]), r"jnp.asarray\(x.shape\[axis\]\)"),
    "a table": (lambda x: x + TABLE[: x.shape[1], 0], r'constraints=\["s <= 16"\]'),
    "thirds": (lambda x: jnp.split(x, 3, 1), r'constraints=\["mod\(s, 3\) == 0"\]'),
    "permuted": (lambda x: jax.random.permutation(jax.random.key(0), x, 1), "known sizes only"),
    "searched": (lambda x: jnp.searchsorted(x[0], x[0]), "a known size there"),
    "found": (lambda x: x[x > 0], "NonConcreteBooleanIndexError"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_jax_cannot_trace_is_refused_with_the_line(name: str, tmp_path: Path) -> None:
    function, text = REFUSED[name]
    x = ms.TensorSpec(("b", "s"), "float32")
    with pytest.raises(ms.ExportError, match=text) as caught:
        export(function, x, folder=tmp_path)
    code = function.__code__
    line = code.co_firstlineno + (1 if name == "a branch" else 0)
    assert f"{__file__}:{line} ({code.co_name}): the network itself fails" in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_size_that_does_not_follow_is_refused(tmp_path: Path) -> None:
    b, s = jax.export.symbolic_shape("b, s")
    x = jax.ShapeDtypeStruct((b, s // 2), np.float32)
    with pytest.raises(ms.ExportError, match=r"size s does not follow from .* an axis of size s"):
        export(lambda x: x.sum() + s, x, folder=tmp_path)


@pytest.mark.parametrize("file_format", ["MINDIR", "AIR", "ONNX"])
def test_sizes_follow_from_others(file_format: str, tmp_path: Path) -> None:
    """Also in bodies that get no array of such a size."""

    def function(x: Any, y: Any) -> Any:
        b, s = y.shape[0] - 3, x.shape[1] // 2
        count = lax.fori_loop(0, 200, lambda i, c: c + jnp.arange(s).sum() * i, jnp.int32(0))
        either = lax.cond(x[0, 0] > 0, lambda: jnp.zeros((s, b)), lambda: jnp.ones((s, b)))
        return x.reshape(-1, 2, s), either, count + s * b

    x, y = ms.TensorSpec(("b", "2*s"), "float32"), ms.TensorSpec(("b + 3",), "float32")
    done = ms.export(function, x, y, file_name=tmp_path / "a", file_format=file_format, verify=True)
    assert done.difference is not None
    assert done.difference < 1e-5


def test_sizes_that_follow_in_circles(tmp_path: Path) -> None:
    """Of each there are two ways: one must not wait for the other."""
    shapes = ("a*b", "a*d", "b*c", "c + 1", "d + 1")
    scope = jax.export.SymbolicScope()
    a, b = jax.export.symbolic_shape("a, b", scope=scope)
    inputs = [jax.ShapeDtypeStruct(jax.export.symbolic_shape(dim, scope=scope), np.float32)
              for dim in shapes]  # fmt: skip
    done = export(lambda *xs: xs[0].reshape(a, b) * a + sum(x.sum() for x in xs) * b, *inputs,
                  folder=tmp_path)  # fmt: skip
    xs = [np.arange(size, dtype=np.float32) for size in (2 * 3, 2 * 5, 3 * 4, 4 + 1, 5 + 1)]
    want = xs[0].reshape(2, 3) * 2 + sum(x.sum() for x in xs) * 3
    np.testing.assert_array_equal(runner.session(done.file)(*xs)[0], want)


@pytest.mark.parametrize("name", ["cumprod", "cummax", "cummin", "cumlogsumexp"])
def test_accumulated_along_a_dynamic_axis(name: str, tmp_path: Path) -> None:
    spec = ms.TensorSpec((2, "s"), "float32")
    whole = {"cumprod": np.multiply, "cummax": np.maximum, "cummin": np.minimum,
             "cumlogsumexp": np.logaddexp}[name]  # fmt: skip
    for reverse in (False, True):
        done = export(
            lambda x: getattr(lax, name)(x, 1, reverse=reverse),  # noqa: B023
            spec, folder=tmp_path,
        )  # fmt: skip
        for size in (1, 2, 9):
            x = np.cos(np.arange(2.0 * size, dtype=np.float32)).reshape(2, size)
            way = slice(None, None, -1 if reverse else 1)
            want = whole.accumulate(x[:, way].astype(np.float64), 1)[:, way]
            np.testing.assert_allclose(runner.session(done.file)(x)[0], want, 2e-6, 1e-6)


def test_padding_of_either_sign(tmp_path: Path) -> None:
    x = ms.TensorSpec((2, "s"), "float32")
    done = export(lambda x: lax.pad(x, 7.0, ((0, 0, 0), (2, 9 - x.shape[1], 0))), x,
                  folder=tmp_path, verify=True)  # fmt: skip
    for size in (2, 9, 12):
        x = np.arange(2.0 * size, dtype=np.float32).reshape(2, size)
        want = np.pad(x[:, :9], ((0, 0), (2, max(9 - size, 0))), constant_values=7)
        np.testing.assert_array_equal(runner.session(done.file)(x)[0], want)


def tried(shape: tuple[Any, ...], *constraints: str) -> list[Any]:
    types = symbols.symbolic({"x": ms.TensorSpec(shape, "float32")}, constraints)
    return symbols.tried(types, jax.make_jaxpr(jnp.sin)(*types))


def test_the_sizes_that_are_tried() -> None:
    assert tried((4, 3)) == [{}]
    first, second, least = tried(("b", "s", 4))
    assert len({*first.values(), *second.values(), 4}) == 5
    assert (first["b"] < first["s"], second["b"] < second["s"]) == (True, False)
    assert least == {"b": 1, "s": 1}
    for sizes in tried(("b", "s"), "mod(s, 128) == 0", "s <= 512", "b >= 40", "b <= s"):
        assert sizes["s"] % 128 == 0
        assert 40 <= sizes["b"] <= sizes["s"] <= 512
    assert tried(("b",), "b >= 7", "b <= 7") == [{"b": 7}]
    assert all(sizes["s"] >= 6 for sizes in tried(("s - 5",)))
    with pytest.raises(ValueError, match=r"no sizes keep constraints=\['b >= 5', 'b <= 3'\]"):
        tried(("b",), "b >= 5", "b <= 3")


def test_arrays_are_not_empty_where_they_are_tried() -> None:
    x = ms.TensorSpec(("b", "s"), "float32")
    traced = trace(lambda x: x[:, 4:] * 1, [x])
    assert [trial.results[0].shape[1] > 0 for trial in trials(traced)] == [True] * 3


def test_verify_says_at_which_sizes(tmp_path: Path) -> None:
    """JAX says False of an equality of sizes that it does not know."""
    x = ms.TensorSpec(("b", "s"), "float32")
    text = r"result 0 is off by .* in onnxruntime at b = 1, s = 1 \("
    with pytest.raises(ms.ExportError, match=text):
        export(lambda x: x * 2 if x.shape[1] == 1 else x, x, folder=tmp_path, verify=True)
    with pytest.raises(
        ms.ExportError, match=r"fails in JAX at b = \d, s = 5: TypeError: .*reshape"
    ):
        export(lambda x: x.reshape(x.shape[0], x.shape[1] // 2, 2), x, folder=tmp_path, verify=True)


def test_a_note_where_an_array_may_be_empty(tmp_path: Path) -> None:
    x = ms.TensorSpec(("b", "s"), "float32")
    done = ms.export(lambda x: x[:, ::2][:, 1:], x, file_name=tmp_path / "a")
    assert any("may be none: MindSpore's CPU fails" in note for note in done.notes)
    done = ms.export(lambda x: x[:, 1:], x, file_name=tmp_path / "a", constraints=["s >= 2"])
    assert done.notes == ()


def test_on_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    Path("dynamic_model.py").write_text(
        "import jax.numpy as jnp\n\ndef net(x):\n    return x + jnp.ones((9, 2))[:x.shape[0]]\n"
    )
    command = ["export", "dynamic_model:net", "-o", "a", "-f", "ONNX", "--input"]
    assert cli.main([*command, "f32[s,2]"]) != 0
    assert 'constraints=["s <= 9"]' in capsys.readouterr().err
    given = ["f32[max(s, 3),2]", "--constraint", "s <= 9", "--constraint", "s >= 3"]
    assert cli.main([*command, *given]) == 0
    assert dims("a.onnx") == [["s", 2]] * 2
