"""A loaded model that is exported again keeps names and structure, and its weights come out."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import pytest

import msckpt_jax as ms
from msckpt_jax.api import convert_model
from msckpt_jax.cli import main

from .samples import check, sample, unpacked

FORMATS = ("MINDIR", "AIR", "ONNX")
#: Models of MindSpore, and the names that their files have.
MODELS = {
    "nested": ("x", "pair.0", "pair.1"),
    "lists": ("x", "pair.0", "pair.1"),
    "branches": ("x", "flag"),
    "experts": ("x", "index"),
    "layers": ("x", "mask"),
    "positions": ("ids",),
}
KEY = b"0123456789abcdef"


def names_of(file: Path) -> tuple[set[str], tuple[str, ...], tuple[str, ...]]:
    """The names of weights, inputs and results of a file."""
    if file.suffix != ".onnx":
        function = ms.load(file)
        return {*function.parameters}, function.input_names, function.output_names
    graph = onnx.load(file).graph
    weights = {each.name for each in graph.initializer if not each.name.startswith("constant_")}
    return weights, tuple(v.name for v in graph.input), tuple(v.name for v in graph.output)


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize("model", MODELS)
def test_exported_again(tmp_path: Path, model: str, file_format: str) -> None:
    function, inputs, wanted = sample(tmp_path, model)
    assert function.input_names == MODELS[model]
    nested = jax.tree.structure(function.inputs).unflatten(inputs)
    check(function(*nested), wanted)
    own = {*function.parameters}, function.input_names, function.output_names
    file = ms.export(function, *nested, file_name=tmp_path / "b", file_format=file_format).file
    assert names_of(file) == own
    if file_format != "ONNX":
        again = ms.load(file)
        found = again(*nested)
        check(found, wanted)
        assert jax.tree.structure(found) == jax.tree.structure(function(*nested))
        last = ms.export(again, *nested, file_name=tmp_path / "c", file_format=file_format).file
        assert names_of(last) == own


def batch(x: dict[str, Any], pair: Any, factor: Any) -> Any:
    return {"sum": x["ids"] + x["mask"], "pair": (pair[0], [pair[1] * factor, None])}, (factor,)


ARGUMENTS = (
    {"mask": np.ones(2, np.float32), "ids": np.arange(2, dtype=np.float32)},
    (np.ones(3, np.float32), np.ones(2, np.float32)),
    np.float32(3),
)


@pytest.mark.parametrize("file_format", FORMATS[:2])
def test_dicts_and_tuples(tmp_path: Path, file_format: str) -> None:
    first = ms.export(batch, *ARGUMENTS, file_name=tmp_path / "a", file_format=file_format).file
    function = ms.load(first)
    suffix = {"MINDIR": ".air", "AIR": ".mindir"}[file_format]
    files = [
        ms.export(function, *ARGUMENTS, file_name=tmp_path / "b", file_format=file_format).file,
        convert_model.convert(first, tmp_path / f"c{suffix}")[0],
    ]
    for again in (function, *map(ms.load, files)):
        assert again.input_names == ("x.ids", "x.mask", "pair.0", "pair.1", "factor")
        found = again(*ARGUMENTS)
        assert found[0].keys() == {"sum", "pair"}
        assert found[0]["pair"][1][1] is None
        np.testing.assert_array_equal(found[0]["sum"], [1, 2])
        np.testing.assert_array_equal(found[1][0], 3)
        flat = again(*jax.tree.leaves(ARGUMENTS))
        assert jax.tree.all(jax.tree.map(np.array_equal, found, flat))


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Batch:
    """Its leaves have another order than those of a dict."""

    mask: Any
    ids: Any


@pytest.mark.parametrize("file_format", FORMATS)
def test_names_stay_with_their_arguments(tmp_path: Path, file_format: str) -> None:
    given = Batch(np.ones(2, np.float32), np.ones(3, np.float32))
    first = ms.export(lambda b: (b.mask + 1, b.ids + 2), given, file_name=tmp_path / "a").file
    function = ms.load(first)
    assert function.input_names == ("b.mask", "b.ids")
    for inputs in (given, {"ids": given.ids, "mask": given.mask}):
        assert [x.shape for x in function(inputs)] == [(2,), (3,)]
        done = ms.export(function, inputs, file_name=tmp_path / "b", file_format=file_format)
        shapes = {value.name: value.type.shape for value in done.graph.inputs}
        assert shapes == {"b.mask": (2,), "b.ids": (3,)}


@pytest.mark.parametrize("file_format", FORMATS[:2])
def test_quantised(tmp_path: Path, file_format: str) -> None:
    weights = {"w": np.eye(64, dtype=np.float32)}
    x = np.ones((2, 64), np.float32)
    done = ms.export(
        ((lambda p, x: {"logits": x["ids"] @ p["w"], "ids": x["ids"]}), weights), {"ids": x},
        file_name=tmp_path / "a", file_format=file_format, weights="int8",
    )  # fmt: skip
    assert any(p.type.dtype == np.int8 for p in done.graph.parameters.values())
    function = ms.load(done.file)
    assert function.output_names == ("ids", "logits")
    np.testing.assert_allclose(function({"ids": x})["logits"], x, 1e-2)


WEIGHTS = {
    "layer.w": np.arange(6, dtype=np.float32).reshape(2, 3),
    "Const_3": np.ones(3, np.float32),
    "steps": np.int32([1, 2, 3]),
    "half": jnp.ones(3, jnp.bfloat16),
}


def weighted(p: dict[str, Any], x: Any) -> Any:
    return x @ p["layer.w"] + p["Const_3"] * p["steps"] + p["half"].astype(jnp.float32)


@pytest.mark.parametrize("file_format", FORMATS[:2])
@pytest.mark.parametrize(
    "net_of",
    [
        lambda f, weights: (f, weights),
        lambda f, weights: (f.apply, weights),
        lambda f, weights: (jax.jit(f.apply), weights),
        lambda f, weights: functools.partial(f.apply, weights),
    ],
)
def test_other_weights(tmp_path: Path, file_format: str, net_of: Callable[[Any, Any], Any]) -> None:
    x = np.ones((1, 2), np.float32)
    options: dict[str, Any] = {"file_format": file_format, "input_names": ["tokens"]}
    f = ms.load(ms.export((weighted, WEIGHTS), x, file_name=tmp_path / "a", **options).file)
    tuned = {name: value + 1 for name, value in f.parameters.items()}
    net = net_of(f, tuned)
    g = ms.load(ms.export(net, x, file_name=tmp_path / "b", file_format=file_format).file)
    assert g.input_names == ("tokens",)
    assert g.parameters.keys() == WEIGHTS.keys()
    np.testing.assert_array_equal(g(x), f.apply(tuned, x))


@pytest.mark.parametrize("file_format", FORMATS)
def test_weights_that_nothing_uses(tmp_path: Path, file_format: str) -> None:
    unpacked("models", tmp_path)
    rules = {"BiasAdd": lambda x, bias, *rest: x}
    function = ms.load(tmp_path / "layers.mindir", rules=rules)
    file = ms.export(
        function, *function.inputs, file_name=tmp_path / "b", file_format=file_format
    ).file
    assert names_of(file)[0] == {*function.parameters}


def exported(folder: Path, kind: str) -> tuple[Path, dict[str, Any]]:
    """A model of WEIGHTS, and what opens it."""
    options: dict[str, Any] = {
        "plain": {},
        "encrypted": {"enc_key": KEY},
        "split": {"split_bytes": 8},
        "air": {"file_format": "AIR"},
        "split air": {"file_format": "AIR", "split_bytes": 8},
    }[kind]
    x = np.ones((1, 2), np.float32)
    file = ms.export((weighted, WEIGHTS), x, file_name=folder / "model", **options).file
    return file, {"dec_key": KEY} if "enc_key" in options else {}


@pytest.mark.parametrize("target", ["out.ckpt", "out.safetensors", "orbax", "hub"])
@pytest.mark.parametrize("kind", ["plain", "encrypted", "split", "air", "split air"])
def test_weights_are_taken_out(tmp_path: Path, kind: str, target: str) -> None:
    file, key = exported(tmp_path, kind)
    out = tmp_path / target
    sizes = {"max_shard_size": "20KB"} if target == "hub" else {}
    ms.convert_checkpoint(file, out, verify=True, **key, **sizes)
    if target == "orbax":
        ms.convert_checkpoint(out, out := tmp_path / "back.ckpt")
    found = ms.load_checkpoint(out)
    assert found.keys() == WEIGHTS.keys()
    for name, value in WEIGHTS.items():
        np.testing.assert_array_equal(found[name], value, strict=True)


@pytest.mark.parametrize("kind", ["plain", "encrypted", "air"])
def test_on_the_command_line(tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    file, key = exported(tmp_path, kind)
    (tmp_path / "key").write_bytes(KEY)
    arguments = ["--dec-key-file", str(tmp_path / "key")] if key else []
    out = tmp_path / "out.ckpt"
    assert main(["convert", str(file), str(out), "--verify", *arguments]) == 0
    assert "4 entries" in capsys.readouterr().out
    assert ms.load_checkpoint(out).keys() == WEIGHTS.keys()
    if not key:
        with pytest.raises(
            ms.CheckpointError, match=r"msckpt convert .*model\.(mindir|air) weights"
        ):
            ms.open_checkpoint(file)


def test_options_of_models_are_none_of_checkpoints(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, _ = exported(tmp_path, "plain")
    out = tmp_path / "out.ckpt"
    assert main(["convert", str(file), str(out), "--soc", "Ascend910B", "--weights", "int8"]) == 2
    assert "--weights, --soc: for models" in capsys.readouterr().err
    assert not out.exists()


def test_of_what_no_weights_are_taken_out(tmp_path: Path) -> None:
    file, _ = exported(tmp_path, "encrypted")
    with pytest.raises(ms.MindIRError, match="encrypted with AES-GCM: pass dec_key"):
        ms.convert_checkpoint(file, tmp_path / "a.ckpt")
    onnx_file = ms.export(batch, *ARGUMENTS, file_name=tmp_path / "c", file_format="ONNX").file
    with pytest.raises(ValueError, match="the weights of an ONNX file"):
        ms.convert_checkpoint(onnx_file, tmp_path / "a.ckpt")
    bare = ms.export(batch, *ARGUMENTS, file_name=tmp_path / "d").file
    with pytest.raises(ms.CheckpointError, match="the model has no weights"):
        ms.convert_checkpoint(bare, tmp_path / "a.ckpt")
    assert not (tmp_path / "a.ckpt").exists()


class Unsorted(NamedTuple):
    """Fields in another order than that in which JAX sorts the keys of a dict."""

    u: Any
    s: Any
    a: Any


@pytest.mark.parametrize("file_format", FORMATS)
def test_the_order_of_names_is_the_functions(tmp_path: Path, file_format: str) -> None:
    def network(pair: Unsorted) -> Unsorted:
        return Unsorted(pair.u + 1, pair.s @ pair.u, pair.a * 2)

    pair = Unsorted(jnp.ones((3,)), jnp.ones((2, 3)), jnp.full((4, 1), 3.0))
    wanted = network(pair)
    ms.export(network, pair, file_name=tmp_path / "a", file_format="MINDIR")
    function = ms.load(tmp_path / "a.mindir")
    assert [*function(pair)] == ["u", "s", "a"]
    again = ms.export(
        function, pair, file_name=tmp_path / "b", file_format=file_format, verify=True
    ).file
    order = ("pair.u", "pair.s", "pair.a"), ("u", "s", "a")
    assert names_of(again)[1:] == order
    if file_format != "ONNX":
        for given in (pair, {"a": pair.a, "s": pair.s, "u": pair.u}):
            found = ms.load(again)(given)
            assert [*found] == ["u", "s", "a"]
            check([*found.values()], [*wanted])
