"""Names in model files: weights keep theirs, whatever inputs and constants are called."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import onnxruntime
import pytest
from flax import nnx

import msckpt_jax as ms
from msckpt_jax.cli import main
from msckpt_jax.mindir.runner import Case, MindSpore

ONES, RANGE = np.ones((2, 3), np.float32), np.arange(3, dtype=np.float32)
LARGE = np.arange(3 * 4000, dtype=np.float32).reshape(3, 4000) % 7


def _path_in_both(weight: Any, x: Any) -> Any:
    return x["a"] * 2 + weight["x.a"]


def _constant(weights: Any, x: Any) -> Any:
    return (x @ LARGE)[:, :3] + weights["constant_0"]


def _constant_input(constant_0: Any) -> Any:
    return constant_0 @ LARGE


def _two_inputs(x: Any) -> Any:
    return x["a"]["b"] * 2 + x["a.b"]


#: Network, inputs, and names of the weights that it was given.
CASES: dict[str, tuple[Any, tuple[Any, ...], set[str]]] = {
    "an input like a weight": ((lambda p, x: x + p["x"], {"x": RANGE}), (ONES,), {"x"}),
    "the path of an input": ((_path_in_both, {"x.a": RANGE}), ({"a": ONES},), {"x.a"}),
    "a constant like a weight": ((_constant, {"constant_0": RANGE}), (ONES,), {"constant_0"}),
    "a constant like an input": (_constant_input, (ONES,), set()),
    "two inputs": (_two_inputs, ({"a": {"b": ONES}, "a.b": RANGE},), set()),
    "operators of GE": (
        (lambda p, x: x @ p["MatMulV2_0"] + p["Data_0"] * p["NetOutput"] - p["a/b:0"],
         {"MatMulV2_0": np.eye(3, dtype=np.float32), "Data_0": RANGE, "NetOutput": RANGE,
          "a/b:0": RANGE}),
        (ONES,), {"MatMulV2_0", "Data_0", "NetOutput", "a/b:0"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("file_format", ["MINDIR", "AIR", "ONNX"])
@pytest.mark.parametrize(("net", "inputs", "names"), CASES.values(), ids=CASES)
def test_names_meet(
    net: Any, inputs: Any, names: set[str], file_format: str, tmp_path: Path
) -> None:
    out = ms.export(net, *inputs, file_name=tmp_path / "a", file_format=file_format, verify=True)
    assert out.difference is not None
    if file_format == "AIR":
        assert names <= ms.load(out.file).parameters.keys()
    elif out.graph is not None:
        assert names <= out.graph.parameters.keys()


def test_through_a_mindir_to_an_air(tmp_path: Path) -> None:
    from msckpt_jax.api.convert_model import convert

    net, inputs, names = CASES["an input like a weight"]
    source = ms.export(net, *inputs, file_name=tmp_path / "a").file
    convert(source, tmp_path / "a.air")
    model = ms.load(tmp_path / "a.air")
    assert names <= model.parameters.keys()
    np.testing.assert_array_equal(model(*inputs), net[0](net[1], *inputs))


class Pair(NamedTuple):
    mean: Any
    std: Any


class Decoder(nnx.Module):
    """A module whose results have keys, some of them computed by one node, one an input."""

    def __init__(self) -> None:
        self.linear = nnx.Linear(3, 4, rngs=nnx.Rngs(0))

    def __call__(self, ids: Any, mask: Any = None, *, scale: float = 2.0) -> Any:
        hidden = self.linear(ids["tokens"]) * scale
        return {"logits": hidden, "again": hidden, "cache": (hidden * mask, {"ids": ids["tokens"]})}


def _loop(q: Any) -> Any:
    step = jax.lax.while_loop(lambda c: c.sum() < 30, lambda c: c + 1, q)
    return {
        "loop": step,
        "known": jnp.ones(3),
        "choice": jax.lax.cond(q[0, 0] > 0, jnp.sin, abs, q),
    }


def _two(q: Any, r: Any) -> Any:
    return q * 2, r["m"] + 1


MASK = np.full((2, 4), 0.5, np.float32)
TWO = (ONES, {"m": ONES})
#: Network, inputs, options; the names of inputs and results.
NAMED: dict[str, tuple[Any, tuple[Any, ...], dict[str, Any], list[str], list[str]]] = {
    "a module": (
        Decoder(), ({"tokens": ONES}, MASK), {},
        ["ids.tokens", "mask"], ["again", "cache.0", "cache.1.ids", "logits"]),
    "a named tuple": (lambda x: Pair(x.mean(), x), (ONES,), {}, ["x"], ["mean", "std"]),
    "one result": (lambda x: {"y": x * 2}, (ONES,), {}, ["x"], ["y"]),
    "no keys": (_two, TWO, {}, ["q", "r.m"], ["output", "output_1"]),
    "control flow": (_loop, (ONES,), {}, ["q"], ["choice", "known", "loop"]),
    "given": (
        _two, TWO, {"input_names": ["in/a", "b:0"], "output_names": ["Mul_1", "Add.x"]},
        ["in/a", "b:0"], ["Mul_1", "Add.x"]),
    "mapped": (
        _two, TWO, {"input_names": {"r.m": "mask"}, "output_names": {"output_1": "last"}},
        ["q", "mask"], ["output", "last"]),
    "a key like a weight and an input": (
        (lambda p, x: {"w": x @ p["w"], "x": x}, {"w": np.eye(3, dtype=np.float32)}), (ONES,), {},
        ["x"], ["w_1", "x_1"]),
}  # fmt: skip


def _expected(net: Any, inputs: tuple[Any, ...]) -> list[Any]:
    return jax.tree.leaves(net[0](net[1], *inputs) if isinstance(net, tuple) else net(*inputs))


@pytest.mark.parametrize(("net", "inputs", "how", "names", "results"), NAMED.values(), ids=NAMED)
def test_onnx_has_the_names(net, inputs, how, names, results, tmp_path: Path) -> None:
    done = ms.export(net, *inputs, file_name=tmp_path / "a", file_format="ONNX", **how)
    session = onnxruntime.InferenceSession(done.file)
    assert [value.name for value in session.get_inputs()] == names
    assert [value.name for value in session.get_outputs()] == results
    feed = dict(zip(names, jax.tree.leaves(inputs), strict=True))
    for result, want in zip(results, _expected(net, inputs), strict=True):
        np.testing.assert_allclose(session.run([result], feed)[0], want, 1e-5, 1e-6)


@pytest.mark.parametrize("file_format", ["MINDIR", "AIR"])
@pytest.mark.parametrize(("net", "inputs", "how", "names", "results"), NAMED.values(), ids=NAMED)
def test_load_has_the_names(net, inputs, how, names, results, file_format, tmp_path: Path) -> None:
    done = ms.export(net, *inputs, file_name=tmp_path / "a", file_format=file_format, **how)
    function = ms.load(done.file)
    assert (function.input_names, function.output_names) == (tuple(names), tuple(results))
    again = ms.export(function, *jax.tree.leaves(inputs), file_name=tmp_path / "b", verify=True,
                      file_format="ONNX")  # fmt: skip
    session = onnxruntime.InferenceSession(again.file)
    assert [value.name for value in session.get_inputs()] == names
    assert [value.name for value in session.get_outputs()] == results
    assert again.graph is not None
    assert again.graph.parameters.keys() == function.parameters.keys()


def test_mindspore_runs_files_with_names(tmp_path: Path) -> None:
    cases = []
    for number, (net, inputs, how, _, _) in enumerate(NAMED.values()):
        file = ms.export(net, *inputs, file_name=tmp_path / str(number), **how).file
        cases.append(Case(file, [jax.tree.leaves(inputs)]))
    with MindSpore() as mindspore:
        outcomes = mindspore.run(cases)
    for outcome, (net, inputs, *_) in zip(outcomes, NAMED.values(), strict=True):
        assert not outcome.error
        for have, want in zip(outcome.results[0], _expected(net, inputs), strict=True):
            np.testing.assert_allclose(have, want, 1e-5, 1e-6)


@pytest.mark.parametrize("file_format", ["MINDIR", "AIR", "ONNX"])
def test_inspect_shows_the_names(file_format: str, tmp_path: Path, capsys: Any) -> None:
    net, inputs, how, names, results = NAMED["a module"]
    done = ms.export(net, *inputs, file_name=tmp_path / "a", file_format=file_format, **how)
    assert main(["inspect", str(done.file)]) == 0
    printed = capsys.readouterr().out
    assert [name for name in (*names, *results) if name not in printed] == []


WRONG = {
    "too few": ({"input_names": ["a"]}, ValueError, "where the network has 2 inputs: q, r.m"),
    "too many": ({"output_names": list("abc")}, ValueError, "2 outputs: output, output_1"),
    "twice": ({"output_names": ["a", "a"]}, ValueError, "output_names has 'a' twice"),
    "a parameter's": ({"input_names": ["a", "w"]}, ValueError, "'w', which is the name of a param"),
    "an input's": ({"output_names": ["a", "q"]}, ValueError, "'q', which is the name of a param"),
    "empty": ({"input_names": ["a", ""]}, ValueError, "characters that print"),
    "a line end": ({"output_names": ["a", "b\n"]}, ValueError, "characters that print"),
    "a blank": ({"output_names": ["a", "b c"]}, ValueError, "characters that print"),
    "unknown": ({"input_names": {"s": "a"}}, ValueError, "has 's', but the names are: q, r.m"),
    "a string": ({"input_names": "ab"}, TypeError, "a sequence of strings, not str"),
    "a number": ({"output_names": ["a", 1]}, TypeError, "must be strings, but has a int"),
}  # fmt: skip


@pytest.mark.parametrize(("how", "error", "text"), WRONG.values(), ids=WRONG)
def test_wrong_names_are_refused(how: Any, error: Any, text: str, tmp_path: Path) -> None:
    net = (lambda p, q, r: _two(q + p["w"], r)), {"w": RANGE}
    with pytest.raises(error, match=text):
        ms.export(net, *TWO, file_name=tmp_path / "a", **how)
    assert not list(tmp_path.iterdir())


def test_names_on_the_command_line(tmp_path: Path) -> None:
    file = tmp_path / "net.onnx"
    given = ["--input", "f32[2,3]", "--input", "f32[3]", "-f", "ONNX", "-o", str(file)]
    names = ["--input-names", "a,b", "--output-names", "div,mod"]
    assert main(["export", "jax.numpy:divmod", *given, *names]) == 0
    session = onnxruntime.InferenceSession(file)
    assert [value.name for value in session.get_inputs()] == ["a", "b"]
    assert [value.name for value in session.get_outputs()] == ["div", "mod"]
