"""Damaged and hostile MindIR files: an error of ours, never a crash, a hang, a huge allocation."""

from __future__ import annotations

import random
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import msckpt_jax as ms
from msckpt_jax._protos import mind_ir_pb2 as pb
from msckpt_jax.mindir import reader

from .handmade import branch, call, constant, function, loop, network, node


def load(tmp_path: Path, model: pb.ModelProto) -> Any:
    path = tmp_path / "a.mindir"
    path.write_bytes(model.SerializeToString())
    return ms.load(path)


@pytest.mark.parametrize("make", [network, branch, loop])
def test_the_handmade_models_are_sound(tmp_path: Path, make: Callable[[], Any]) -> None:
    x = np.float32([[1, -2, 3], [0, 1, 4]])
    wanted = {network: np.maximum(x @ np.ones((3, 2)) + 1, 0), branch: x + 1, loop: x + 3}
    np.testing.assert_array_equal(load(tmp_path, make())(x), wanted[make])


CONTENT = {
    "empty": (b"", "empty"),
    "text": (b"no model at all", "damaged, or no MindIR"),
    "zeros": (bytes(64), "damaged, or no MindIR"),
    "other message": (pb.ModelProto(producer_name="a").SerializeToString(), "holds no graph"),
    "cut": (network().SerializeToString()[:-40], "damaged, or no MindIR"),
    "encrypted": (b"\xd8\x5e\x3a\x7f" + bytes(80), "encrypted with AES-GCM: pass dec_key"),
}


@pytest.mark.parametrize("name", CONTENT)
def test_content(tmp_path: Path, name: str) -> None:
    content, message = CONTENT[name]
    path = tmp_path / "a.mindir"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        ms.load(path)
    assert str(path) in str(error.value)


def test_information_twice(tmp_path: Path) -> None:
    """Of a map's key that is there twice protobuf keeps the last."""
    data = network().SerializeToString()
    for value in ("1", "2"):
        data += pb.ModelProto(user_info={"version": value}).SerializeToString()
    path = tmp_path / "a.mindir"
    path.write_bytes(data)
    with pytest.raises(ValueError, match="the information 'version' is there twice"):
        ms.load(path)


def parameter(**fields: Any) -> Callable[[pb.ModelProto], None]:
    def change(model: pb.ModelProto) -> None:
        for name, value in fields.items():
            if isinstance(value, list):
                model.graph.parameter[0].ClearField(name)
                getattr(model.graph.parameter[0], name).extend(value)
            else:
                setattr(model.graph.parameter[0], name, value)

    return change


def again(*path: str) -> Callable[[pb.ModelProto], None]:
    """Append a copy of the first entry of a repeated field."""

    def change(model: pb.ModelProto) -> None:
        owner: Any = model
        for name in path[:-1]:
            owner = getattr(owner, name)
        field = getattr(owner, path[-1])
        field.add().CopyFrom(field[0])

    return change


def add(*nodes: Callable[[pb.GraphProto], Any]) -> Callable[[pb.ModelProto], None]:
    """Append nodes to the root; the last one is the result."""

    def change(model: pb.ModelProto) -> None:
        for one in nodes:
            name = one(model.graph)
        model.graph.output[0].name = name

    return change


def effect(model: pb.ModelProto) -> None:
    constant(model.graph, "u", type=pb.AttributeProto.UMONAD)
    node(model.graph, "assigned", "Assign", "main:w", "main:w", "u")


def input_without_type(model: pb.ModelProto) -> None:
    model.graph.input[0].ClearField("tensor")


def attribute_twice(model: pb.ModelProto) -> None:
    """Of two axes the last would be taken."""
    primitive = model.primitives[0]
    for axis in (0, 1):
        primitive.attribute.add(name="axis", type=pb.AttributeProto.INT64, i=axis)


def constant_twice(model: pb.ModelProto) -> None:
    """In two graphs: constants are known in all of them."""
    for name in "fg":
        made = function(model, name, "x")
        constant(made, "c", type=pb.AttributeProto.INT64, i=1)
        made.output.add(name="c")


def exponential(model: pb.ModelProto) -> None:
    for k in range(40):
        f = function(model, f"f{k}", "x")
        target = f"f{k + 1}" if k < 39 else None
        a = (
            call(f, f"f{k}:a", target, f"f{k}:x")
            if target
            else node(f, f"f{k}:a", "ReLU", f"f{k}:x")
        )
        b = call(f, f"f{k}:b", target, a) if target else a
        f.output.add(name=node(f, f"f{k}:c", "Add", a, b))
    add(lambda g: call(g, "y", "f0", "main:x"))(model)


def deep(model: pb.ModelProto) -> None:
    for k in range(500):
        f = function(model, f"f{k}", "x")
        inner = call(f, f"f{k}:a", f"f{k + 1}", f"f{k}:x") if k < 499 else f"f{k}:x"
        f.output.add(name=node(f, f"f{k}:c", "ReLU", inner))
    add(lambda g: call(g, "y", "f0", "main:x"))(model)


def doubled(op: str, *first: str) -> Callable[[pb.ModelProto], None]:
    """40 nodes that each take the one before twice."""

    def change(model: pb.ModelProto) -> None:
        last = "main:x" if op == "MakeTuple" else "f"
        function(model, "f", "x").output.add(name="f:x")
        for k in range(40):
            last = node(model.graph, f"t{k}", op, *first, last, last)
        model.graph.output[0].name = last

    return change


def nested(model: pb.ModelProto) -> None:
    last = "main:x"
    for k in range(5000):
        last = node(model.graph, f"t{k}", "MakeTuple", last)
    model.graph.output[0].name = last


def recursion(model: pb.ModelProto) -> None:
    for name, other in (("f", "g"), ("g", "f")):
        f = function(model, name, "x")
        called = call(f, f"{name}:a", other, f"{name}:x")
        f.output.add(name=node(f, f"{name}:b", "ReLU", called))
    add(lambda g: call(g, "y", "f", "main:x"))(model)


def endless(model: pb.ModelProto) -> None:
    f = function(model, "f", "x")
    f.output.add(name=call(f, "f:a", "f", node(f, "f:b", "ReLU", "f:x")))
    add(lambda g: call(g, "y", "f", "main:x"))(model)


def legacy(text: str, **fields: Any) -> Callable[[pb.ModelProto], None]:
    return add(
        lambda g: constant(g, "c", ref_attr_name=text, **fields),
        lambda g: node(g, "y", "Add", "main:x", "c"),
    )


MODELS: dict[str, tuple[Callable[[pb.ModelProto], None], str]] = {
    "too few bytes": (parameter(raw_data=b"123"), r"parameter 'w': .*\(expected 24, found 3\)"),
    "too many bytes": (parameter(raw_data=bytes(99)), r"\(expected 24, found 99\)"),
    "no bytes": (parameter(raw_data=b""), r"\(expected 24, found 0\)"),
    "absurd size": (parameter(dims=[1 << 40, 1 << 40]), "another number of bytes"),
    "absurd, yet empty": (parameter(dims=[0, 1 << 62, 1 << 62], raw_data=b""), "NumPy cannot hold"),
    "negative size": (parameter(dims=[-3, -2]), "cannot have this shape"),
    "absurd rank": (parameter(dims=[1] * 99), "cannot have this shape"),
    "unknown dtype": (parameter(data_type=77), r"data_type has no NumPy dtype \(.*77\)"),
    "text": (parameter(data_type=8), "no NumPy dtype"),
    "compressed": (parameter(compression_type=3), "compressed"),
    "big-endian": (lambda m: setattr(m, "little_endian", False), "big-endian"),
    "parameter twice": (again("graph", "parameter"), "two parameters have this name"),
    "node twice": (again("graph", "node"), "two values of 'main' have the name"),
    "input twice": (again("graph", "input"), "two inputs"),
    "primitive twice": (again("primitives"), "two primitives have the name"),
    "attribute twice": (attribute_twice, "has the attribute 'axis' twice"),
    "constant twice": (constant_twice, "two constants have the name"),
    "a node like a parameter": (add(lambda g: node(g, "main:w", "ReLU", "main:x")),
                                "a parameter and another value have the name 'main:w'"),
    "function twice": (lambda m: [function(m, "f", "x").output.add(name="f:x") for _ in "ab"],
                       "two graphs have the name 'f'"),
    "root twice": (lambda m: function(m, "main", "x").output.add(name="main:x"), "two graphs"),
    "no result": (lambda m: m.graph.ClearField("output"), "has no output"),
    "unknown result": (lambda m: setattr(m.graph.output[0], "name", "z"), "nothing computes it"),
    "unknown operand": (add(lambda g: node(g, "y", "ReLU", "z")), "'z' is used before it is"),
    "its own operand": (add(lambda g: node(g, "y", "ReLU", "y")), "'y' is used before it is"),
    "circle": (add(lambda g: node(g, "z", "ReLU", "y"), lambda g: node(g, "y", "ReLU", "z")),
               "'y' is used before it is"),
    "unknown function": (add(lambda g: call(g, "y", "f", "main:x")), "'f' is called, but is no"),
    "tensor called": (add(lambda g: call(g, "y", "main:x")), "'main:x' is called, but is no"),
    "node without result": (lambda m: m.graph.node[0].ClearField("output"), "has 0 outputs"),
    "empty constant": (add(lambda g: node(g, "c", "Constant"), lambda g: node(g, "y", "ReLU", "c")),
                       "the constant 'c' has 0 values"),
    "dict": (add(lambda g: constant(g, "c", type=pb.AttributeProto.DICT),
                 lambda g: node(g, "y", "ReLU", "c")), "kind DICT has no counterpart"),
    "part of nothing": (add(lambda g: constant(g, "k", type=pb.AttributeProto.INT64, i=5),
                            lambda g: node(g, "t", "MakeTuple", "main:x"),
                            lambda g: node(g, "y", "TupleGetItem", "t", "k")), "part 5 of 1"),
    "part of a tensor": (add(lambda g: node(g, "y", "TupleGetItem", "main:x")), "1 operands"),
    "switch between tensors": (add(lambda g: node(g, "s", "Switch", "main:x", "main:x", "main:x"),
                                   lambda g: call(g, "y", "s")), "values that are no functions"),
    "partial of a tensor": (add(lambda g: node(g, "y", "Partial", "main:x")), "no function"),
    "function as result": (lambda m: [function(m, "f", "x").output.add(name="f:x"),
                                      setattr(m.graph.output[0], "name", "f")], "used as data"),
    "tuples of tuples": (doubled("MakeTuple"), "more than 20000 parts"),
    "functions of functions": (doubled("Partial"), "more than 20000 parts"),
    "choices of choices": (doubled("Switch", "main:x"), "more than 20000 parts"),
    "nested tuples": (nested, "nested deeper than 60"),
    "circle of order": (add(lambda g: node(g, "d", "Depend", "e", "main:x"),
                            lambda g: node(g, "e", "Depend", "d", "main:x")), "used before"),
    "order of nothing": (add(lambda g: node(g, "d", "Depend")), "0 operands"),
    "effect": (effect, r"does not wait for:\n  Assign at assigned"),
    "input without type": (input_without_type, "neither dtype nor rank"),
    "exponential": (exponential, "too many nodes"),
    "deep": (deep, "nest deeper than 60"),
    "recursion": (recursion, "calls itself other than as a loop"),
    "endless": (endless, "never ends"),
    "legacy, unknown": (legacy("graph:x"), "ref_attr_name 'graph:x' is unknown"),
    "legacy, too few": (legacy("scalar:Tuple[a,b,c,]", ints=[1, 2], type=7), "does not fit"),
    "legacy, not closed": (legacy("scalar:]]"), "does not fit"),
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_models(tmp_path: Path, name: str) -> None:
    change, message = MODELS[name]
    model = network()
    change(model)
    with pytest.raises(ms.MindIRError, match=message) as error:
        load(tmp_path, model)
    assert "a.mindir" in str(error.value)


def test_branches_of_different_structure(tmp_path: Path) -> None:
    model = branch()
    then = model.functions[0]
    then.output[0].name = node(then, "then:t", "MakeTuple", "then:x", "then:x")
    with pytest.raises(ms.MindIRError, match="different structure"):
        load(tmp_path, model)


def test_wrong_number_of_arguments(tmp_path: Path) -> None:
    model = branch()
    model.functions[0].input.add(name="then:more")
    with pytest.raises(ms.MindIRError, match=r"'then' is called .* \(expected 2, found 1\)"):
        load(tmp_path, model)


LOCATIONS = {
    "../w": "outside of the model's folder",
    "/etc/passwd": "outside of the model's folder",
    "data/../../w": "outside of the model's folder",
    "link": "outside of the model's folder",
    "a\0b": "outside of the model's folder",
    "none": "'none' is missing",
    "": "'' is missing",
}


def split(location: str, offset: int = 64, length: int = 24) -> pb.ModelProto:
    model = network()
    weight = model.graph.parameter[0]
    weight.ClearField("raw_data")
    weight.external_data.location = location
    weight.external_data.offset, weight.external_data.length = offset, length
    return model


@pytest.mark.parametrize("location", LOCATIONS)
def test_data_files_stay_in_the_folder(tmp_path: Path, location: str) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "w").write_bytes(b"\1" + bytes(99))
    (folder / "link").symlink_to(tmp_path / "w")
    with pytest.raises(ms.MindIRError, match=LOCATIONS[location]):
        load(folder, split(location))


@pytest.mark.parametrize(
    ("head", "offset", "length", "message"),
    [
        (1, 64, 24, None),
        (1, 3, 24, None),
        (0, 64, 24, "MindSpore's header"),
        (1, 80, 24, r"bytes 80 to 104 are not in 'w' \(expected at most 88"),
        (1, -8, 24, "bytes -8 to 16 are not"),
        (1, 64, 1 << 62, "are not in 'w'"),
        (1, 64, 20, r"another number of bytes \(expected 24, found 20\)"),
    ],
)
def test_bounds_of_data_files(
    tmp_path: Path, head: int, offset: int, length: int, message: str | None
) -> None:
    (tmp_path / "w").write_bytes(bytes([head]) + bytes(87))
    if message is None:
        assert load(tmp_path, split("w", offset, length)).parameters["w"].shape == (3, 2)
        return
    with pytest.raises(ms.MindIRError, match=message):
        load(tmp_path, split("w", offset, length))


def test_keys(tmp_path: Path) -> None:
    path, key = tmp_path / "a.mindir", bytes(16)
    for mode in ("AES-GCM", "AES-CBC", "SM4-CBC"):
        ms.export(lambda x: x + 1, np.ones(3, np.float32), file_name=path, enc_key=key,
                  enc_mode=mode)  # fmt: skip
        assert ms.load(path, dec_key=key, dec_mode=mode)
        with pytest.raises(ms.MindIRError, match=r"wrong key|damaged"):
            ms.load(path, dec_key=bytes(15) + b"1", dec_mode=mode)
        with pytest.raises(ms.MindIRError, match=f"encrypted with {mode}: pass dec_key"):
            ms.load(path)
    with pytest.raises(ms.MindIRError, match="expected AES-GCM, found SM4-CBC"):
        ms.load(path, dec_key=key)
    with pytest.raises(TypeError, match="must be bytes"):
        ms.load(path, dec_key="secret")  # type: ignore[arg-type]
    path.write_bytes(network().SerializeToString())
    with pytest.raises(ms.MindIRError, match="not encrypted"):
        ms.load(path, dec_key=key)


def test_custom_decryption(tmp_path: Path) -> None:
    path = tmp_path / "a.mindir"
    path.write_bytes(bytes(b ^ 90 for b in network().SerializeToString()))

    def decrypt(name: str, key: bytes | None) -> Any:
        return bytes(b ^ 90 for b in Path(name).read_bytes()) if key else None

    assert ms.load(path, dec_key=b"any", dec_mode=decrypt).parameters
    with pytest.raises(TypeError, match="dec_mode must return bytes, not NoneType"):
        ms.load(path, dec_mode=decrypt)


def test_arguments_of_the_function(tmp_path: Path) -> None:
    f = load(tmp_path, network())
    with pytest.raises(TypeError, match="the model takes"):
        f()
    with pytest.raises(TypeError, match="the model takes"):
        f((np.ones((2, 3), np.float32),))
    with pytest.raises(KeyError, match="'b'"):
        f.apply({"w": f.parameters["w"]}, np.ones((2, 3), np.float32))


def outcome(path: Path) -> str:
    """The file that the error names, or nothing."""
    try:
        repr(reader.read(path).graph)
    except ms.MindIRError as error:
        return str(error.file)
    return ""


@pytest.mark.parametrize("make", [network, branch, loop])
def test_mutations(tmp_path: Path, make: Callable[[], Any]) -> None:
    """Bytes changed, dropped and repeated: the file loads, or there is an error of ours."""
    rng = random.Random(0)
    whole = make().SerializeToString()
    path = tmp_path / "a.mindir"
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(300):
        data = bytearray(whole)
        for _ in range(rng.choice((1, 1, 2, 8))):
            at = rng.randrange(len(data))
            how = rng.randrange(3)
            if how == 0:
                data[at] = rng.randrange(256)
            elif how == 1:
                del data[at : at + rng.randrange(1, 9)]
            else:
                data[at:at] = data[rng.randrange(len(data)) :][: rng.randrange(1, 40)]
        path.write_bytes(data)
        assert outcome(path) in ("", str(path))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000
