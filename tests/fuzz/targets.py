"""The readers that are fuzzed: the sound files that damage starts from, and what reading is."""

from __future__ import annotations

import functools
import json
import random
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import onnx
from onnx import TensorProto, helper

import msckpt_jax as ms
from msckpt_jax import transforms
from msckpt_jax.air import inspection as air_inspection
from msckpt_jax.air import target as air_target
from msckpt_jax.errors import FileError
from msckpt_jax.mindir import preprocessor, reader
from msckpt_jax.onnx import inspection as onnx_inspection
from msckpt_jax.parallel import strategy
from tests.air import handmade as air
from tests.fuzz import guarded, mutate
from tests.mindir import handmade as mindir

#: A sound file, or a sound folder by the paths of its files.
Seed = dict[str, bytes]


class Target(NamedTuple):
    """A reader.

    Attributes:
        seeds: make the sound files.
        read: reads the file or folder whole, as a user would.
        mutators: how a file is damaged, by the end of its name.
        error: the documented error; any other exception is a finding.
    """

    seeds: Callable[[], Sequence[Seed]]
    read: Callable[[Path], Any]
    mutators: dict[str, mutate.Mutator]
    error: type[FileError]


def _content(save: Callable[[Path], Any], name: str) -> Seed:
    """The file or folder that ``save`` writes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        save(path)
        if path.is_file():
            return {name: path.read_bytes()}
        files = [file for file in sorted(path.rglob("*")) if file.is_file()]
        return {f"{name}/{file.relative_to(path)}": file.read_bytes() for file in files}


def _bytes(message: Any) -> bytes:
    """The bytes of a message, the same in each process: maps have no order of their own."""
    return message.SerializeToString(deterministic=True)


TREE: dict[str, Any] = {
    "a": np.arange(6, dtype=np.float32).reshape(2, 3),
    "b": np.int64(7),
    "c": jnp.ones(3, jnp.bfloat16),
    "none": np.zeros((0, 3), np.int8),
}


def _all(path: Path) -> None:
    """Read all of a checkpoint, and show it."""
    key = guarded.KEY if path.name.startswith("secret") else None
    with ms.open_checkpoint(path, key) as file:
        for name in file:
            np.asarray(file[name]) if not isinstance(file[name], str) else None
            if file.entries[name].is_array:
                file.get_slice(name)[...]
        _show(file), file.metadata
        if file.check_sums:
            file.check_crc()
    if path.suffix not in (".pt", ".npz"):
        _show(ms.load_checkpoint(path, dec_key=key))


def _show(value: Any) -> None:
    """Show a value, as text and in a notebook, without what a terminal would obey."""
    pages = [value._repr_html_()] if hasattr(value, "_repr_html_") else []
    for text in (repr(value), *pages):
        if not _printable(text):
            raise AssertionError(f"control characters are shown: {text!r}")


def _printable(text: str) -> bool:
    return all(line.isprintable() for line in text.split("\n"))


def _checkpoints() -> list[Seed]:
    save = functools.partial(ms.save_checkpoint, TREE | {"s": "hé"})
    plain = _content(save, "a.ckpt")
    return [plain, _content(functools.partial(save, crc_check=True), "a.ckpt")]


def _secrets() -> list[Seed]:
    save = functools.partial(ms.save_checkpoint, TREE, enc_key=guarded.KEY)
    return [_content(save, "secret.ckpt")]


def _safetensors() -> list[Seed]:
    save = functools.partial(ms.save_checkpoint, TREE, format="safetensors")
    plain = _content(save, "a.safetensors")
    return [plain, _content(functools.partial(save, crc_check=True), "a.safetensors")]


def _folders() -> list[Seed]:
    tree = {"a": np.ones(3), "b": np.ones(2)}
    save = functools.partial(ms.save_checkpoint, tree, format="safetensors")
    (one,) = _content(save, "a.safetensors").values()
    index = {"metadata": {"total_size": 40}, "weight_map": dict.fromkeys("ab", "a.safetensors")}
    folder = {"model.safetensors.index.json": json.dumps(index).encode(), "a.safetensors": one}
    return [{f"f/{name}": content for name, content in folder.items()}]


def _torch() -> list[Seed]:
    folder = Path(__file__).parent.parent / "checkpoint/data/foreign"
    return [
        {f"{name}.pt": (folder / f"{name}.pt").read_bytes()}
        for name in ("state_dict", "checkpoint")
    ]


def _npz() -> list[Seed]:
    arrays = {name: np.asarray(value) for name, value in TREE.items() if name != "c"}
    saves = (np.savez, np.savez_compressed)
    return [_content(functools.partial(save, **arrays), "a.npz") for save in saves]


def _orbax() -> list[Seed]:
    import orbax.checkpoint as ocp

    def save(path: Path, **options: Any) -> None:
        tree = {"w": np.arange(6, dtype=np.float32), "s": "text", "n": {"value": np.int32(3)}}
        with ocp.Checkpointer(ocp.PyTreeCheckpointHandler(use_ocdbt=False, **options)) as made:
            made.save(path, tree)

    return [_content(save, "o"), _content(functools.partial(save, use_zarr3=True), "o")]


def _strategies() -> list[Seed]:
    layouts = {"w": ms.Layout((2, 4), ((1,), ())), "b": ms.Layout((2, 4), ((0,),), -1, 1)}
    nested = {"w": ms.Layout((2, 4), ((1, 0), ()))}
    return [
        *({"s.ckpt": strategy.encode(Path("s.ckpt"), part)} for part in (layouts, nested)),
        {"s.json": strategy.encode(Path("s.json"), layouts)},
    ]


def _ranks() -> list[Seed]:
    """Two ranks, the second of which lacks the tensor that both would hold."""
    layouts = {"w": ms.Layout((2,), ((0,), ())), "b": ms.Layout((2,), ((),))}
    parts = ({"w": np.ones((2, 3)), "b": np.ones(2), "s": "hé"}, {"w": np.zeros((2, 3))})
    seed = {"r/s.ckpt": strategy.encode(Path("s.ckpt"), layouts)}
    for rank, tree in enumerate(parts):
        (content,) = _content(functools.partial(ms.save_checkpoint, tree), "a.ckpt").values()
        seed[f"r/rank_{rank}/a.ckpt"] = content
    return [seed]


def _read_ranks(path: Path) -> None:
    params = ms.load_checkpoint(path, strategy=path / "s.ckpt")
    _show(params)
    for name in params:
        np.shape(params[name])
    target = path.with_name("out")
    ms.transform_checkpoints(path, target, "t", path / "s.ckpt", None)


def _read_strategy(path: Path) -> None:
    layouts = ms.build_searched_strategy(path)
    ms.rank_list_for_transform(0, path, None)
    _show(layouts)


def _mindirs() -> list[Seed]:
    made = [mindir.network(), mindir.branch(), mindir.loop()]
    split = mindir.network()
    weight = split.graph.parameter[0]
    weight.ClearField("raw_data")
    where = weight.external_data
    where.location, where.offset, where.length = "data", 64, 24
    files = [{"a.mindir": _bytes(model)} for model in made]
    return [*files, {"m/a.mindir": _bytes(split), "m/data": b"\1" + bytes(87)}]


def _prepared() -> list[Seed]:
    """A network with what prepares its images."""
    scale = transforms.Normalize([1.0, 2.0, 3.0], [4.0, 5.0, 6.0])
    whole = transforms.Pipeline(
        [
            transforms.Decode(),
            transforms.Resize(8),
            transforms.CenterCrop(4),
            scale,
            transforms.HWC2CHW(),
        ]
    )
    one = transforms.Pipeline([transforms.TypeCast("int32")], input_columns=["label"])
    model = mindir.network()
    model.preprocessor.CopyFrom(preprocessor.section_of([*whole.nodes, *one.nodes]))
    return [{"a.mindir": _bytes(model)}]


def _read_prepared(path: Path) -> None:
    _show(ms.load(path).preprocess)


def _read_mindir(path: Path) -> None:
    file = path / "a.mindir" if path.is_dir() else path
    program = reader.read(file)
    _show(program.graph)
    ms.load(file)


def _airs() -> list[Seed]:
    samples = Path(__file__).parent.parent / "air" / "data"
    names = ("ms_dense_w", "ctrl", "sw_concat", "sw_reduce_sum")
    files = [{"a.air": (samples / f"{name}.air").read_bytes()} for name in names]
    side = {"m/a.air": _bytes(air.sides(2, 12)), "m/w": bytes(12)}
    return [*files, {"a.air": _bytes(air.calls(3, 2))}, side]


def _read_air(path: Path) -> None:
    file = path / "a.air" if path.is_dir() else path
    air_target.verify(file, dec_key=None, dec_mode="AES-GCM", soc="Ascend910B")
    content, _ = air_inspection.inspect(file, lambda name: True, dec_key=None, dec_mode="AES-GCM")
    json.dumps(content).encode()
    program = ms.load(file)
    _show(program)


def _onnxes() -> list[Seed]:
    weight = helper.make_tensor("w", TensorProto.FLOAT, [3], [1.0, 2.0, 3.0])
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])
    body = helper.make_graph([helper.make_node("Identity", ["x"], ["z"])], "body", [], [y])
    nodes = [
        helper.make_node("Add", ["x", "w"], ["s"]),
        helper.make_node("Cast", ["s"], ["c"], to=TensorProto.BOOL),
        helper.make_node("If", ["c"], ["y"], then_branch=body, else_branch=body),
    ]
    graph = helper.make_graph(nodes, "g", [x], [y], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    side = onnx.ModelProto.FromString(_bytes(model))
    tensor = side.graph.initializer[0]
    tensor.ClearField("float_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="data")
    return [{"a.onnx": _bytes(model)}, {"a.onnx": _bytes(side)}]


def _read_onnx(path: Path) -> None:
    content, _ = onnx_inspection.inspect(path, lambda name: True, dec_key=None, dec_mode="AES-GCM")
    json.dumps(content).encode()


_MESSAGE, _JSON, _RECORDS = mutate.message, mutate.text, guarded.records
_CHECKPOINT = ms.CheckpointError
_ORBAX = ("_METADATA", ".zarray", "zarr.json", "_strings.json", "process_0", "_sharding")
TARGETS = {
    "ckpt": Target(_checkpoints, _all, {".ckpt": _RECORDS}, _CHECKPOINT),
    "secret": Target(_secrets, _all, {".ckpt": _RECORDS}, _CHECKPOINT),
    "safetensors": Target(_safetensors, _all, {".safetensors": mutate.headed}, _CHECKPOINT),
    "sharded": Target(_folders, _all, {".json": _JSON}, _CHECKPOINT),
    "orbax": Target(_orbax, _all, dict.fromkeys(_ORBAX, _JSON) | {"0": mutate.data}, _CHECKPOINT),
    "torch": Target(_torch, _all, {".pt": guarded.zipped}, _CHECKPOINT),
    "npz": Target(_npz, _all, {".npz": guarded.zipped}, _CHECKPOINT),
    "strategy": Target(
        _strategies, _read_strategy, {".ckpt": _MESSAGE, ".json": _JSON}, _CHECKPOINT
    ),
    "ranks": Target(_ranks, _read_ranks, {".ckpt": _MESSAGE}, _CHECKPOINT),
    "mindir": Target(
        _mindirs, _read_mindir, {".mindir": _MESSAGE, "data": mutate.data}, ms.MindIRError
    ),
    "prepared": Target(_prepared, _read_prepared, {".mindir": guarded.preprocessor}, FileError),
    "air": Target(_airs, _read_air, {".air": _MESSAGE, "w": mutate.data}, ms.AirError),
    "onnx": Target(_onnxes, _read_onnx, {".onnx": _MESSAGE}, FileError),
}


@functools.cache
def seeds_of(name: str) -> Sequence[Seed]:
    """The sound files of a target."""
    return TARGETS[name].seeds()


class FindingError(Exception):
    """A damaged file that does not end as documented; its number makes it again."""

    def __init__(self, name: str, number: int, problem: str):
        super().__init__(f"{name} {number}: {problem}")
        self.number = number


def damaged(target: Target, seed: Seed, rng: random.Random) -> Seed:
    """A copy of a sound file or folder with one file damaged."""
    choices = [name for name in seed if _mutator(target, name) is not None]
    name = rng.choice(choices)
    mutator = _mutator(target, name)
    assert mutator is not None
    return seed | {name: mutator(rng, seed[name])}


def _mutator(target: Target, name: str) -> mutate.Mutator | None:
    return next((m for end, m in target.mutators.items() if name.endswith(end)), None)


def run(name: str, numbers: range, folder: Path) -> tuple[int, int]:
    """Read damaged files; return how many were read and how many refused.

    Raises:
        FindingError: a file raised another error than the documented one, or one that names no
            file.
    """
    target = TARGETS[name]
    seeds = seeds_of(name)
    counts = [0, 0]
    for number in numbers:
        rng = random.Random(f"{name} {number}")
        files = damaged(target, seeds[number % len(seeds)], rng)
        path = _put(files, folder)
        try:
            target.read(path)
        except target.error as error:
            counts[1] += 1
            if error.file is None or str(folder) not in error.file:
                raise FindingError(name, number, f"the error names no file: {error}") from error
            if not _printable(str(error)):
                raise FindingError(name, number, f"control characters: {str(error)!r}") from error
        except Exception as error:
            raise FindingError(name, number, f"{type(error).__name__}: {error}") from error
        else:
            counts[0] += 1
    return counts[0], counts[1]


def _put(files: Seed, folder: Path) -> Path:
    """Write the files; return the only file, or the folder of all."""
    top = folder / next(iter(files)).partition("/")[0]
    if top.is_dir():
        shutil.rmtree(top)
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return top
