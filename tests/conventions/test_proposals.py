"""Rules for files whose names differ systematically: the right ones, or none."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from flax import nnx

import msckpt_jax as ms
from msckpt_jax import names


class Block(nnx.Module):
    def __init__(self, rngs: nnx.Rngs):
        self.norm1 = nnx.LayerNorm(6, rngs=rngs)
        self.query = nnx.Linear(6, 6, rngs=rngs)
        self.key = nnx.Linear(6, 6, rngs=rngs)
        self.norm2 = nnx.LayerNorm(6, rngs=rngs)
        self.up = nnx.Linear(6, 9, rngs=rngs)


class Net(nnx.Module):
    def __init__(self, seed: int):
        rngs = nnx.Rngs(seed)
        self.stem = nnx.Conv(3, 6, (2, 3), rngs=rngs)
        self.norm = nnx.BatchNorm(6, rngs=rngs)
        self.blocks = nnx.List([Block(rngs) for _ in range(3)])
        self.head = nnx.Linear(6, 4, rngs=rngs)


@functools.cache
def _made(seed: int) -> Net:
    return Net(seed)


def net_of(seed: int) -> Net:
    return nnx.clone(_made(seed))


def file_of(change: Callable[[str], str | None], convention: str = "mindspore") -> dict[str, Any]:
    """The parameters of a network by changed names, without those that become None."""
    out, values = {}, dict(leaves(net_of(0)))
    for row in ms.explain(net_of(0), convention):
        if row.leaf and (new := change(row.name)) is not None:
            value = np.asarray(values[row.leaf])
            order = {4: (3, 2, 0, 1), 2: (1, 0)}.get(value.ndim)
            out[new] = value.transpose(order) if order else value
    return out


def leaves(net: Any) -> list[tuple[str, Any]]:
    return [(leaf.name, leaf.value) for leaf in names.named_leaves(net)]


def proposed(text: str) -> ms.Convention:
    """The convention that a text says, as its reader would paste it."""
    match = re.search(r"^convention=(.*)$", text, re.MULTILINE)
    assert match is not None, text
    return eval(match[1], {"ms": ms})


def tried(file: dict[str, Any], convention: Any = None) -> str:
    """What a load says of a file."""
    try:
        missing, _ = ms.load_param_into_net(net_of(1), file, convention=convention)
    except ms.CheckpointError as error:
        return str(error)
    return missing.explain()


def shift(match: re.Match[str]) -> str:
    return f"{match[1]}{int(match[2]) + 1}"


SYSTEMATIC: dict[str, tuple[Callable[[str], str], str]] = {
    "a prefix": (lambda n: f"a.b.{n}", "'a.b.' + name"),
    "an index": (lambda n: re.sub(r"(blocks\.)(\d+)", shift, n), "index + 1 in 'blocks.N'"),
    "every second index": (
        lambda n: re.sub(r"blocks\.(\d+)", lambda m: f"cells.{2 * int(m[1])}", n), "in their order"
    ),
    "indices with gaps": (
        lambda n: re.sub(r"blocks\.(\d+)", lambda m: f"cells.{'035'[int(m[1])]}", n),
        "'cells.N' where the network has 'blocks.N', the indices in their order",
    ),
    "a separator": (
        lambda n: re.sub(r"blocks\.(\d+)", r"block\1", n),
        "'blockN' where the network has 'blocks.N'",
    ),
    "PyTorch's words": (
        lambda n: {"gamma": "scale", "beta": "offset"}.get(n.rpartition(".")[2], "").join(
            [n.rpartition(".")[0] + ".", ""]) if n.endswith(("gamma", "beta")) else n,
        "'scale' where the network has 'gamma'",
    ),
    "queries and keys": (
        lambda n: n.replace("query", "q_proj").replace("key", "k_proj"), "'k_proj' where"
    ),
    "a level between": (
        lambda n: re.sub(r"(blocks\.\d+\.)", r"\1inner.", n), "'blocks.N.inner' where"
    ),
    "several": (
        lambda n: "net." + re.sub(r"blocks\.(\d+)", r"layers_\1", n).replace("head", "classifier"),
        "2: 'classifier' where the network has 'head'",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", SYSTEMATIC)
@pytest.mark.parametrize("convention", ["mindspore", None])
def test_what_is_told_reads_the_file(case: str, convention: Any) -> None:
    change, line = SYSTEMATIC[case]
    file = file_of(change)
    text = tried(file, convention)
    if case.startswith("a prefix"):  # which the loader finds by itself
        assert text == ""
        return
    assert line in text
    net = net_of(1)
    assert ms.load_param_into_net(net, file, convention=proposed(text)) == ([], [])
    for got, wanted in zip(*map(jax.tree.leaves, map(nnx.state, (net, net_of(0)))), strict=True):
        np.testing.assert_array_equal(got, wanted)


def test_a_convention_of_ones_own_goes_on() -> None:
    how = ms.Convention(base="mint", rename={"^": "net."})
    text = tried(file_of(lambda n: "net." + n.replace("blocks", "layers"), "mint"), how)
    assert "30: 'layers' where the network has 'blocks'" in text
    assert r"rename={**convention.rename, r'\bblocks\b': 'layers'})" in text


def test_a_rule_does_not_take_the_place_of_ones_own() -> None:
    how = ms.Convention(rename={"^": "net."})
    file = file_of(lambda n: "old.net." + n.replace("blocks", "layers"))
    match = re.search(r"^convention=(.*)$", tried(file, how), re.MULTILINE)
    assert match is not None
    assert "(?:^)" in match[1]
    better = eval(match[1], {"dataclasses": dataclasses, "convention": how})
    assert ms.load_param_into_net(net_of(1), file, convention=better) == ([], [])


def test_the_trees_own_names() -> None:
    params = {f"old.{name.replace('blocks', 'layers')}": np.asarray(value)
              for name, value in leaves(net_of(0))}  # fmt: skip
    text = tried(params)
    assert "layers={'.*': 'other'}" in text
    net = net_of(1)
    assert ms.load_param_into_net(net, params, convention=proposed(text)) == ([], [])
    np.testing.assert_array_equal(net.blocks[1].up.kernel[...], net_of(0).blocks[1].up.kernel[...])


NOT_SURE: dict[str, Callable[[], dict[str, Any]]] = {
    "two copies": lambda: {f"{p}.{n}": v for p in ("net", "ema") for n, v in file_of(str).items()},
    "layers of one shape": lambda: file_of(
        lambda n: n.replace("query", "first").replace("key", "second")
    ),
    "norms of one shape": lambda: file_of(
        lambda n: n.replace("norm1", "before").replace("norm2", "after")
    ),
    "kernels, which may be transposed": lambda: file_of(
        lambda n: n if "blocks" not in n else n.replace("query.weight", "query.kernel")
    ),
    "weights, which may be transposed": lambda: file_of(lambda n: n.replace("key.weight", "key.w")),
    "other shapes": lambda: {f"x.{n}": v[..., None] * [1, 2] for n, v in file_of(str).items()},
    "an optimizer's state": lambda: {f"moments.{n}": v for n, v in file_of(str).items()},
    "one parameter": lambda: file_of(lambda n: n.replace("head.weight", "head.matrix")),
}


@pytest.mark.parametrize("case", NOT_SURE)
@pytest.mark.parametrize("convention", ["mindspore", None])
def test_what_is_not_sure_is_not_told(case: str, convention: Any) -> None:
    assert "convention=ms" not in tried(NOT_SURE[case](), convention)


def test_the_rest_is_told_one_by_one_and_counted() -> None:
    file = file_of(lambda n: None if "norm" in n else n.replace("blocks", "layers"))
    missing, unused = ms.load_param_into_net(net_of(1), file, convention="mindspore")
    told = missing.explain().splitlines()
    assert told[0] == "18 parameters of the file would fit under other names:"
    assert sum(": no such name in the file" in line for line in told) == len(told) - 3 == 16
    assert unused.explain().startswith("18 would fit by the convention that")
    many = {f"other{i}": np.ones(1, np.float32) for i in range(50)}
    _, unused = ms.load_param_into_net(net_of(1), file_of(str) | many, convention="mindspore")
    assert unused.explain().splitlines()[-1] == "and 30 more"
    assert len(unused.reasons) == 50
    assert not re.search("would fit", unused.explain())


def test_like_tells_it_too(tmp_path: Path) -> None:
    ms.save_checkpoint(file_of(lambda n: n.replace("blocks", "layers")), tmp_path / "a.ckpt")
    with pytest.raises(ms.CheckpointError, match=r"(?s)that the file lacks.*'layers' where"):
        ms.load_checkpoint(tmp_path / "a.ckpt", like=net_of(1), convention="mindspore")


def test_layers_that_do_not_begin_alike_are_left_out() -> None:
    file = {n: v for n, v in file_of(lambda n: f"x.{n}").items() if "blocks.0" not in n}
    text = tried(file, "mindspore")
    assert "'x.stem' where" in text
    assert "blocks" not in text.partition("convention=")[2].partition("\n")[0]


def test_a_convention_that_needs_no_rules() -> None:
    """The tree's own names find a part of the file that this convention does not."""
    file = file_of(str) | {"head.kernel": np.ones((6, 4), np.float32)}
    del file["head.weight"]
    text = tried(file)
    assert "convention='mindspore'" in text
    assert "head.kernel" not in text
