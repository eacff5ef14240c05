"""Data sets in a MindIR: the section MindSpore writes, and its numbers when it is read back."""

from __future__ import annotations

import json
from pathlib import Path

import grain
import numpy as np
import pytest

from msckpt_jax import load, transforms
from msckpt_jax._protos import mind_ir_pb2
from msckpt_jax.api.export import export
from msckpt_jax.errors import PreprocessorError
from msckpt_jax.mindir import preprocessor
from msckpt_jax.mindir.dataset import describe
from tests.transforms import cases, oracle

PHOTO = (cases.PHOTOS / "china.jpg").read_bytes()


def dataset_of(maps, batch) -> grain.MapDataset:
    dataset = grain.MapDataset.source([{"image": PHOTO, "label": np.int32(i)} for i in range(2)])
    for column, expressions in maps:
        operations = [eval(e, vars(transforms)) for e in expressions]
        dataset = dataset.map(transforms.Pipeline(operations, input_columns=[column]))
    return dataset.batch(batch)


def flat(x):
    return (x * 2).reshape(-1)


@pytest.fixture(scope="module")
def theirs(tmp_path_factory) -> Path:
    """The folder of what MindSpore exported: models, and the data sets' first batches."""
    folder: Path = tmp_path_factory.mktemp("pipelines")
    photo = {"photo": np.frombuffer(PHOTO, np.uint8)}
    oracle.ask("pipelines", folder, photo, cases.PIPELINES)
    return folder


def model(folder: Path, name: str):
    return mind_ir_pb2.ModelProto.FromString((folder / f"{name}.mindir").read_bytes())


@pytest.mark.parametrize("name", cases.PIPELINES)
def test_the_section_and_the_input_are_mindspores(name, theirs) -> None:
    dataset = dataset_of(*cases.PIPELINES[name])
    expected = model(theirs, name)
    found = describe(dataset)
    assert found.preprocessor.SerializeToString() == expected.preprocessor.SerializeToString()
    with np.load(theirs / f"{name}.npz") as batch:
        assert found.input.shape == batch["image"].shape
        assert found.input.dtype == batch["image"].dtype
        for column, value in dataset[0].items():
            assert value.dtype == batch[column].dtype
            assert value.tobytes() == batch[column].tobytes()


@pytest.mark.parametrize("name", cases.PIPELINES)
def test_reading_mindspores_file_gives_its_numbers(name, theirs) -> None:
    pipeline = preprocessor.pipeline_of(model(theirs, name))
    assert pipeline is not None
    with np.load(theirs / f"{name}.npz") as batch:
        assert pipeline(PHOTO).tobytes() == batch["image"][0].tobytes()
        element = pipeline.map({"image": PHOTO, "label": np.int32(0)})
        assert element["label"].tobytes() == batch["label"][0].tobytes()
    section = preprocessor.section_of(pipeline.nodes)
    assert section == model(theirs, name).preprocessor


def test_load_gives_the_preprocessing_of_mindspores_file(theirs) -> None:
    loaded = load(theirs / "tutorial.mindir")
    assert loaded.preprocess is not None
    with np.load(theirs / "tutorial.npz") as batch:
        found = loaded(loaded.preprocess(PHOTO)[None])
        assert np.asarray(found).tobytes() == batch["image"].tobytes()


def test_no_section_is_no_pipeline(tmp_path) -> None:
    assert preprocessor.pipeline_of(mind_ir_pb2.ModelProto()) is None
    file = export(flat, np.zeros((2, 3)), file_name=tmp_path / "x", durable=False).file
    assert load(file).preprocess is None


PIPELINE = transforms.Pipeline(
    [transforms.Decode(), transforms.Resize((8, 6)), transforms.ToTensor()]
)
SOURCE = [{"image": PHOTO, "label": i} for i in range(4)]


def loader(**options) -> grain.DataLoader:
    return grain.DataLoader(
        data_source=SOURCE,
        sampler=grain.samplers.IndexSampler(4, shuffle=True, seed=0, num_epochs=1),
        operations=[
            transforms.Decode(),
            transforms.Resize((8, 6)),
            transforms.ToTensor(),
            grain.transforms.Batch(2),
        ],
        **options,
    )


DATASETS = {
    "maps": lambda: grain.MapDataset.source(SOURCE).map(PIPELINE).batch(2),
    "iterator": lambda: grain.MapDataset.source(SOURCE).map(PIPELINE).to_iter_dataset().batch(2),
    "shuffled": lambda: (
        grain.MapDataset.source(SOURCE).seed(0).map(PIPELINE).shuffle().repeat().batch(2)
    ),
    "filtered": lambda: (
        grain.MapDataset.source(SOURCE)
        .filter(lambda e: e["label"] > 1)
        .map(PIPELINE)
        .to_iter_dataset()
        .batch(2)
    ),
    "bare": lambda: grain.MapDataset.source([PHOTO] * 2).map(PIPELINE).batch(2),
    "own code first": lambda: (
        grain.MapDataset.range(2).map(lambda i: {"image": PHOTO}).map(PIPELINE).batch(2)
    ),
    "loader": lambda: loader(worker_count=0),
}


@pytest.mark.parametrize("name", DATASETS)
def test_any_grain_data_set(name) -> None:
    found = describe(DATASETS[name]())
    assert found.input.shape == (2, 3, 8, 6)
    model = mind_ir_pb2.ModelProto(preprocessor=found.preprocessor)
    read = preprocessor.pipeline_of(model)
    assert read is not None
    operations = [operation for node in read.nodes for operation in node.operations]
    assert operations == [transforms.Decode(), transforms.Resize((8, 6)), transforms.ToTensor()]


@pytest.mark.parametrize("kind", ["maps", "iterator", "loader"])
def test_export_of_a_data_set(kind, tmp_path) -> None:
    file = export(flat, DATASETS[kind](), file_name=tmp_path / "x", durable=False).file
    model = mind_ir_pb2.ModelProto.FromString(file.read_bytes())
    read = preprocessor.pipeline_of(model)
    assert read is not None
    assert read(PHOTO).tobytes() == PIPELINE(PHOTO).tobytes()
    loaded = load(file)
    assert loaded.preprocess is not None
    batch = np.stack([loaded.preprocess(PHOTO)] * 2)
    assert (loaded(batch) == flat(batch)).all()
    (parameter,) = model.graph.input
    assert list(parameter.tensor[0].dims) == [2, 3, 8, 6]


@pytest.mark.parametrize("name", ["tutorial", "labels"])
def test_mindspore_loads_the_file_and_its_section_is_mindspores(name, theirs, tmp_path) -> None:
    dataset = dataset_of(*cases.PIPELINES[name])
    out = export(flat, dataset, file_name=tmp_path / name, durable=False, verify=True)
    assert out.difference == 0
    found = mind_ir_pb2.ModelProto.FromString(out.file.read_bytes())
    assert found.preprocessor == model(theirs, name).preprocessor


def test_a_data_set_is_the_only_input(tmp_path) -> None:
    dataset = DATASETS["maps"]()
    with pytest.raises(ValueError, match="only input, but there are 2"):
        export(flat, dataset, dataset, file_name=tmp_path / "x")
    assert not list(tmp_path.iterdir())


def test_a_transform_that_changes_nothing_stays() -> None:
    dataset = grain.MapDataset.source([np.zeros((8, 6, 3), np.uint8)]).map(
        transforms.Resize((8, 6))
    )
    (op,) = describe(dataset.map(transforms.TypeCast("uint8"))).preprocessor.op[1:]
    assert "TypeCast" in op.operations


def test_other_code_is_found_out() -> None:
    decoded = grain.MapDataset.source(SOURCE).map(transforms.Decode())
    halved = decoded.map(lambda e: {"image": e["image"] // 2})
    with pytest.raises(PreprocessorError, match="other code follows"):
        describe(halved.batch(2))
    with pytest.raises(PreprocessorError, match=r"other code stands between Decode\(\)"):
        describe(halved.map(transforms.HWC2CHW()).batch(2))

    def halve(element):
        element["image"] //= 2
        return element

    with pytest.raises(PreprocessorError, match=r"in place after Decode\(\)"):
        describe(decoded.map(halve).map(transforms.HWC2CHW()))


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (grain.MapDataset.source(SOURCE), "no transform"),
        (grain.MapDataset.source([{"pixels": PHOTO}]), "no column 'image'"),
        (grain.MapDataset.source([(PHOTO, 1)]), "elements are tuples"),
        (grain.MapDataset.source(SOURCE).filter(lambda e: False).map(PIPELINE), "no element"),
    ],
)
def test_what_no_export_can_use(dataset, message) -> None:
    with pytest.raises(PreprocessorError, match=message):
        describe(dataset)


RESIZE = {"device_target": "CPU", "interpolation": 0, "size": [8, 6]}


def damaged(operation, **fields):
    op = {
        "op_type": '"Map"',
        "input_columns": '["image"]',
        "output_columns": '["image"]',
        "operations": operation if isinstance(operation, str) else json.dumps([operation]),
    }
    section = mind_ir_pb2.PreprocessorProto(op=[mind_ir_pb2.PreprocessOpProto(**(op | fields))])
    return mind_ir_pb2.ModelProto(preprocessor=section)


def named(name, params):
    return {"tensor_op_name": name, "tensor_op_params": params}


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (damaged("[" * 100_000), "no JSON"),
        (damaged("[1"), "no JSON"),
        (damaged('[{"tensor_op_params": NaN}]'), "NaN is no JSON"),
        (damaged("1" * 5000), "no JSON"),
        (damaged("{}"), "no list of operators"),
        (damaged("[]"), "no list of operators"),
        (damaged([]), "no JSON object"),
        (damaged(named("Exec", None)), "unknown operator"),
        (damaged(named(["Resize"], RESIZE)), "unknown operator"),
        (damaged(named("Decode", None) | {"python_module": "os"}), "Python code"),
        (damaged(named("Decode", {"device_target": "CPU", "rgb": False})), "does not write"),
        (damaged(named("Resize", None)), "cannot have these parameters"),
        (damaged(named("Resize", [8, 6])), "cannot have these parameters"),
        (damaged(named("Resize", RESIZE | {"device_target": "Ascend"})), "hardware"),
        (damaged(named("Resize", RESIZE | {"size": [0]})), "cannot have these parameters"),
        (damaged(named("Resize", RESIZE | {"size": [True, 6]})), "cannot have these parameters"),
        (damaged(named("Resize", RESIZE | {"size": [2**31 - 1, 8]})), "huge size"),
        (damaged(named("Resize", RESIZE | {"interpolation": 5})), "cannot have these parameters"),
        (damaged(named("Resize", RESIZE | {"interpolation": -1})), "does not write"),
        (damaged(named("Resize", RESIZE | {"more": 1})), "does not write"),
        (damaged(named("CenterCrop", {"size": 8, "self": 1})), "cannot have these parameters"),
        (damaged('[{"tensor_op_name": "Rescale", "tensor_op_params": {"shift": 1e400}}]'), "can"),
        (damaged(named("Rescale", {"rescale": 0.1, "shift": 0.0})), "does not write"),
        (damaged(named("TypeCast", {"data_type": "object"})), "cannot have these parameters"),
        (damaged(named("OneHot", {"num_classes": 2**30, "smoothing_rate": 0.0})), "huge"),
        (damaged(named("HwcToChw", None), op_type='"Batch"'), "unknown op_type"),
        (damaged(named("HwcToChw", None), input_columns='["a", "b"]'), "not one column"),
        (damaged(named("HwcToChw", None), output_columns="image"), "no JSON"),
    ],
)  # fmt: skip
def test_hostile_sections(model, message) -> None:
    with pytest.raises(PreprocessorError, match=message) as caught:
        preprocessor.pipeline_of(model, "x.mindir")
    assert str(caught.value).startswith("x.mindir: ")
    assert len(str(caught.value)) < 1000


def test_a_map_without_columns_is_one_of_images() -> None:
    read = preprocessor.pipeline_of(damaged(named("HwcToChw", None), input_columns="[]"))
    assert read is not None
    assert read(np.zeros((4, 5, 3), np.uint8)).shape == (3, 4, 5)
