"""Rank files and strategy files: real MindSpore merges and reshards what we wrote, and as we do."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path
from typing import Any

import jax
import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

import msckpt_jax as ms
from msckpt_jax.parallel import layout, strategy

SHAPES = {
    "both": (8, 16),
    "nested": (16, 4),
    "vector": (16,),
    "whole": (3, 5),
    "last": (4, 8, 2),
    "half": (8, 4),
    "count": (6,),
}
MESHES = {
    "8": ((2, 4), ("x", "y")),
    "8 in three axes": ((2, 2, 2), ("x", "y", "z")),
    "4": ((2, 2), ("x", "y")),
    "2": ((2,), ("x",)),
    "1": ((1,), ("x",)),
}
SPECS: dict[str, dict[str, jax.P]] = {
    "8": {
        "both": jax.P("x", "y"),
        "nested": jax.P(("y", "x")),
        "vector": jax.P(("x", "y")),
        "last": jax.P(None, "y"),
        "half": jax.P("y", "x"),
    },
    "8 in three axes": {
        "both": jax.P("x", ("y", "z")),
        "nested": jax.P(("x", "z"), "y"),
        "vector": jax.P("z"),
        "half": jax.P(None, ("z", "x")),
    },
    "4": {
        "both": jax.P("y", "x"),
        "nested": jax.P(None, ("x", "y")),
        "vector": jax.P("x"),
        "last": jax.P("x", None, "y"),
    },
    "2": {"both": jax.P(None, "x"), "vector": jax.P("x"), "half": jax.P("x")},
    "1": {},
}


def values() -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    tree = {n: random.standard_normal(s).astype(np.float32) for n, s in SHAPES.items()}
    tree["half"] = tree["half"].astype(ml_dtypes.bfloat16)
    tree["count"] = np.arange(6)
    return tree


def mesh_of(name: str) -> jax.sharding.Mesh:
    shape, axes = MESHES[name]
    return jax.sharding.Mesh(np.array(jax.devices()[: np.prod(shape)]).reshape(shape), axes)


def on_mesh(name: str) -> dict[str, Any]:
    mesh = mesh_of(name)
    return {
        n: jax.device_put(a, jax.NamedSharding(mesh, SPECS[name].get(n, jax.P())))
        if a.dtype != np.int64
        else a
        for n, a in values().items()
    }


def saved(folder: Path, name: str, **kwargs: Any) -> Path:
    folder.mkdir()
    form = kwargs.get("format", "ckpt")
    tree = on_mesh(name)
    # MindSpore with NumPy 2 reads no bfloat16 from safetensors
    if form == "safetensors" or not kwargs.pop("bfloat16", True):
        del tree["half"]
    ms.save_checkpoint(tree, str(folder / f"net.{form}"), integrated_save=False, **kwargs)
    return folder


def part(name: str, mesh: str, rank: int, tree: dict[str, np.ndarray]) -> np.ndarray:
    array = tree[name]
    sharding = jax.NamedSharding(mesh_of(mesh), SPECS[mesh].get(name, jax.P()))
    index = sharding.devices_indices_map(array.shape)[jax.devices()[rank]]
    return array[index]


@pytest.mark.parametrize("mesh", [m for m in MESHES if m != "1"])
def test_mindspore_merges_our_rank_files(mindspore: Any, tmp_path: Path, mesh: str) -> None:
    source = saved(tmp_path / "src", mesh)
    out = tmp_path / "out"
    mindspore.call("transform", src=str(source), dst=str(out), prefix="net",
                   from_=str(source / "strategy.ckpt"), to=None)  # fmt: skip
    found = mindspore.load(out / "rank_0" / "net0.ckpt")
    assert {n: p.data for n, p in found.items()} == {n: a.tobytes() for n, a in values().items()}


@pytest.mark.parametrize("form", ["ckpt", "safetensors"])
def test_the_name_of_a_save_is_no_entry(mindspore: Any, tmp_path: Path, form: str) -> None:
    path = saved(tmp_path / "src", "2", format=form) / "rank_1" / f"net.{form}"
    ours = ms.open_checkpoint(path)
    assert ours.save is not None
    theirs = mindspore.load(path, format=form)
    assert {n: p.data for n, p in theirs.items()} == {n: a.tobytes() for n, a in ours.items()}


PAIRS = [("8", "4"), ("4", "8"), ("8", "2"), ("2", "8"), ("8", "8 in three axes"), ("4", "2"),
         ("4", "1"), ("1", "4")]  # fmt: skip


@pytest.mark.parametrize(("old", "new"), PAIRS)
def test_resharding_as_mindspore_does(mindspore: Any, tmp_path: Path, old: str, new: str) -> None:
    source, other = saved(tmp_path / "src", old), saved(tmp_path / "dst", new)
    files = [None if name == "1" else str(folder / "strategy.ckpt")
             for name, folder in ((old, source), (new, other))]  # fmt: skip
    theirs, ours = tmp_path / "theirs", tmp_path / "ours"
    mindspore.call("transform", src=str(source), dst=str(theirs), prefix="p", from_=files[0],
                   to=files[1])  # fmt: skip
    ms.transform_checkpoints(str(source), str(ours), "p", *files)
    tree = values()
    for rank in range(int(np.prod(MESHES[new][0]))):
        file = f"rank_{rank}/p{rank}.ckpt"
        wanted = {n: part(n, new, rank, tree) for n in tree}
        found = ms.load_checkpoint(str(ours / file))
        assert {n: a.tobytes() for n, a in found.items()} == {
            n: a.tobytes() for n, a in wanted.items()
        }
        assert {n: (p.shape, p.data) for n, p in mindspore.load(theirs / file).items()} == {
            n: (a.shape, a.tobytes()) for n, a in found.items()
        }


@pytest.mark.parametrize("parts", [4, -1])
def test_optimizer_sharding(mindspore: Any, tmp_path: Path, parts: int) -> None:
    """MindSpore's ZeRO: axis 0 is split once more, over ranks that would hold replicas."""
    array = np.arange(64, dtype=np.float32).reshape(16, 4)
    zero = layout.Layout((4, 2), ((0,), ()), opt_shard_size=parts, opt_shard_step=2)
    for rank in range(8):
        folder = tmp_path / "src" / f"rank_{rank}"
        folder.mkdir(parents=True)
        box = zero.box(rank, array.shape)
        ms.save_checkpoint({"w": array[tuple(slice(*s) for s in box)]}, str(folder / "a.ckpt"))
    for name in ("s.ckpt", "s.json"):
        strategy.write(tmp_path / name, {"w": zero})
        out = tmp_path / f"out_{name}"
        mindspore.call("transform", src=str(tmp_path / "src"), dst=str(out), prefix="p",
                       from_=str(tmp_path / name), to=None)  # fmt: skip
        assert mindspore.load(out / "rank_0" / "p0.ckpt")["w"].data == array.tobytes()
        mine = tmp_path / f"ours_{name}"
        ms.transform_checkpoints(tmp_path / "src", mine, "p", tmp_path / name)
        assert np.array_equal(ms.load_checkpoint(mine / "rank_0" / "p0.ckpt")["w"], array)


def test_pipeline_stages(mindspore: Any, tmp_path: Path) -> None:
    """Two stages of two ranks each; one parameter is shared by both."""
    tree = {n: np.arange(16, dtype=np.float32).reshape(4, 4) + i for i, n in enumerate("abc")}
    stages = [("a", "c"), ("b", "c")]
    split = layout.Layout((2,), ((0,), ()))
    (tmp_path / "strategies").mkdir()
    for stage, names in enumerate(stages):
        strategy.write(tmp_path / f"strategies/{stage}.ckpt", dict.fromkeys(names, split), stage)
        for local in range(2):
            folder = tmp_path / "src" / f"rank_{2 * stage + local}"
            folder.mkdir(parents=True)
            rows = slice(2 * local, 2 * local + 2)
            ms.save_checkpoint({n: tree[n][rows] for n in names}, str(folder / "a.ckpt"))
    ms.merge_pipeline_strategys(tmp_path / "strategies", tmp_path / "all.ckpt")
    out, mine = tmp_path / "out", tmp_path / "mine"
    mindspore.call("transform", src=str(tmp_path / "src"), dst=str(out), prefix="p",
                   from_=str(tmp_path / "all.ckpt"), to=None)  # fmt: skip
    ms.transform_checkpoints(tmp_path / "src", mine, "p", tmp_path / "all.ckpt")
    theirs = mindspore.load(out / "rank_0" / "p0.ckpt")
    ours = ms.load_checkpoint(mine / "rank_0" / "p0.ckpt")
    assert {n: p.data for n, p in theirs.items()} == {n: a.tobytes() for n, a in tree.items()}
    assert {n: a.tobytes() for n, a in ours.items()} == {n: a.tobytes() for n, a in tree.items()}


@pytest.mark.parametrize("redundant", [True, False])
def test_unified_safetensors(mindspore: Any, tmp_path: Path, redundant: bool) -> None:
    source = saved(tmp_path / "src", "8", format="safetensors", remove_redundancy=not redundant)
    kept = [set(ms.load_checkpoint(p)) for p in source.glob("rank_*/*")]
    assert len(kept) == 8
    assert all("whole" in names for names in kept) == redundant
    theirs, ours = tmp_path / "theirs", tmp_path / "ours"
    mindspore.call("unify", src=str(source), strategy=str(source / "strategy.ckpt"),
                   dst=str(theirs), redundant=redundant)  # fmt: skip
    ms.unified_safetensors(source, source / "strategy.ckpt", ours)
    wanted = {n: a.tobytes() for n, a in values().items() if n != "half"}
    for folder in (theirs, ours):
        files = [safetensors.numpy.load_file(f) for f in folder.glob("*.safetensors")]
        found = dict(itertools.chain(*(f.items() for f in files)))
        assert {n: a.tobytes() for n, a in found.items()} == wanted
    assert (ours / "param_name_map.json").exists()


@pytest.mark.parametrize(("old", "new"), [("8", "4"), ("8", "1"), ("4", "8"), ("4", "2")])
def test_safetensors_of_ranks(mindspore: Any, tmp_path: Path, old: str, new: str) -> None:
    """From safetensors to safetensors.

    safetensors 0.8 writes strided arrays in the wrong order, such as MindSpore's cuts along other
    axes than the first: what it wrote is compared where there are none.
    """
    source = saved(tmp_path / "src", old, format="safetensors")
    other = saved(tmp_path / "dst", new, format="safetensors")
    files = str(source / "strategy.ckpt"), None if new == "1" else str(other / "strategy.ckpt")
    theirs, ours = tmp_path / "theirs", tmp_path / "ours"
    mindspore.call("transform", src=str(source), dst=str(theirs), prefix="p", from_=files[0],
                   to=files[1], form="safetensors")  # fmt: skip
    ms.transform_checkpoints(source, ours, "p", *files, output_format="safetensors")
    tree = {n: a for n, a in values().items() if n != "half"}
    for rank in range(int(np.prod(MESHES[new][0]))):
        wanted = {n: part(n, new, rank, tree) for n in tree}
        for folder in (theirs, ours):
            found = safetensors.numpy.load_file(folder / f"rank_{rank}/p{rank}.safetensors")
            assert found.keys() == wanted.keys()
            cut = {"both", "last"} if folder == theirs and new != "1" else set()
            assert all(np.array_equal(found[n], wanted[n]) for n in wanted.keys() - cut)


def test_needed_ranks_suffice(mindspore: Any, tmp_path: Path) -> None:
    """Only the files that rank_list_for_transform names are needed, by MindSpore and by us."""
    source, other = saved(tmp_path / "src", "8"), saved(tmp_path / "dst", "8 in three axes")
    files = str(source / "strategy.ckpt"), str(other / "strategy.ckpt")
    for rank in (0, 5):
        needed = ms.rank_list_for_transform(rank, *files)
        assert needed == sorted(needed, reverse=True)
        assert len(needed) <= 8
        few = {r: source / f"rank_{r}/net.ckpt" for r in needed}
        ms.transform_checkpoint_by_rank(rank, few, tmp_path / f"{rank}.ckpt", *files)
        theirs = str(tmp_path / f"theirs_{rank}.ckpt")
        named = mindspore.call("needed_ranks", rank=rank, from_=files[0], to=files[1])
        paths = {r: str(source / f"rank_{r}/net.ckpt") for r in named}
        mindspore.call("transform_rank", rank=rank, files=paths, out=theirs, from_=files[0],
                       to=files[1])  # fmt: skip
        found = ms.load_checkpoint(tmp_path / f"{rank}.ckpt")
        assert {n: p.data for n, p in mindspore.load(theirs).items()} == {
            n: a.tobytes() for n, a in found.items()
        }
        tree = values()
        assert all(np.array_equal(found[n], part(n, "8 in three axes", rank, tree)) for n in found)
    shutil.rmtree(source / "rank_3")
    with pytest.raises(ms.CheckpointError, match=r"ranks \[3\]"):
        ms.transform_checkpoints(source, tmp_path / "no", "p", files[0])
    assert not (tmp_path / "no").exists()


@pytest.mark.parametrize("name", ["both", "whole", "last", "half", "nested", "vector"])
def test_merging_the_slices_of_a_parameter(mindspore: Any, tmp_path: Path, name: str) -> None:
    source = saved(tmp_path / "src", "8")
    files = [str(source / f"rank_{rank}/net.ckpt") for rank in range(8)]
    path = str(source / "strategy.ckpt")
    wanted = values()[name]
    slices = [{"name": name, "data": ms.load_checkpoint(file)[name]} for file in files]
    ours = ms.merge_sliced_parameter(slices, ms.build_searched_strategy(path))
    assert np.array_equal(ours["data"], wanted)
    if name in ("nested", "vector"):  # MindSpore reads only the first of several axes here
        return
    got = mindspore.call("merge_sliced", files=files, name=name, strategy=path,
                         folder=str(tmp_path))  # fmt: skip
    theirs = np.fromfile(got["file"], np.float32)  # bfloat16 becomes float32, too
    assert np.array_equal(theirs, wanted.astype(np.float32).ravel())


def test_slices_without_a_strategy(mindspore: Any, tmp_path: Path) -> None:
    parts = np.split(np.arange(24, dtype=np.float32).reshape(6, 4), 3)
    files = [str(tmp_path / f"{i}.ckpt") for i in range(3)]
    for file, part_ in zip(files, parts, strict=True):
        ms.save_checkpoint({"w": part_}, file)
    got = mindspore.call("merge_sliced", files=files, name="w", strategy=None, folder=str(tmp_path))
    assert Path(got["file"]).read_bytes() == ms.merge_sliced_parameter(parts).tobytes()


def test_loading_a_distributed_checkpoint(mindspore: Any, tmp_path: Path) -> None:
    """Real MindSpore loads our rank files into a network, and so do we."""
    source = saved(tmp_path / "src", "2", bfloat16=False)
    files = [str(source / f"rank_{rank}/net.ckpt") for rank in range(2)]
    tree = {n: a for n, a in values().items() if n != "half"}
    dtypes = {n: a.dtype.name for n, a in tree.items()}
    got = mindspore.call(
        "load_distributed", files=files, strategy=str(source / "strategy.ckpt"),
        shapes={n: a.shape for n, a in tree.items()}, dtypes=dtypes, folder=str(tmp_path),
    )  # fmt: skip
    assert {p["name"]: Path(p["file"]).read_bytes() for p in got} == {
        n: a.tobytes() for n, a in tree.items()
    }
    ours = ms.load_distributed_checkpoint(
        None, files, None, source / "strategy.ckpt", return_param_dict=True
    )
    assert {n: ours[n].tobytes() for n in ours} == {n: a.tobytes() for n, a in tree.items()}


def test_cutting_unified_safetensors(mindspore: Any, tmp_path: Path) -> None:
    """What unified_safetensors made is cut for another mesh by MindSpore and by us alike."""
    source = saved(tmp_path / "src", "8", format="safetensors")
    other = saved(tmp_path / "dst", "4", format="safetensors")
    ms.unified_safetensors(source, source / "strategy.ckpt", tmp_path / "unified")
    strategy_file = str(other / "strategy.ckpt")
    theirs, ours = tmp_path / "theirs", tmp_path / "ours"
    mindspore.call("split_unified", source=str(tmp_path / "unified"), strategy=strategy_file,
                   dst=str(theirs))  # fmt: skip
    ms.load_distributed_checkpoint(
        None, None, strategy_file, format="safetensors",
        unified_safetensors_dir=tmp_path / "unified", dst_safetensors_dir=ours,
    )  # fmt: skip
    tree = {n: a for n, a in values().items() if n != "half"}
    for rank in range(4):
        wanted = {n: part(n, "4", rank, tree).tobytes() for n in tree}
        for folder in (theirs, ours):
            found = safetensors.numpy.load_file(folder / f"rank_{rank}/net.safetensors")
            assert {n: a.tobytes() for n, a in found.items()} == wanted
