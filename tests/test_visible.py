"""Names of a stranger: their control characters reach no terminal, through no door."""

from __future__ import annotations

import ast
import contextlib
import json
import logging
import struct
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import msckpt_jax as ms
from msckpt_jax import cli, transforms
from msckpt_jax._protos import ge_ir_pb2 as ge
from msckpt_jax.mindir import preprocessor
from msckpt_jax.parallel import strategy
from tests.air import handmade as air
from tests.checkpoint import test_hostile as wire
from tests.fuzz import targets
from tests.mindir import handmade as mindir

#: A title for the window, red, a C1 introducer, a new order of reading, a line end, DEL, and a
#: character that the reader of the line might take for its end.
NAME = "a\x1b]0;pwn\x07\x1b[31mb\x9b1m\u202ec\u2066d\ne\rf\x7fg\u2028h\x00i"
#: The same for a file, whose name holds no NUL.
FILE = NAME.replace("\0", "")
PACKAGE = Path(ms.__file__).parent
LLAMA = Path(__file__).parent / "families/data/llama"


def check(text: str) -> str:
    """Refuse text with control characters other than our own line ends."""
    assert "".join(c for c in text if not c.isprintable() and c != "\n") == ""
    assert "d\ne" not in text
    return text


class Collector(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        check(self.format(record))


@contextlib.contextmanager
def listening() -> Iterator[None]:
    """Check errors with their causes and notes, warnings, and what is logged."""
    handler = Collector()
    logging.getLogger().addHandler(handler)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                yield
            except AssertionError:
                raise
            except Exception as error:
                check(str(error))
                check(repr(error))
                check("".join(traceback.format_exception(error)))  # with causes and notes
        for warning in caught:
            check(str(warning.message))
    finally:
        logging.getLogger().removeHandler(handler)


def show(value: Any) -> None:
    """Check what a value prints as."""
    check(repr(value))
    check(str(value))
    if hasattr(value, "_repr_html_"):
        check(value._repr_html_())


# Files


def _ckpt(path: Path) -> None:
    ms.save_checkpoint({NAME: np.ones((2, 3), np.float32), "s": NAME}, path)


def _safetensors(path: Path) -> None:
    head = {
        NAME: {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
        "__metadata__": {"format": NAME, NAME: NAME},
    }
    text = json.dumps(head).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(24))


def _index(path: Path) -> None:
    path.mkdir()
    _safetensors(path / f"{FILE}.safetensors")
    places = {NAME: f"{FILE}.safetensors"}
    index = {"metadata": {NAME: NAME}, "weight_map": places}
    (path / "model.safetensors.index.json").write_text(json.dumps(index))


def _strange_index(path: Path) -> None:
    _index(path)
    places = {NAME: f"{FILE}.safetensors", "x": f"../{FILE}", NAME * 2: f"{FILE}2.safetensors"}
    (path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))


def _orbax(path: Path) -> None:
    import orbax.checkpoint as ocp

    name = FILE
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler(use_ocdbt=False)) as made:
        made.save(path, {name: np.ones((2, 3), np.float32), "s": NAME})


def _orbax_lost(path: Path) -> None:
    _orbax(path)
    for part in [*path.rglob("*")]:
        if part.is_file() and part.name not in ("_METADATA", "_CHECKPOINT_METADATA"):
            part.unlink()


def _unknown_dtype(path: Path) -> None:
    path.write_bytes(wire.record(NAME.encode(), wire.tensor(b"\x08\x02", NAME.encode(), bytes(8))))


def _twice(path: Path) -> None:
    part = wire.record(NAME.encode(), wire.tensor(b"\x08\x02", b"Float32", bytes(8)))
    other = wire.record(b"b", wire.tensor(b"\x08\x02", b"Float32", bytes(8)))
    path.write_bytes(part + other + part)


def _ranks(path: Path) -> None:
    for rank in range(2):
        (path / f"rank_{rank}").mkdir(parents=True)
        _ckpt(path / f"rank_{rank}" / "a.ckpt")
    strategy.write(path / "s.ckpt", {NAME: ms.Layout((2,), ((0,), ()))})


def _bad_ranks(path: Path) -> None:
    _ranks(path)
    strategy.write(path / "s.ckpt", {NAME: ms.Layout((2,), ((0,),)), "x": ms.Layout((2,), ((),))})


def _texts(message: Any) -> None:
    """Put the name in place of all texts of a message, the same in place of the same."""
    for field, value in message.ListFields():
        many = field.is_repeated if hasattr(field, "is_repeated") else field.label == 3
        if field.message_type is not None and not field.message_type.GetOptions().map_entry:
            for part in value if many else [value]:
                _texts(part)
        elif field.type == field.TYPE_STRING and field.name not in KEPT:
            if many:
                value[:] = [f"{NAME}{text}" for text in value]
            else:
                setattr(message, field.name, f"{NAME}{value}")


#: The fields that say what a file is; an operator's type is changed in files of its own.
KEPT = {"op_type", "type", "ir_version", "mind_ir_version", "domain", "location", "version"}


def _mindir(path: Path, *, kept: bool = True) -> None:
    model = mindir.network()
    _texts(model)
    model.primitives[0].name = f"{NAME}MatMul:1"
    for node in model.graph.node:
        node.op_type = node.op_type.replace("REF::", f"REF::{NAME}")
        if not kept and node.op_type == "ReLU":
            node.op_type = NAME
    path.write_bytes(model.SerializeToString())


def _mindir_strange(path: Path) -> None:
    _mindir(path, kept=False)


def _mindir_side(path: Path) -> None:
    model = mindir.network()
    weight = model.graph.parameter[0]
    weight.ClearField("raw_data")
    weight.external_data.location = NAME
    path.write_bytes(model.SerializeToString())


def _mindir_twice(path: Path) -> None:
    model = mindir.network()
    _texts(model)
    model.graph.parameter.add().CopyFrom(model.graph.parameter[0])
    path.write_bytes(model.SerializeToString())


def _mindir_loose(path: Path) -> None:
    model = mindir.network()
    model.graph.node[-1].input[0] = NAME
    path.write_bytes(model.SerializeToString())


def _mindir_prepared(path: Path) -> None:
    model = mindir.network()
    whole = transforms.Pipeline([transforms.Decode()], input_columns=[NAME])
    model.preprocessor.CopyFrom(preprocessor.section_of(whole.nodes))
    path.write_bytes(model.SerializeToString())


def _mindir_unprepared(path: Path) -> None:
    model = mindir.network()
    operation = [{"tensor_op_name": NAME, "tensor_op_params": {NAME: NAME}}]
    model.preprocessor.op.add(
        op_type='"Map"', operations=json.dumps(operation), input_columns='["a"]',
        output_columns='["a"]',
    )  # fmt: skip
    path.write_bytes(model.SerializeToString())


def _air(path: Path) -> None:
    sample = Path(__file__).parent / "air" / "data" / "mlp.air"
    model = ge.ModelDef.FromString(sample.read_bytes())
    renamed = {op.name: f"{NAME}{op.name}" for graph in model.graph for op in graph.op}
    for graph in model.graph:
        graph.name = f"{NAME}{graph.name}"
        for op in graph.op:
            op.name = renamed[op.name]
            op.input[:] = [_end(renamed, text) for text in op.input]
        graph.input[:] = [_end(renamed, text) for text in graph.input]
        graph.output[:] = [_end(renamed, text) for text in graph.output]
    path.write_bytes(model.SerializeToString())


def _end(renamed: dict[str, str], text: str) -> str:
    name, colon, number = text.rpartition(":")
    return f"{renamed.get(name, name)}{colon}{number}"


def _air_strange(path: Path) -> None:
    model = air.calls(3, 2)
    for graph in model.graph:
        for op in graph.op:
            op.type = NAME if op.type not in ("Data", "NetOutput") else op.type
    path.write_bytes(model.SerializeToString())


def _air_attribute(path: Path) -> None:
    model = air.calls(3, 2)
    for op in model.graph[0].op:
        op.attr[NAME].s = NAME.encode()
        op.input.append(f"{NAME}:0")
    path.write_bytes(model.SerializeToString())


def _air_side(path: Path) -> None:
    model = air.sides(2, 12)
    text = model.SerializeToString().replace(b"\x01w", b"\x01\x1b")
    path.write_bytes(text)


def _onnx(path: Path) -> None:
    model = onnx.ModelProto.FromString(targets.seeds_of("onnx")[0]["a.onnx"])
    _texts(model)
    path.write_bytes(model.SerializeToString())


def _onnx_strange(path: Path) -> None:
    model = onnx.ModelProto.FromString(targets.seeds_of("onnx")[1]["a.onnx"])
    _texts(model)
    model.graph.node[0].op_type = NAME
    model.graph.node[0].input[0] = NAME * 2
    path.write_bytes(model.SerializeToString())


CHECKPOINTS = {
    "ckpt": _ckpt, "safetensors": _safetensors, "index": _index, "strange index": _strange_index,
    "orbax": _orbax, "orbax lost": _orbax_lost, "dtype": _unknown_dtype, "twice": _twice,
}  # fmt: skip
RANKS = {"ranks": _ranks, "bad ranks": _bad_ranks}
MODELS: dict[str, Callable[[Path], Any]] = {
    "a.mindir": _mindir, "strange.mindir": _mindir_strange, "side.mindir": _mindir_side,
    "twice.mindir": _mindir_twice, "loose.mindir": _mindir_loose,
    "prepared.mindir": _mindir_prepared, "unprepared.mindir": _mindir_unprepared,
    "a.air": _air, "strange.air": _air_strange, "attribute.air": _air_attribute,
    "side.air": _air_side, "a.onnx": _onnx, "strange.onnx": _onnx_strange,
}  # fmt: skip


def run(capfd: pytest.CaptureFixture[str], *args: object) -> None:
    """Run the command line, and check what it and the libraries beneath it print."""
    capfd.readouterr()
    with listening():
        cli.main(list(map(str, args)))
    printed = capfd.readouterr()
    check(printed.out)
    check(printed.err)
    assert printed.out or printed.err or args[0] == "verify"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder of that name."""
    folder = tmp_path / FILE
    folder.mkdir()
    return folder


@pytest.mark.parametrize("kind", CHECKPOINTS)
def test_checkpoints(place: Path, kind: str, capfd: pytest.CaptureFixture[str]) -> None:
    path = place / "file"
    CHECKPOINTS[kind](path)
    like = {NAME: np.ones((4, 4)), NAME + "2": np.ones(3)}
    with listening():
        show(file := ms.open_checkpoint(path))
        show(file.entries)
        show(file.get_slice(next(n for n in file if n != "s")))
        file.get_slice(next(n for n in file if n != "s"))[9]
    with listening():
        show(params := ms.load_checkpoint(path))
        for report in ms.load_param_into_tree(like, params)[1:]:
            show(report.explain())
    for use in (
        lambda: ms.load_checkpoint(path, like=like),
        lambda: ms.load_checkpoint(path, convention="mindspore", like=like),
        lambda: ms.load_checkpoint(path, crc_check=True),
        lambda: ms.load_checkpoint(path, format="orbax"),
        lambda: ms.load_checkpoint(path, dec_key=bytes(16)),
        lambda: ms.load_checkpoint(path / "missing"),
        lambda: ms.load_checkpoint(path)[NAME + "2"],
        lambda: ms.open_checkpoint(path).get_slice("s"),
        lambda: ms.load_checkpoint(path, choice_func=lambda name: False),
    ):
        with listening():
            use()
    other = place / "other.ckpt"
    ms.save_checkpoint({NAME + "2": np.ones(3), NAME: np.zeros((2, 3), np.float32)}, other)
    for args in (
        ("inspect", path), ("inspect", path, "--json"), ("verify", path), ("diff", path, other),
        ("diff", path, other, "--json"), ("convert", path, place / "b.safetensors"),
        ("convert", path, place / "b.ckpt", "--rename", f"a={NAME}"), ("inspect", path, NAME),
        ("inspect", path, "--filter", f"({NAME}"), ("inspect", place / "missing"),
        ("convert", path, place / "c.ckpt", "--plan"),
        ("convert", path, place / "c.ckpt", "--plan", "--json"),
        ("convert", path, place / "b.ckpt", "--verify-only"),
        ("convert", path, place / "c", "--config", LLAMA),
        ("convert", path, place / "c", "--config", LLAMA, "--from", "maxtext", "--as", "tunix"),
        ("convert", path, place / "c", "--config", LLAMA, "--from", "mindformers"),
    ):  # fmt: skip
        run(capfd, *args)


@pytest.mark.parametrize("kind", RANKS)
def test_ranks(place: Path, kind: str, capfd: pytest.CaptureFixture[str]) -> None:
    RANKS[kind](place / "r")
    file = place / "r" / "s.ckpt"
    for use in (
        lambda: ms.load_checkpoint(place / "r", strategy=file),
        lambda: ms.build_searched_strategy(file),
        lambda: ms.rank_list_for_transform(0, file, None),
        lambda: ms.transform_checkpoints(place / "r", place / "out", "t", file, None),
        lambda: ms.transform_checkpoints(place / "r", place / "out", "t", file, file),
        lambda: ms.load_checkpoint(place / "r"),
        lambda: strategy.write(place / "t.ckpt", {NAME: ms.Layout((2,), ((7,),))}),
        lambda: ms.merge_pipeline_strategys(file, place / "m.ckpt"),
        lambda: ms.load_checkpoint(file, strategy=file),
    ):
        with listening():
            show(use())
    for args in (
        ("merge", place / "r", "--strategy", file, "-o", place / "m.ckpt"),
        ("merge", place / "r", "--strategy", file, "-o", place / "m.ckpt", "--plan"),
        ("reshard", place / "r", "--from", file, "--to", "x=2; =x", "-o", place / "n"),
        ("reshard", place / "r", "--from", file, "--to", "x=2; =x", "-o", place / "p", "--plan"),
    ):
        run(capfd, *args)


@pytest.mark.parametrize("name", MODELS)
def test_models(place: Path, name: str, capfd: pytest.CaptureFixture[str]) -> None:
    path = place / name
    MODELS[name](path)
    with listening():
        show(function := ms.load(path))
        show(function.graph)
        show(function.inputs)
        show(function.preprocess)
        for call in (
            lambda: function(np.ones((7, 7, 7))),
            lambda: function(),
            lambda: function.apply({NAME: 1}, np.ones((2, 3))),
        ):
            with listening():
                call()
    for args in (
        ("inspect", path), ("inspect", path, "--json"), ("verify", path),
        ("convert", path, place / "b.onnx"), ("convert", path, place / "b.air"),
    ):  # fmt: skip
        run(capfd, *args)


def test_resume_and_a_save(place: Path) -> None:
    config = ms.CheckpointConfig(save_checkpoint_steps=1)
    with ms.ModelCheckpoint("net", place, config) as saving:
        saving.step({"w": np.ones(3)}, epoch=1)
    (file,) = place.glob("*.ckpt")
    show(saving)
    for content in (file.read_bytes()[:-1], b"no CheckPoint"):
        file.write_bytes(content)
        with listening():
            ms.resume(place, like={"w": np.ones(3)}, prefix="net")
    for tree in ({NAME: object()}, {NAME: 1j}, {NAME: 2**70}, {NAME: {NAME: np.ones(1, "c8")}}):
        with listening():
            ms.save_checkpoint(tree, place / "a.ckpt")
    with listening():
        ms.save_checkpoint({"w": np.ones(1)}, place / "missing" / "a.ckpt")
    with listening():
        ms.export(lambda x: x, np.ones(1), file_name=place / "missing" / "a")
    show(ms.export(lambda x: x, np.ones(1), file_name=place / "a"))


# The gate


PRINTED_BY = {"cli/common.py", "cli/__init__.py", "mindir/runner_worker.py",
              "mindir/runner.py", "cli/completion.py"}  # fmt: skip
PLACES = {"path", "file", "file_name", "folder", "directory", "target", "save_path", "file_path"}
BUILTIN = {"ValueError", "TypeError", "RuntimeError", "OSError", "FileNotFoundError",
           "NotADirectoryError", "IsADirectoryError", "FileExistsError"}  # fmt: skip


def _calls() -> Iterator[tuple[str, ast.Call]]:
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                yield path.relative_to(PACKAGE).as_posix(), node


def test_what_prints_warns_and_logs_is_the_gate() -> None:
    around = {"print": PRINTED_BY, "warnings.warn": {"visible.py"},
              "logging.getLogger": {"visible.py"}}  # fmt: skip
    seen = {name: set() for name in around}
    for file, call in _calls():
        if (name := ast.unparse(call.func)) in seen:
            seen[name].add(file)
    assert seen == around


def _shown_raw(call: ast.Call) -> Iterator[set[str]]:
    """The names in each part of a text that is neither quoted nor made visible."""
    for text in call.args:
        for part in text.values if isinstance(text, ast.JoinedStr) else []:
            if isinstance(part, ast.FormattedValue) and part.conversion != ord("r"):
                nodes = list(ast.walk(part.value))
                yield {node.id for node in nodes if isinstance(node, ast.Name)} | {
                    node.attr for node in nodes if isinstance(node, ast.Attribute)
                }


def test_builtin_errors_quote_the_paths_that_they_name() -> None:
    raw = [
        f"{file}:{call.lineno}: {ast.unparse(call)}"
        for file, call in _calls()
        if ast.unparse(call.func) in BUILTIN and not file.startswith("cli/")
        for names in _shown_raw(call)
        if names & PLACES and not names & {"type", "name"}
    ]
    assert raw == []
