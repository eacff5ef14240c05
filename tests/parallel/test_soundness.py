"""A layout that does not say exactly which part each rank holds is refused where it enters."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import msckpt_jax as ms
from msckpt_jax import boxes
from msckpt_jax.parallel import layout, placement, strategy
from msckpt_jax.parallel.layout import Layout

#: The arguments of a layout, and the problem in them.
BAD: dict[str, tuple[tuple[Any, ...], str]] = {
    "MindSpore's -1": (((2, 4), ((1,), (-1,))), r"-1; write \(\)"),
    "an axis of two dimensions": (((2, 4), ((1,), (1,))), "splits by axis 1 twice"),
    "an axis twice in a dimension": (((2, 4), ((1, 1), ())), "splits by axis 1 twice"),
    "an axis that is not there": (((2, 4), ((2,), ())), "names axis 2 of 2"),
    "a negative axis": (((2, 4), ((-2,), ())), "names axis -2 of 2"),
    "a flat map": (((2, 4), (1, 0)), "a tuple of mesh axes for each dimension"),
    "a list": (([2, 4], ((1,), ())), "dev_matrix must be a tuple"),
    "no mesh": (((), ((), ())), "dev_matrix must be"),
    "an empty axis": (((2, 0), ((1,), ())), "positive numbers"),
    "a float": (((2.0, 4), ((1,), ())), "positive numbers"),
    "too many ranks": (((2**30, 2**30), ((), ())), "are the most"),
    "optimizer parts": (((2, 4), ((1,), ()), 3, 1), "in 3 parts does not fit"),
    "negative parts": (((2, 4), ((1,), ()), -2, 1), "opt_shard_size must be -1 or more"),
    "rows without a split": (((2, 4), ((), (0,)), 0, 0, (3, 5)), "0 1 parts"),
    "too few rows": (((4,), ((0,), ()), 0, 0, (3, 5)), "2 numbers, and dimension 0 4"),
    "negative rows": (((2,), ((0,), ()), 0, 0, (9, -1)), "tuple of numbers of rows"),
}


@pytest.fixture
def ranks(tmp_path: Path) -> Path:
    """Eight rank files of ``w``, 64 numbers, split by the axis of size 2."""
    array = np.arange(64, dtype=np.float32).reshape(8, 8)
    for rank in range(8):
        folder = tmp_path / "src" / f"rank_{rank}"
        folder.mkdir(parents=True)
        ms.save_checkpoint({"w": array[4 * (rank // 4) :][:4]}, folder / "a.ckpt")
    return tmp_path / "src"


@pytest.mark.parametrize("kind", BAD)
def test_python_layouts(kind: str) -> None:
    fields, text = BAD[kind]
    with pytest.raises(ms.CheckpointError, match=rf"{text}.*found Layout\(dev_matrix="):
        ms.Layout(*fields)
    with pytest.raises(ms.CheckpointError, match=rf"'w'.*{text}"):
        layout.named("w", *fields)


@pytest.mark.parametrize(
    "fields",
    [(3, 4), ((2,), 4), ((2,), ((0,),), "x"), ((2,), (), 0, 0, 3), ((2,), (), 0, 0, (), None)],
)
def test_arguments_of_other_types(fields: tuple[Any, ...]) -> None:
    with pytest.raises(ms.CheckpointError, match="must be"):
        ms.Layout(*fields)


GOOD = {"w": Layout((2, 4), ((1,), ()))}


def test_the_right_numbers(ranks: Path) -> None:
    assert np.array_equal(ms.load_checkpoint(ranks, strategy=GOOD)["w"].ravel(), np.arange(64))


def as_json(folder: Path, text: str) -> Path:
    path = folder / "s.json"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("item", "text"),
    [
        ({"tensor_map": [1, 1]}, r"s\.json.*'w'.*splits by axis 1 twice"),
        ({"tensor_map": [1, -5]}, r"s\.json.*'w'.*names axis -5 of 2"),
        ({"tensor_map": [1, 7]}, "names axis 7"),
        ({"dev_matrix": [2, -4]}, "positive numbers"),
        ({"dev_matrix": ["2", 4]}, "positive numbers"),
    ],
)
def test_json_files(tmp_path: Path, item: dict[str, Any], text: str) -> None:
    layout = {"dev_matrix": [2, 4], "tensor_map": [1, -1]} | item
    path = as_json(tmp_path, json.dumps({"parallel_layout_item": {"w": layout}}))
    with pytest.raises(ms.CheckpointError, match=text):
        ms.build_searched_strategy(path)


def test_a_binary_file(tmp_path: Path) -> None:
    path = tmp_path / "s.ckpt"
    strategy.write(path, {"w": Layout((2, 4), ((1,), (0,)))})
    data = path.read_bytes()
    maps = b"\x12\x04\x08\x01\x08\x00"  # tensor_map 1, 0
    assert data.count(maps) == 1
    path.write_bytes(data.replace(maps, b"\x12\x04\x08\x01\x08\x01"))
    with pytest.raises(ms.CheckpointError, match=r"s\.ckpt.*'w'.*splits by axis 1 twice"):
        ms.build_searched_strategy(path)


def test_a_name_with_two_layouts(tmp_path: Path) -> None:
    one, other = '{"dev_matrix":[2],"tensor_map":[0]}', '{"dev_matrix":[2],"tensor_map":[-1]}'
    path = as_json(tmp_path, f'{{"parallel_layout_item": {{"w": {one}, "w": {other}}}}}')
    with pytest.raises(ms.CheckpointError, match="the key 'w' stands twice"):
        ms.build_searched_strategy(path)
    files = tmp_path / "a.ckpt", tmp_path / "b.ckpt"
    for file, axes in zip(files, ((0,), ()), strict=True):
        strategy.write(file, {"w": Layout((2,), (axes,))})
    files[0].write_bytes(files[0].read_bytes() + files[1].read_bytes())
    with pytest.raises(ms.CheckpointError, match="'w' has two layouts"):
        ms.build_searched_strategy(files[0])


@pytest.mark.parametrize(
    ("layouts", "text"),
    [
        ({"a": Layout((4,), ((),)), "b": Layout((2,), ((),))}, "'b'.*2 ranks, those before it 4"),
        ({"0-a": Layout((2,), ((0,),)), "1-a": Layout((2,), ((),))}, "'1-a'.*another stage"),
        ({"a": Layout((2,), ((0,),)), "0-a": Layout((2,), ((0,),))}, "'0-a'.*names it twice"),
        ({"99999999-a": Layout((2,), ((0,),))}, "too many ranks"),
    ],
)
def test_layouts_that_contradict_each_other(layouts: dict[str, Layout], text: str) -> None:
    with pytest.raises(ms.CheckpointError, match=text):
        placement.plan_of(layouts)
    with pytest.raises(TypeError, match=r"strategy of 'w' is a tuple, no Layout"):
        placement.plan_of({"w": ((2,), ((0,),))})  # type: ignore[dict-item]


def test_a_split_by_fields_is_not_merged(ranks: Path) -> None:
    fields = {"w": GOOD["w"]._replace(field=2)}
    with pytest.raises(ms.CheckpointError, match=r"'w'.*split by fields.*found field 2"):
        ms.load_checkpoint(ranks, strategy=fields)
    slices = [{"name": "w", "data": np.zeros((2, 2))}] * 8
    with pytest.raises(ms.CheckpointError, match="split by fields"):
        ms.merge_sliced_parameter(slices, fields)


def test_uneven_rows_beside_another_split() -> None:
    array = np.arange(48).reshape(8, 6)
    layout = Layout((2, 3), ((1,), (0,)), split_shape=(3, 5))
    cut = [boxes.slices(layout.box(r, array.shape), boxes.whole(array.shape)) for r in range(6)]
    slices = [{"name": "w", "data": array[index]} for index in cut]
    with pytest.raises(ValueError, match="beyond axis 0"):
        ms.merge_sliced_parameter([*slices[:5], {"name": "w", "data": array[:1]}], {"w": layout})
    assert np.array_equal(ms.merge_sliced_parameter(slices, {"w": layout})["data"], array)
    assert ms.rank_list_for_transform(0, {"w": layout}, {"w": layout}) == [0]


def test_slices_of_several_dtypes_are_refused() -> None:
    data = np.full(2, 300, np.int64), np.zeros(2, np.int8)
    slices = [{"name": "w", "data": each} for each in data]
    with pytest.raises(ValueError, match="in dtype"):
        ms.merge_sliced_parameter(slices, {"w": Layout((2,), ((0,),))})


def test_strategies_of_different_ranks_of_tensors() -> None:
    with pytest.raises(ms.CheckpointError, match=r"'w'.*different numbers of dimensions.*2 and 1"):
        ms.rank_list_for_transform(0, GOOD, {"w": Layout((8,), ((0,),))})


def test_parts_that_leave_a_gap_are_noticed() -> None:
    left = (((0, 2),), np.ones(2))
    for pieces in ([left], [left, (((3, 4),), np.ones(1))], [left, left, left]):
        with pytest.raises(ValueError, match="exactly once"):
            boxes.gather(pieces, ((0, 4),), np.empty(4))
