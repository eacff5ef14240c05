"""Files in the style of MindSpore 1.x, and other models made by hand: MindSpore agrees on each."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

import msckpt_jax as ms
from msckpt_jax._protos import mind_ir_pb2 as pb
from msckpt_jax.mindir import runner

from .handmade import branch, call, constant, empty, loop, network, node, scalar, weight

KINDS = pb.AttributeProto
X = np.float32([[1, -2, 3], [0, 1, 4]])


def old(op: str, *inputs: str, **attributes: Any) -> pb.ModelProto:
    """``op(x, *inputs)`` with attributes on the node: ints, floats, strs and tuples of these."""
    model = empty()
    model.mind_ir_version = 0
    graph = model.graph
    graph.output.add(name=node(graph, "main:y", op, "main:x", *inputs))
    for name, value in attributes.items():
        add_old(graph.node[-1].attribute.add(name=name), value)
    return model


def add_old(attribute: pb.AttributeProto, value: Any) -> None:
    parts = value if isinstance(value, tuple) else (value,)
    texts = "".join(f"value{k + 1}," for k in range(len(parts)))
    attribute.ref_attr_name = f"scalar:Tuple[{texts}]" if value is parts else "scalar:value0"
    kind, single, plural = {
        bool: (KINDS.BOOL, "i", "ints"),
        int: (KINDS.INT64, "i", "ints"),
        float: (KINDS.FLOAT, "f", "floats"),
        str: (KINDS.STRING, "s", "strings"),
    }[type(parts[0])]
    attribute.type = kind
    encode: dict[type, Any] = {str: str.encode, bool: int}
    encoded = [encode.get(type(part), type(part))(part) for part in parts]
    if value is parts:
        getattr(attribute, plural).extend(encoded)
    else:
        setattr(attribute, single, encoded[0])


def old_convolution() -> pb.ModelProto:
    model = old(
        "Conv2D", "main:w", kernel_size=(2, 2), out_channel=3, pad_mode="valid", mode=1, group=1,
        pad=(0, 0, 0, 0), stride=(1, 1, 1, 1), dilation=(1, 1, 1, 1), format="NCHW",
    )  # fmt: skip
    del model.graph.input[0].tensor[0].dims[:]
    model.graph.input[0].tensor[0].dims.extend([1, 2, 3, 4])
    values = np.random.default_rng(0).standard_normal((3, 2, 2, 2)).astype(np.float32)
    weight(model, "w", values)
    return model


def old_reduction() -> pb.ModelProto:
    model = old("ReduceSum", "axis", keep_dims=True)
    attribute = pb.NodeProto(op_type="Constant", output=["axis"])
    add_old(attribute.attribute.add(name="value"), (1,))
    model.graph.node.insert(0, attribute)
    return model


def pieces() -> pb.ModelProto:
    """Several results, a constant, a weight and the input among them; a tuple within."""
    model = network()
    graph = model.graph
    pair = node(graph, "main:pair", "MakeTuple", "main:w", "main:y")
    for name in (pair, "main:x", scalar(graph, "seven", 7, np.int32)):
        graph.output.add(name=name)
    return model


def two_results() -> pb.ModelProto:
    """The largest value of each row and its place, whose types are not told."""
    model = empty()
    graph = model.graph
    constants = {"one": {"type": KINDS.INT64, "i": 1}, "zero": {"type": KINDS.INT64, "i": 0},
                 "no": {"type": KINDS.BOOL, "i": 0}}  # fmt: skip
    for name, fields in constants.items():
        constant(graph, name, **fields)
    both = node(graph, "main:both", "ArgMaxWithValue", "main:x", "one", "no")
    graph.output.add(name=node(graph, "main:y", "TupleGetItem", both, "one"))
    graph.output.add(name=node(graph, "main:z", "TupleGetItem", both, "zero"))
    return model


def two_calls() -> pb.ModelProto:
    """A function called twice, its result used."""
    model = empty()
    graph = model.graph
    square = model.functions.add(name="square")
    square.input.add(name="square:x")
    square.output.add(name=node(square, "square:y", "Mul", "square:x", "square:x"))
    once = call(graph, "main:once", "square", "main:x")
    twice = call(graph, "main:twice", "square", once)
    graph.output.add(name=node(graph, "main:y", "Add", once, twice))
    return model


MODELS: dict[str, Callable[[], pb.ModelProto]] = {
    "old softmax": lambda: old("Softmax", axis=(-1,)),
    "old softmax, other axis": lambda: old("Softmax", axis=(0,)),
    "old reduction": old_reduction,
    "old convolution": old_convolution,
    "old log softmax": lambda: old("LogSoftmax", axis=-1),
    "network": network,
    "branch": branch,
    "loop": loop,
    "pieces": pieces,
    "two results": two_results,
    "two calls": two_calls,
}


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Any, Any]]:
    if not runner.available():
        pytest.skip("real MindSpore is not installed: pip install 'msckpt_jax[test]'")
    folder = tmp_path_factory.mktemp("handmade")
    cases = {}
    for k, (name, make) in enumerate(MODELS.items()):
        model = make()
        shape = tuple(model.graph.input[0].tensor[0].dims)
        x = X if shape == X.shape else np.arange(24, dtype=np.float32).reshape(shape)
        path = folder / f"{k}.mindir"
        path.write_bytes(model.SerializeToString())
        cases[name] = (path, x)
    with runner.MindSpore() as mindspore:
        found = mindspore.run([runner.Case(path, [[x]]) for path, x in cases.values()])
    return {
        name: (*case, outcome) for (name, case), outcome in zip(cases.items(), found, strict=True)
    }


@pytest.mark.parametrize("name", MODELS)
def test_mindspore_agrees(outcomes: dict[str, tuple[Path, Any, Any]], name: str) -> None:
    path, x, outcome = outcomes[name]
    assert not outcome.error, outcome.error
    found = jax.tree.leaves(ms.load(path)(x))
    assert len(found) == len(outcome.results[0])
    for got, want in zip(found, outcome.results[0], strict=True):
        assert (got.dtype, got.shape) == (
            jax.dtypes.canonicalize_dtype(want.dtype), want.shape)  # fmt: skip
        np.testing.assert_allclose(got, want, 1e-5, 1e-5)


def test_gcm_of_older_versions(tmp_path: Path) -> None:
    """They take all 16 bytes of the IV as the nonce."""
    key, iv = bytes(range(16)), bytes(range(16, 32))
    encryptor = Cipher(algorithms.AES(key), modes.GCM(iv)).encryptor()
    secret = encryptor.update(network().SerializeToString()) + encryptor.finalize()
    head = struct.pack("<I", 0x7F3A5ED8) + encryptor.tag
    head += struct.pack("<II", 24 + len(secret), 16) + iv + struct.pack("<I", len(secret))
    path = tmp_path / "a.mindir"
    path.write_bytes(head + secret)
    np.testing.assert_array_equal(ms.load(path, dec_key=key)(X), [[3, 3], [6, 6]])
    with pytest.raises(ms.MindIRError, match="wrong key"):
        ms.load(path, dec_key=bytes(16))
