"""What a notebook does with parameters of a file: save them again, look at them, await saves."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import treescope

import msckpt_jax as ms
from msckpt_jax.api import background

TREE = {
    "dense": {"kernel": np.arange(6, dtype=np.float32).reshape(2, 3)},
    "half": jnp.ones((4,), jnp.bfloat16),
    "key": jax.random.key(3),
    "note": "a text",
    "step": 7,
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    ms.save_checkpoint(TREE, tmp_path / "a.ckpt")
    return tmp_path / "a.ckpt"


@pytest.mark.parametrize("name", ["b.ckpt", "a.ckpt"])
def test_what_was_loaded_is_saved_again(path: Path, name: str) -> None:
    ms.save_checkpoint(ms.load_checkpoint(path), path.with_name("c.ckpt"))
    content = path.with_name("c.ckpt").read_bytes()
    ms.save_checkpoint(ms.load_checkpoint(path), path.with_name(name))  # over itself, too
    assert path.with_name(name).read_bytes() == content
    loaded = ms.load_checkpoint(path.with_name(name))
    np.testing.assert_array_equal(loaded["dense.kernel"], TREE["dense"]["kernel"])
    assert (loaded["note"], loaded["step"]) == ("a text", 7)
    assert jax.random.key_data(loaded["key"]).tolist() == jax.random.key_data(TREE["key"]).tolist()


def test_changed_values_and_conventions_are_saved(path: Path) -> None:
    parameters = ms.load_checkpoint(path)
    parameters["dense.kernel"] = jnp.zeros((1,))
    del parameters["note"]
    ms.save_checkpoint(parameters, path.with_name("b.ckpt"), choice_func=lambda name: "e" in name)
    loaded = ms.load_checkpoint(path.with_name("b.ckpt"))
    assert [*loaded] == ["dense.kernel", "key", "step"]
    assert loaded["dense.kernel"].tolist() == [0]


def test_names_are_completed(path: Path) -> None:
    names = ["dense.kernel", "half", "key", "note", "step"]
    for thing in (ms.load_checkpoint(path), ms.open_checkpoint(path)):
        assert sorted(thing._ipython_key_completions_()) == names


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # treescope walks all of NumPy
def test_a_display_of_the_tree_reads_no_arrays(path: Path, monkeypatch: Any) -> None:
    parameters = ms.load_checkpoint(path)
    monkeypatch.setattr(ms.CheckpointFile, "raw", None)
    del parameters["step"], parameters["key"]
    shown = treescope.render_to_text(parameters)
    assert "'kernel': ShapeDtypeStruct(shape=(2, 3), dtype=dtype('float32'))" in shown
    assert "'note': 'a text'" in shown


def test_saves_are_awaited(tmp_path: Path) -> None:
    async def saved() -> bool:
        save = ms.save_checkpoint({"w": np.ones(1 << 20)}, tmp_path / "a.ckpt", async_save=True)
        await save
        return save.done()

    async def failed() -> None:
        def fail() -> None:
            raise OSError("no disk")

        await background.AsyncSave(fail, "a.ckpt")

    assert asyncio.run(saved())
    with pytest.raises(OSError, match="no disk"):
        asyncio.run(failed())
