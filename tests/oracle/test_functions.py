"""MindSpore's functions for files of many ranks: the same signatures, the same answers."""

from __future__ import annotations

import inspect
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import msckpt_jax as ms
from msckpt_jax.parallel import layout, strategy

from .test_parallel import MESHES, saved

SAME = [
    "build_searched_strategy", "ckpt_to_safetensors", "load_distributed_checkpoint",
    "load_segmented_checkpoints", "merge_pipeline_strategys", "merge_sliced_parameter",
    "rank_list_for_transform", "restore_group_info_list", "safetensors_to_ckpt",
    "transform_checkpoint_by_rank", "transform_checkpoints", "unified_safetensors",
]  # fmt: skip
#: Parameters that have another default or place than MindSpore's.
OTHERS: dict[str, set[str]] = {
    "save_checkpoint": set(),
    "load_checkpoint": {"remove_redundancy", "format"},
    "load_checkpoint_async": set(),
    "load_param_into_net": set(),
}


def test_signatures(mindspore: Any) -> None:
    theirs = mindspore.call("signatures", names=[*SAME, *OTHERS])
    for name, wanted in theirs.items():
        found = inspect.signature(getattr(ms, name)).parameters
        places = [
            [p.name, repr(p.default)] for p in found.values() if p.kind is p.POSITIONAL_OR_KEYWORD
        ]
        except_for = OTHERS.get(name, set())
        assert [p for p in places if p[0] not in except_for][: len(wanted)] == [
            p for p in wanted if p[0] not in except_for
        ], name
        assert except_for <= set(found), name


@pytest.mark.parametrize(("old", "new"), list(itertools.permutations(MESHES, 2)))
def test_needed_ranks(mindspore: Any, tmp_path: Path, old: str, new: str) -> None:
    files = [
        None if name == "1" else str(saved(tmp_path / name, name) / "strategy.ckpt")
        for name in (old, new)
    ]
    for rank in range(int(np.prod(MESHES[new][0]))):
        theirs = mindspore.call("needed_ranks", rank=rank, from_=files[0], to=files[1])
        ours = ms.rank_list_for_transform(rank, *files)
        assert ours == sorted(ours, reverse=True)
        assert len(ours) <= len(theirs)


def test_merged_strategies_of_stages(mindspore: Any, tmp_path: Path) -> None:
    (tmp_path / "stages").mkdir()
    split = layout.Layout((2, 2), ((1,), (0,)))
    for stage, names in enumerate([("a", "c"), ("b", "c"), ("d",)]):
        path = tmp_path / f"stages/s{stage}.ckpt"
        strategy.write(path, dict.fromkeys(names, split), stage)
    folder, files = tmp_path / "stages", [tmp_path / f"{n}.ckpt" for n in ("theirs", "ours")]
    mindspore.call("merge_pipeline", src=str(folder), dst=str(files[0]))
    ms.merge_pipeline_strategys(folder, files[1])
    theirs, ours = map(ms.build_searched_strategy, files)
    assert ours == theirs
    assert set(ours) == {"0-a", "0-c", "1-b", "1-c", "2-d"}


def test_groups(mindspore: Any, tmp_path: Path) -> None:
    path = tmp_path / "group.pb"
    path.write_bytes(b"\x0a\x07\x0a\x01g\x12\x02\x08\x00\x12\x06\x08\x00\x08\x02\x08\x05")
    assert ms.restore_group_info_list(path) == mindspore.call("groups", path=str(path)) == [0, 2, 5]


@pytest.mark.parametrize("to", ["safetensors", "ckpt"])
def test_changed_formats(mindspore: Any, tmp_path: Path, to: str) -> None:
    source = saved(tmp_path / "src", "2", format="ckpt" if to == "safetensors" else "safetensors",
                   **({"bfloat16": False} if to == "safetensors" else {}))  # fmt: skip
    theirs, ours = tmp_path / "theirs", tmp_path / "ours"
    mindspore.call("change_format", path=str(source), dst=str(theirs), to=to,
                   name_map={"both": "one.both"})  # fmt: skip
    change = ms.ckpt_to_safetensors if to == "safetensors" else ms.safetensors_to_ckpt
    change(source, ours, name_map={"both": "one.both"})
    files = sorted(f.relative_to(theirs) for f in theirs.rglob("*.*"))
    assert len(files) == 2
    assert files == sorted(f.relative_to(ours) for f in ours.rglob("*.*"))
    for file in files:
        found = [dict(ms.load_checkpoint(folder / file)) for folder in (theirs, ours)]
        assert found[0].keys() == found[1].keys()
        assert all(np.array_equal(found[0][n], found[1][n]) for n in found[0])


@pytest.mark.parametrize("kwargs", [{}, {"filter_prefix": "b"}, {"specify_prefix": ["a", "c"]}])
def test_segments(mindspore: Any, tmp_path: Path, kwargs: Any) -> None:
    folder = tmp_path / "parts"
    folder.mkdir()
    for number, names in enumerate(("ab", "cd")):
        tree = {f"{n}.w": np.full(3, number * 2 + i) for i, n in enumerate(names)}
        ms.save_checkpoint(tree, folder / f"{number}.ckpt")
    theirs = mindspore.call("segments", folder=str(folder), out=str(tmp_path), kwargs=kwargs)
    ours = ms.load_segmented_checkpoints(folder, **kwargs)
    assert {p["name"]: Path(p["file"]).read_bytes() for p in theirs} == {
        n: a.tobytes() for n, a in ours.items()
    }
