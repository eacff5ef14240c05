"""Plans by the grids of layouts: they are those that a comparison of all boxes would give."""

from __future__ import annotations

import itertools
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import msckpt_jax as ms
from msckpt_jax import boxes
from msckpt_jax.checkpoint.twins import Twins
from msckpt_jax.checkpoint.wire import CRC_MARK
from msckpt_jax.conventions import sources
from msckpt_jax.parallel import opened, placement, rank_records
from msckpt_jax.parallel.layout import Layout

SHAPE = (12, 8)


def box_by_hand(layout: Layout, rank: int, shape: tuple[int, ...]) -> boxes.Box:
    """The box of a rank, of a layout without optimizer sharding, by mixed radices."""
    place = np.unravel_index(rank, layout.dev_matrix)
    out = []
    for dim, (axes, n) in enumerate(zip(layout.tensor_map, shape, strict=True)):
        index, parts = 0, 1
        for axis in axes:
            size = layout.dev_matrix[-1 - axis]
            index, parts = index * size + int(place[-1 - axis]), parts * size
        rows = layout.split_shape if layout.split_shape and dim == 0 else (n // parts,) * parts
        out.append((sum(rows[:index]), sum(rows[: index + 1])))
    return tuple(out)


def common_by_hand(left: boxes.Box, right: boxes.Box) -> set[tuple[int, ...]]:
    """The indices that two boxes share."""
    sides = [{*range(*a)} & {*range(*b)} for a, b in zip(left, right, strict=True)]
    return set(itertools.product(*sides))


MATRICES = st.sampled_from([(8,), (2, 4), (4, 2), (2, 2, 2), (1, 8), (2, 1, 4)])


@st.composite
def layouts(draw: Any, matrix: Any = MATRICES, shape: tuple[int, ...] = SHAPE) -> Layout:
    """A layout of a tensor on 8 ranks; the rows of its first dimension may be uneven."""
    matrix = draw(matrix)
    axes = draw(st.permutations(range(len(matrix))))
    cuts = [0, *sorted(draw(st.integers(0, len(axes))) for _ in shape)]
    maps = tuple(tuple(axes[a:b]) for a, b in itertools.pairwise(cuts))
    parts = math.prod(matrix[-1 - axis] for axis in maps[0])
    if shape[0] % parts == 0 and draw(st.booleans()):
        return Layout(matrix, maps)
    bounds = [0, *sorted(draw(st.integers(0, shape[0])) for _ in range(parts - 1)), shape[0]]
    return Layout(matrix, maps, split_shape=tuple(b - a for a, b in itertools.pairwise(bounds)))


@st.composite
def strategies(draw: Any) -> dict[str, Layout]:
    """Layouts of :func:`values` on one mesh; two of the tensors are cut alike."""
    matrix = st.just(draw(MATRICES))
    both = draw(layouts(matrix))
    return {"a.w": both, "b.w": both, "b.v": draw(layouts(matrix, SHAPE[:1]))}


@given(layouts(), layouts())
def test_near_cells_are_the_boxes_that_overlap(one: Layout, two: Layout) -> None:
    grid = one.grid(SHAPE)
    for rank in range(one.ranks):
        assert one.box(rank, SHAPE) == box_by_hand(one, rank, SHAPE)
        box = box_by_hand(two, rank, SHAPE)
        every = {box_by_hand(one, other, SHAPE) for other in range(one.ranks)}
        found = [part for _, part in grid.near(box)]
        assert len(set(found)) == len(found)
        assert set(found) == {part for part in every if common_by_hand(part, box)}
        assert all(grid.box(cell) == part for cell, part in grid.near(box))


def cut(folder: Path, trees: dict[int, dict[str, np.ndarray]], suffix: str) -> None:
    for rank, tree in trees.items():
        (folder / f"rank_{rank}").mkdir(parents=True)
        how = {"format": suffix, "durable": False}
        ms.save_checkpoint(tree, folder / f"rank_{rank}" / f"net.{suffix}", **how)


def values(seed: int) -> dict[str, np.ndarray]:
    """Tensors of two shapes, and a scalar that no strategy names."""
    rng = np.random.default_rng(seed)
    shapes = {"a.w": SHAPE, "b.w": SHAPE, "b.v": SHAPE[:1], "step": ()}
    return {name: rng.integers(0, 99, shape).astype(np.int32) for name, shape in shapes.items()}


def split_by_hand(
    whole: dict[str, np.ndarray], layouts: dict[str, Layout], rank: int
) -> dict[str, np.ndarray]:
    out = dict(whole)
    for name, layout in layouts.items():
        box = box_by_hand(layout, rank, whole[name].shape)
        out[name] = whole[name][boxes.slices(box, boxes.whole(whole[name].shape))]
    return out


@settings(max_examples=25)
@given(strategies(), strategies(), st.sampled_from(["ckpt", "safetensors"]), st.booleans())
def test_rank_files_are_cut_as_by_hand(
    tmp_path_factory: Any, old: Any, new: Any, suffix: str, few: bool
) -> None:
    """Merged, cut again, loaded, previewed; ``few``: with two files open at most."""
    root, whole = tmp_path_factory.mktemp("cut"), values(1)
    cut(root / "old", {rank: split_by_hand(whole, old, rank) for rank in range(8)}, suffix)
    with pytest.MonkeyPatch.context() as patch:
        if few:
            patch.setattr(opened, "_most_open", lambda: 2)
        ms.transform_checkpoints(root / "old", root / "new", "n", old, new, output_format=suffix)
        ms.transform_checkpoints(root / "old", root / "one", "n", old, None)
        _same(ms.load_checkpoint(root / "old", strategy=old), whole)
        shares = ms.plan_transform(root / "old", old, new).shares
    _same(ms.load_checkpoint(root / "one" / "rank_0" / "n0.ckpt"), whole)
    for rank in range(8):
        expected = split_by_hand(whole, new, rank)
        _same(ms.load_checkpoint(root / "new" / f"rank_{rank}" / f"n{rank}.{suffix}"), expected)
        assert shares[rank].read == _read_by_hand(whole, old, new, rank)


def _same(found: Any, expected: dict[str, np.ndarray]) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].dtype == value.dtype
        np.testing.assert_array_equal(found[name], value)


def _read_by_hand(
    whole: dict[str, np.ndarray], old: dict[str, Layout], new: dict[str, Layout], rank: int
) -> dict[int, int]:
    out = {0: whole["step"].nbytes}  # read from the first
    for name, layout in new.items():
        box, first = box_by_hand(layout, rank, whole[name].shape), set()
        for other in range(8):
            part = box_by_hand(old[name], other, whole[name].shape)
            count = len(common_by_hand(part, box))
            if count and part not in first:
                first.add(part)
                out[other] = out.get(other, 0) + 4 * count
    return out


HALVES = {"w": Layout((4,), ((0,),))}


def quarters(folder: Path, suffix: str = "ckpt") -> np.ndarray:
    array = np.arange(8, dtype=np.float32)
    cut(folder, {rank: {"w": array[2 * rank : 2 * rank + 2]} for rank in range(4)}, suffix)
    return array


@pytest.mark.parametrize("suffix", ["ckpt", "safetensors"])
def test_files_that_are_alike_share_an_index(tmp_path: Path, suffix: str) -> None:
    quarters(tmp_path, suffix)
    paths = {rank: tmp_path / f"rank_{rank}" / f"net.{suffix}" for rank in range(4)}
    for rank, value in ((1, np.array([1, 2], np.int32)), (2, np.ones(1, np.float32))):
        ms.save_checkpoint({"w": value}, paths[rank], format=suffix)
    files = opened.open_files(paths)
    assert files[0].entries is files[3].entries
    assert [files[rank].entries["w"].type for rank in range(3)] == ["Float32", "Int32", "Float32"]
    assert files[2].entries["w"].shape == (1,)
    assert [files[r]["w"].tolist() for r in range(4)] == [[0, 1], [1, 2], [1], [6, 7]]


def test_check_sums_are_no_values(tmp_path: Path) -> None:
    """A file whose last values look like a check sum is read as it would be by itself."""
    plain = np.zeros(32, np.uint8)
    marked = np.frombuffer(bytes(15) + CRC_MARK + bytes(10), np.uint8)
    for rank, value in enumerate((plain, marked)):
        (tmp_path / f"{rank}").mkdir()
        ms.save_checkpoint({"w": value}, tmp_path / f"{rank}" / "net.ckpt")
    paths = [tmp_path / f"{rank}" / "net.ckpt" for rank in range(2)]
    with pytest.raises(ms.CheckpointError, match="truncated"):
        ms.open_checkpoint(paths[1])
    with pytest.raises(ms.CheckpointError, match="truncated"):
        opened.open_files(dict(enumerate(paths)))


def test_strings_are_no_values(tmp_path: Path) -> None:
    for rank, text in enumerate("ab"):
        ms.save_checkpoint({"w": np.zeros(2), "s": text}, tmp_path / f"{rank}.ckpt")
    files = opened.open_files({rank: tmp_path / f"{rank}.ckpt" for rank in range(2)})
    assert [files[rank]["s"] for rank in range(2)] == ["a", "b"]


def test_damage_is_not_taken_over(tmp_path: Path) -> None:
    """A byte of a header that changes makes a file another one, or a damaged one."""
    quarters(tmp_path)
    paths = {rank: tmp_path / f"rank_{rank}" / "net.ckpt" for rank in range(2)}
    sound = paths[1].read_bytes()
    values_begin = len(sound) - 8
    for at in range(values_begin):
        paths[1].write_bytes(sound[:at] + bytes([sound[at] ^ 1]) + sound[at + 1 :])
        try:
            by_itself: Any = ms.open_checkpoint(paths[1]).entries
        except ms.CheckpointError as error:
            by_itself = str(error)
        try:
            beside: Any = opened.open_files(paths)[1].entries
        except ms.CheckpointError as error:
            beside = str(error)
        assert beside == by_itself
        assert by_itself != ms.open_checkpoint(paths[0]).entries


def test_replaced_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opened, "_most_open", lambda: 1)
    quarters(tmp_path)
    parameters = ms.load_checkpoint(tmp_path, strategy=HALVES)
    assert parameters["w"].tolist() == [*range(8)]
    path = tmp_path / "rank_1" / "net.ckpt"
    ms.save_checkpoint({"w": np.full(2, 9, np.float32)}, path)
    with pytest.raises(ms.CheckpointError, match=r"rank_1/net\.ckpt.*read again"):
        parameters["w"]


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs Linux")
def test_few_files_stay_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opened, "_most_open", lambda: 2)
    cut(tmp_path, {rank: {"w": np.full(1, rank, np.int32)} for rank in range(16)}, "ckpt")
    before = len(os.listdir("/proc/self/fd"))
    file = ms.load_checkpoint(tmp_path, strategy={"w": Layout((16,), ((0,),))}).file
    assert file["w"].tolist() == [*range(16)]
    assert len(os.listdir("/proc/self/fd")) <= before + 2


def test_missing_ranks_are_named(tmp_path: Path) -> None:
    quarters(tmp_path)
    for rank in (1, 3):
        (tmp_path / f"rank_{rank}" / "net.ckpt").unlink()
    with pytest.raises(ms.CheckpointError, match=r"ranks \[1, 3\]"):
        ms.transform_checkpoints(tmp_path, tmp_path / "out", "n", HALVES, None)
    with pytest.raises(ms.CheckpointError, match=r"ranks \[1, 3\]"):
        ms.plan_transform(tmp_path, HALVES, {"w": Layout((2,), ((0,),))})
    assert not (tmp_path / "out").exists()
    half = {0: tmp_path / "rank_0" / "net.ckpt", 2: tmp_path / "rank_2" / "net.ckpt"}
    ms.transform_checkpoint_by_rank(2, half, tmp_path / "2.ckpt", HALVES, HALVES)
    assert ms.load_checkpoint(tmp_path / "2.ckpt")["w"].tolist() == [4, 5]


def test_rows_that_are_not_all(tmp_path: Path) -> None:
    """An uneven split that leaves rows out, or has more than there are, is refused."""
    quarters(tmp_path)
    for rows in ((3, 4), (5, 4)):
        with pytest.raises(ms.CheckpointError, match="not split by"):
            ms.transform_checkpoints(
                tmp_path, tmp_path / "out", "n", HALVES, {"w": Layout((2,), ((0,),), 0, 0, rows)}
            )


def test_boxes_are_computed_once_for_what_is_cut_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No pairs of boxes are compared for a plan, and no file is read a second time."""
    tree = {f"w{number}": np.zeros(2, np.float32) for number in range(20)}
    cut(tmp_path, dict.fromkeys(range(8), tree), "ckpt")
    old = dict.fromkeys(tree, Layout((8,), ((0,),)))
    new = dict.fromkeys(tree, Layout((4,), ((0,),)))
    read: list[Any] = []
    contents = Twins.contents

    def counted(self: Twins, kind: Any, *args: Any) -> Any:
        asked = kind._replace(contents=lambda *a: read.append(a) or kind.contents(*a))
        return contents(self, asked, *args)

    monkeypatch.setattr(Twins, "contents", counted)
    monkeypatch.setattr(boxes, "intersect", None)
    source = ms.load_checkpoint(tmp_path, strategy=old).file
    files = rank_records.plan_files(source, placement.plan_of(new), tmp_path / "out", "n", ".ckpt")
    assert [file.nbytes for file in files] == [20 * 16] * 4
    assert [len(file.records) for file in files] == [20] * 4
    assert len(read) == 1


def test_a_box_is_read_from_few_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A box is read from the rank files that it overlaps, also through a view of its pieces."""
    layout = Layout((4,), ((0,), ()))
    weight = np.arange(32, dtype=np.float32).reshape(8, 4)
    parts = {rank: {"weight": weight[2 * rank : 2 * rank + 2]} for rank in range(4)}
    cut(tmp_path, parts, "ckpt")
    file = ms.load_checkpoint(tmp_path, strategy={"weight": layout}).file
    read: list[int] = []
    for rank, each in file.files.items():
        pieces = each.pieces
        monkeypatch.setattr(each, "pieces", lambda n, r=rank, p=pieces: (read.append(r), p(n))[1])
    held = file.pieces("weight")
    assert read == []
    out = np.empty((3, 2), np.float32)
    later = sources.Later(lambda: held)
    boxes.gather(later, ((3, 6), (1, 3)), out)
    np.testing.assert_array_equal(out, weight[3:6, 1:3])
    assert sorted(set(read)) == [1, 2]
    assert [box for box, _ in held] == [((2 * r, 2 * r + 2), (0, 4)) for r in range(4)]
    assert len(held) == 4
    np.testing.assert_array_equal(held[3][1], parts[3]["weight"])
