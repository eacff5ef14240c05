"""Layouts, strategy files, rank files: on their own, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from flax import nnx
from hypothesis import given
from hypothesis import strategies as st

import msckpt_jax as ms
from msckpt_jax import boxes
from msckpt_jax.cli import main
from msckpt_jax.parallel import layout, merged, placement, strategy
from msckpt_jax.parallel.layout import Layout

from ..checkpoint.test_round_trip import sharded


@given(sharded())
def test_layouts_are_those_of_jax(sharding: Any) -> None:
    shape = (8, 16, 8)
    found = layout.of_sharding(sharding, 3)
    index = sharding.devices_indices_map(shape)
    for rank, device in enumerate(sharding.mesh.devices.flat):
        assert found.box(rank, shape) == boxes.from_index(index[device], shape)
        assert found.full_shape(boxes.shape_of(found.box(rank, shape))) == shape


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="-"),
                               min_size=1), sharded(), min_size=1, max_size=3),
       st.integers(0, 3))  # fmt: skip
def test_strategy_files_come_back(tmp_path_factory: Any, tree: Any, stage: int) -> None:
    layouts = {name: layout.of_sharding(s, 3) for name, s in tree.items()}
    path = tmp_path_factory.getbasetemp() / "strategy.ckpt"
    strategy.write(path, layouts, stage)
    assert strategy.read(path) == (layouts, stage)
    plain = {n: la for n, la in layouts.items() if all(len(a) < 2 for a in la.tensor_map)}
    strategy.write(path.with_suffix(".json"), plain, stage)
    assert strategy.read(path.with_suffix(".json")) == (plain, stage)


@given(sharded(), sharded(), sharded())
def test_resharding_twice_is_resharding_once(
    tmp_path_factory: Any, one: Any, two: Any, three: Any
) -> None:
    """From a to b to c gives the files of a to c, and of saving on c."""
    root = tmp_path_factory.mktemp("twice")
    array = np.arange(1024, dtype=np.float32).reshape(8, 16, 8)
    files = []
    for name, sharding in zip("abc", (one, two, three), strict=True):
        (root / name).mkdir()
        tree = {"w": jax.device_put(array, sharding)}
        ms.save_checkpoint(tree, root / name / "p", integrated_save=False, durable=False)
        files.append(root / name / "strategy.ckpt")
    ms.transform_checkpoints(root / "a", root / "ab", "p", files[0], files[1])
    ms.transform_checkpoints(root / "ab", root / "abc", "p", files[1], files[2])
    ms.transform_checkpoints(root / "a", root / "ac", "p", files[0], files[2])
    for rank in range(8):
        wanted = content(root / f"c/rank_{rank}/p.ckpt")
        assert content(root / f"abc/rank_{rank}/p{rank}.ckpt") == wanted
        assert content(root / f"ac/rank_{rank}/p{rank}.ckpt") == wanted


def content(path: Path) -> dict[str, tuple[Any, ...]]:
    """All of a file but the name of its save."""
    return {n: (a.dtype, a.shape, a.tobytes()) for n, a in ms.open_checkpoint(path).items()}


def sharded_tree(mesh: Any) -> dict[str, Any]:
    array = np.arange(128, dtype=np.float32).reshape(8, 16)
    return {
        "w": jax.device_put(array, jax.NamedSharding(mesh, jax.P("x", "y"))),
        "b": jax.device_put(array[0], jax.NamedSharding(mesh, jax.P())),
        "n": np.float32(3),
    }


@pytest.fixture
def ranks(tmp_path: Path, mesh: Any) -> Path:
    folder = tmp_path / "src"
    folder.mkdir()
    ms.save_checkpoint(sharded_tree(mesh), folder / "net.ckpt", integrated_save=False)
    return folder


def test_a_rank_set_loads_onto_any_mesh(ranks: Path, other_mesh: Any) -> None:
    sharding = jax.NamedSharding(other_mesh, jax.P("b", "a"))
    like = {"w": jax.ShapeDtypeStruct((8, 16), np.float32, sharding=sharding)}
    found = ms.load_checkpoint(ranks, strategy=ranks / "strategy.ckpt", like=like)["w"]
    assert found.sharding == sharding
    assert np.array_equal(found, np.arange(128).reshape(8, 16))
    with pytest.raises(ms.CheckpointError, match=r"rank files with strategy="):
        ms.load_checkpoint(ranks)
    plain = ms.load_checkpoint(ranks, strategy=ranks / "strategy.ckpt")
    assert plain["w"].shape == (8, 16)
    assert plain["n"] == 3


def test_redundancy_is_removed_and_balanced(tmp_path: Path, mesh: Any) -> None:
    tree = {
        str(i): jax.device_put(np.ones((16, 4)), jax.NamedSharding(mesh, jax.P()))
        for i in range(16)
    }
    ms.save_checkpoint(tree, tmp_path / "a", integrated_save=False, remove_redundancy=True)
    held = [list(ms.load_checkpoint(tmp_path / f"rank_{r}/a.ckpt")) for r in range(8)]
    assert [len(names) for names in held] == [2] * 8
    assert len({name for names in held for name in names}) == 16


def test_a_process_writes_rank_files_asynchronously(tmp_path: Path, mesh: Any) -> None:
    for how in ("thread", "process"):
        folder = tmp_path / how
        folder.mkdir()
        save = ms.save_checkpoint(
            sharded_tree(mesh), folder / "net", integrated_save=False, async_save=how
        )
        assert save is not None
        save.result()
    files = sorted(
        p.relative_to(tmp_path / "thread") for p in (tmp_path / "thread").rglob("*.ckpt")
    )
    assert len(files) == 9
    for file in files:
        if file.name == "strategy.ckpt":
            thread, process = (
                (tmp_path / how / file).read_bytes() for how in ("thread", "process")
            )
        else:
            thread, process = (content(tmp_path / how / file) for how in ("thread", "process"))
        assert thread == process


def test_what_cannot_be_saved_by_ranks(tmp_path: Path, mesh: Any, other_mesh: Any) -> None:
    def put(m: Any) -> Any:
        return jax.device_put(np.ones((8, 8)), jax.NamedSharding(m, jax.P()))

    devices = np.array(jax.devices())[::-1].reshape(2, 4)
    turned = jax.sharding.Mesh(devices, ("x", "y"))
    for tree, message in (
        ({"one": put(mesh), "two": put(turned)}, "'one' and 'two' lie on different meshes"),
        ({"a-b": put(mesh)}, "rename the parameter, for instance to 'a_b'"),
    ):
        with pytest.raises(ms.CheckpointError, match=message):
            ms.save_checkpoint(tree, tmp_path / "a", integrated_save=False)
    nested = jax.device_put(np.ones(8), jax.NamedSharding(mesh, jax.P(("x", "y"))))
    with pytest.raises(ms.CheckpointError, match="JSON strategy cannot hold"):
        ms.save_checkpoint({"a": nested}, tmp_path / "a", integrated_save=False,
                           strategy_file=tmp_path / "s.json")  # fmt: skip
    assert not list(tmp_path.iterdir())
    with pytest.warns(UserWarning, match="strings are left out"):
        ms.save_checkpoint({"a": put(mesh), "s": "x"}, tmp_path / "a", integrated_save=False)


def test_a_sharded_parameter_that_the_strategy_omits(ranks: Path, tmp_path: Path) -> None:
    layouts = ms.build_searched_strategy(ranks / "strategy.ckpt")
    split = layouts.pop("w")
    strategy.write(tmp_path / "s.ckpt", layouts)
    with pytest.raises(ms.CheckpointError, match=r"'w'.*differ from rank to rank"):
        ms.transform_checkpoints(ranks, tmp_path / "out", "p", tmp_path / "s.ckpt")
    for rank in range(8):  # zeros are the same on all ranks: the name tells
        path = ranks / f"rank_{rank}/net.ckpt"
        tree = dict(ms.load_checkpoint(path)) | {"moments.w": np.zeros((4, 4), np.float32)}
        ms.save_checkpoint(tree, path)
    with pytest.raises(ms.CheckpointError, match=r"moments\.w.*'w' is sharded"):
        ms.transform_checkpoints(ranks, tmp_path / "out", "p", ranks / "strategy.ckpt")
    assert not (tmp_path / "out").exists()
    strategy.write(tmp_path / "t.ckpt", {"w": split, "moments.w": split})
    few = {"b": Layout((2,), ((),))}
    strategy.write(tmp_path / "few.ckpt", few)
    with pytest.raises(ms.CheckpointError, match="destination strategy omits it"):
        ms.transform_checkpoints(ranks, tmp_path / "out", "p", tmp_path / "t.ckpt",
                                 tmp_path / "few.ckpt")  # fmt: skip


BAD_STRATEGIES = {
    "empty.ckpt": (b"", "empty"),
    "junk.ckpt": (b"\x93junk", "no strategy file"),
    "none.ckpt": (b"\x08\x01", "holds no parameters"),
    "junk.json": (b"{", "no strategy file"),
    "list.json": (b"[]", "no strategy file"),
    "half.json": (b'{"parallel_layout_item": {"w": {}}}', "no strategy file"),
}


@pytest.mark.parametrize("name", BAD_STRATEGIES)
def test_bad_strategies(tmp_path: Path, name: str) -> None:
    data, message = BAD_STRATEGIES[name]
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ms.CheckpointError, match=message):
        placement.plan_of(tmp_path / name)


def test_a_strategy_that_does_not_fit(ranks: Path, tmp_path: Path) -> None:
    flat = {"w": Layout((8,), ((0,),)), "b": Layout((8,), ((),))}
    strategy.write(tmp_path / "s.ckpt", flat)
    with pytest.raises(ms.CheckpointError, match=r"'w'.*another number of dimensions"):
        merged.open_ranks(ranks, tmp_path / "s.ckpt")
    uneven = {"w": Layout((3,), ((0,), ())), "b": Layout((3,), ((),))}
    strategy.write(tmp_path / "u.ckpt", uneven)
    with pytest.raises(ms.CheckpointError, match=r"'w'.*8 cannot be split into 3"):
        ms.transform_checkpoints(ranks, tmp_path / "out", "p", ranks / "strategy.ckpt",
                                 tmp_path / "u.ckpt")  # fmt: skip


# The other functions


class Net(nnx.Module):
    def __init__(self) -> None:
        self.w = nnx.Param(jax.numpy.zeros((8, 16)))
        self.b = nnx.Param(jax.numpy.zeros(16))


def test_load_distributed_checkpoint(ranks: Path, tmp_path: Path) -> None:
    net = Net()
    files = [ranks / f"rank_{r}/net.ckpt" for r in range(8)]
    plan = ranks / "strategy.ckpt"
    assert ms.load_distributed_checkpoint(net, files, train_strategy_filename=plan) is True
    assert np.array_equal(net.w[...], np.arange(128).reshape(8, 16))
    with pytest.raises(ms.CheckpointError, match="a file for each rank"):
        ms.load_distributed_checkpoint(net, files[:3], train_strategy_filename=plan)
    with pytest.raises(ValueError, match="train_strategy_filename"):
        ms.load_distributed_checkpoint(net, files)


def test_unified_parts_are_loaded_and_cut_again(ranks: Path, tmp_path: Path, mesh: Any) -> None:
    source = tmp_path / "st"
    source.mkdir()
    ms.save_checkpoint(sharded_tree(mesh), source / "net.safetensors", integrated_save=False,
                       format="safetensors", remove_redundancy=True)  # fmt: skip
    parts = tmp_path / "parts"
    ms.unified_safetensors(source, source / "strategy.ckpt", parts,
                           choice_func=lambda n: "weight" if n == "w" else True)  # fmt: skip
    weights = json.loads((parts / "param_name_map.json").read_text())
    assert weights["weight_map"] == {"weight": "part0.safetensors", "b": "part0.safetensors"}
    net = Net()
    kwargs: dict[str, Any] = {"format": "safetensors", "unified_safetensors_dir": parts,
                              "name_map": {"w": "weight"}}  # fmt: skip
    ms.load_distributed_checkpoint(net, **kwargs)
    assert np.array_equal(net.w[...], np.arange(128).reshape(8, 16))
    ms.load_distributed_checkpoint(None, predict_strategy=ranks / "strategy.ckpt",
                                   dst_safetensors_dir=tmp_path / "cut", **kwargs)  # fmt: skip
    again = merged.open_ranks(tmp_path / "cut", ranks / "strategy.ckpt")
    assert np.array_equal(again["w"], np.arange(128).reshape(8, 16))


def test_segments_slices_and_groups(tmp_path: Path) -> None:
    ms.save_checkpoint({"a": np.ones(2), "x.b": np.ones(1)}, tmp_path / "1.ckpt")
    ms.save_checkpoint({"a": np.zeros(2)}, tmp_path / "2.ckpt")
    found = ms.load_segmented_checkpoints(tmp_path)
    assert found["a"].tolist() == [0, 0]
    assert list(ms.load_segmented_checkpoints(tmp_path, filter_prefix="a")) == ["x.b"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(ms.CheckpointError, match=r"no \.ckpt file"):
        ms.load_segmented_checkpoints(tmp_path / "empty")
    array = np.arange(12).reshape(4, 3)
    split = {"w": Layout((2, 2), ((0,), ()))}
    slices = [{"name": "w", "data": array[2 * (r % 2) : 2 * (r % 2) + 2]} for r in range(4)]
    assert np.array_equal(ms.merge_sliced_parameter(slices, split)["data"], array)
    assert np.array_equal(ms.merge_sliced_parameter([array[:1], array[1:]]), array)
    uneven = {"w": Layout((2,), ((0,), ()), split_shape=(3, 1))}
    parts = [{"name": "w", "data": array[:3]}, {"name": "w", "data": array[3:]}]
    assert np.array_equal(ms.merge_sliced_parameter(parts, uneven)["data"], array)
    with pytest.raises(ValueError, match="for each rank"):
        ms.merge_sliced_parameter(slices[:2], split)
    with pytest.raises(KeyError):
        ms.merge_sliced_parameter(slices, {})
    (tmp_path / "group.pb").write_bytes(b"\x12\x06\x08\x00\x08\x02\x08\x05")
    assert ms.restore_group_info_list(tmp_path / "group.pb") == [0, 2, 5]
    (tmp_path / "group.pb").write_bytes(b"\x0a\x00")
    with pytest.raises(ms.CheckpointError, match="list of ranks"):
        ms.restore_group_info_list(tmp_path / "group.pb")


def test_conversion_of_files_and_rank_folders(ranks: Path, tmp_path: Path) -> None:
    ms.ckpt_to_safetensors(ranks, tmp_path / "st", name_map={"w": "v"}, processes_num=2)
    ms.safetensors_to_ckpt(tmp_path / "st", tmp_path / "back", name_map={"v": "w"})
    for rank in range(8):
        one, other = (p / f"rank_{rank}/net.ckpt" for p in (ranks, tmp_path / "back"))
        assert dict(ms.load_checkpoint(one)).keys() == dict(ms.load_checkpoint(other)).keys()
    ms.ckpt_to_safetensors(ranks / "rank_0/net.ckpt")
    assert (ranks / "rank_0/net.safetensors").exists()
    for bad, words in (
        ({"save_path": "a.txt"}, "save_path must be a folder"),
        ({"name_map": [1]}, "name_map must be a dict of names to names"),
        ({"file_name_regex": "zzz"}, r"is no \.ckpt file and holds none"),
    ):
        with pytest.raises((ValueError, TypeError), match=words):
            ms.ckpt_to_safetensors(ranks, **bad)


# The command line


def test_merge_command(ranks: Path, tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "m.ckpt"
    args = ["merge", str(ranks), "--strategy", str(ranks / "strategy.ckpt"), "-o", str(out)]
    assert main([*args, "--plan"]) == 0
    assert "3 entries" in capsys.readouterr().out
    assert not out.exists()
    assert main(args) == 0
    assert np.array_equal(ms.load_checkpoint(out)["w"], np.arange(128).reshape(8, 16))


def test_reshard_command(ranks: Path, tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "new"
    args = ["reshard", str(ranks), "--from", str(ranks / "strategy.ckpt"), "--to",
            "a=2,b=2; ^w$=a,b; ^b$=a+b", "-o", str(out)]  # fmt: skip
    assert main([*args, "--plan"]) == 0
    assert "4 files" in capsys.readouterr().out
    assert not out.exists()
    assert main(args) == 0
    found = merged.open_ranks(out, out / "strategy.ckpt")
    assert np.array_equal(found["w"], np.arange(128).reshape(8, 16))
    assert ms.load_checkpoint(out / "rank_3/rank3.ckpt")["b"].tolist() == [12, 13, 14, 15]
    (out / "rank_2/rank2.ckpt").unlink()
    kept = (out / "rank_1/rank1.ckpt").stat().st_mtime_ns
    capsys.readouterr()
    assert main(args) == 0
    assert "1 rank file," in (said := capsys.readouterr().out)
    assert "3 were there already" in said
    assert (out / "rank_1/rank1.ckpt").stat().st_mtime_ns == kept


@pytest.mark.parametrize(
    ("to", "message"),
    [
        ("a", "no such strategy file"),
        ("a=x", "AXIS=SIZE"),
        ("a=2; w", "REGEX=DIM"),
        ("a=2; w=b", "no axis"),
        ("a=2; w=a,a", "twice"),
        ("a=2; (=a", "--to"),
        ("a=2; ^b=,a", "more dimensions"),
        ("a=3; ^w=a", "8 cannot be split into 3"),
    ],
)
def test_wrong_mesh_specifications(ranks: Path, tmp_path: Path, to: str, message: str,
                                   capsys: Any) -> None:  # fmt: skip
    args = ["reshard", str(ranks), "--from", str(ranks / "strategy.ckpt"), "--to", to]
    assert main([*args, "-o", str(tmp_path / "new")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
