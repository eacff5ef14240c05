"""Public objects print on a screen, however much they hold, and their pages fit a notebook."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import msckpt_jax as ms
from msckpt_jax import display

MANY = 1500
TREE = {f"layer{i}.{'x' * 60}": np.ones(3, np.float32) for i in range(MANY)}
LLAMA = {
    "model_type": "llama", "vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 90,
    "num_attention_heads": 4, "intermediate_size": 48,
}  # fmt: skip
LINES, CHARACTERS, PAGE = 64, 15_000, 200_000


def deep(x: jax.Array) -> jax.Array:
    for k in range(400):
        x = x * k + 1
    return jax.lax.while_loop(lambda c: c.sum() < 9, deep_step, x)


def deep_step(x: jax.Array) -> jax.Array:
    for k in range(300):
        x = x / (k + 1)
    return x


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("reprs")
    mesh = jax.make_mesh((8,), ("x",))
    spread = jax.device_put(jnp.ones(16), jax.NamedSharding(mesh, jax.P("x")))
    ms.save_checkpoint(TREE, folder / "a.ckpt")
    ms.save_checkpoint(
        dict.fromkeys(list(TREE)[:300], spread), folder / "parts.ckpt", integrated_save=False
    )
    params = ms.load_checkpoint(folder / "a.ckpt")
    like = {"b": np.ones(3), next(iter(TREE)): np.ones(3, np.float32)}
    like |= {f"missing{i}": np.ones(1) for i in range(MANY)}
    _, not_loaded, unused = ms.load_param_into_tree(like, params)
    network = nnx.Linear(900, 900, rngs=nnx.Rngs(0))
    info = [{f"k{i}": i for i in range(MANY)}]
    config = ms.CheckpointConfig(append_info=info, saved_network=network)
    exported = ms.export(deep, jnp.ones(3), file_name=folder / "net")
    strategy = folder / "strategy.ckpt"
    return {
        "CheckpointFile": ms.open_checkpoint(folder / "a.ckpt"),
        "Parameters": params,
        "NotLoaded": not_loaded,
        "NotLoaded of a file": unused,
        "CheckpointConfig": config,
        "ModelCheckpoint": ms.ModelCheckpoint("net", folder / "run", config),
        "Resumed": ms.Resumed(TREE, 3, 4, {f"k{i}": i for i in range(MANY)}, "net-3_4.ckpt"),
        "Convention": ms.Convention(rename={f"a{i}": f"b{i}" for i in range(MANY)}),
        "Family": ms.Family({**LLAMA, "more": list(range(MANY))}, jax="maxtext"),
        "AsyncSave": ms.save_checkpoint(TREE, folder / "b.ckpt", async_save=True),
        "Report": ms.explain(TREE),
        "Exported": exported,
        "Graph": exported.graph,
        "MindIRFunction": ms.load(exported.file),
        "TensorSpec": ms.TensorSpec((None, "2*s + 1"), "float32"),
        "Layout": next(iter(ms.build_searched_strategy(strategy).values())),
        "MergedCheckpoint": ms.load_checkpoint(folder, strategy=strategy).file,
        "TransformPlan": ms.plan_transform(folder, strategy),
        "ConversionPlan": ms.plan_conversion(folder / "a.ckpt", folder / "c.safetensors"),
        "Resize": ms.transforms.Resize(224),
    }


def test_reprs_fit_a_screen(objects: dict[str, Any]) -> None:
    for kind, thing in objects.items():
        text = repr(thing)
        assert text.count("\n") < LINES, kind
        assert len(text) < CHARACTERS, kind
        assert " object at 0x" not in text, kind


def test_pages_fit_a_notebook(objects: dict[str, Any]) -> None:
    pages = {k: v._repr_html_() for k, v in objects.items() if hasattr(v, "_repr_html_")}
    assert {kind: len(page) for kind, page in pages.items() if len(page) > PAGE} == {}
    for kind in ("CheckpointFile", "Parameters", "MergedCheckpoint", "TransformPlan", "Graph"):
        assert " more" in pages[kind], kind


def test_the_largest_plans_and_graphs_fit_a_notebook(tmp_path: Path) -> None:
    """A plan of 300 entries for 256 ranks was 20 MB, a graph of 14,000 operators 1.3 MB."""
    (tmp_path / "rank_0").mkdir()
    tree = {f"layer{i}.kernel": np.ones((32, 32), np.int8) for i in range(300)}
    ms.save_checkpoint(tree, tmp_path / "rank_0/net.ckpt")
    for layout in (ms.Layout((16, 16), ((1,), (0,))), ms.Layout((4, 8), ((1,), (0,)))):
        plan = ms.plan_transform(tmp_path, None, dict.fromkeys(tree, layout))
        page = plan._repr_html_()
        assert len(page) < PAGE
        shown = page.partition("<details><summary>files")[0].count("<tr><td")
        assert shown == 300 or f"not shown: {300 - shown} more rows" in page
        assert repr(plan).count("\n") < LINES
    done = ms.export(lambda x: x * 2 + 1, jnp.ones(3), file_name=tmp_path / "net")
    assert done.graph is not None
    done.graph.nodes *= 7000
    for thing in (done, done.graph):
        page = thing._repr_html_()
        assert len(page) < PAGE
        assert "<br>... 13,401 more<br>return %" in page
        assert repr(thing).count("\n") < LINES
    done.graph.inputs *= 1000
    assert "<br>... 400 more inputs<br>... 14,000 more<br>return " in done._repr_html_()


def test_all_public_classes_have_reprs_of_their_own() -> None:
    public = [getattr(ms, name) for name in ms.__all__]
    kinds = [kind for kind in public if isinstance(kind, type)]
    plain = [kind for kind in kinds if kind.__repr__ in (object.__repr__, tuple.__repr__)]
    assert plain == []


def test_what_they_tell(objects: dict[str, Any]) -> None:
    assert repr(objects["Resumed"]).startswith(
        "<Resumed net-3_4.ckpt: epoch 3, step 4, a state of 1,500 leaves, 17.6 KiB, "
        "append {'k0': 0,"
    )
    assert repr(ms.CheckpointConfig()) == "CheckpointConfig()"
    config = ms.CheckpointConfig(keep_best=("loss", "min", 3), durable=False, enc_key=b"k" * 16)
    assert repr(config) == (
        "CheckpointConfig(keep_best=Best(metric='loss', mode='min', number=3), "
        "enc_key=<key of 16 bytes>, durable=False)"
    )
    assert "saved_network=Linear" in repr(objects["CheckpointConfig"])
    assert "/net: before its first step, CheckpointConfig(" in repr(objects["ModelCheckpoint"])
    assert repr(ms.Convention(base="mint")) == "Convention(base='mint')"
    assert repr(objects["NotLoaded"]).endswith(f", ... {MANY - 29:,} more]")
    short = ["a", "b'"]
    assert display.some(short) == repr(short)


def test_tables_and_pages_are_cut_with_a_count() -> None:
    long = display.table(["n"], (["x" * 1000] for _ in range(300)))
    assert len(long) < 100_000
    assert f"not shown: {300 - long.count('<tr><td')} more rows" in long
    assert display.page("t", *[long] * 4).endswith(
        "<p>too long to be shown: 2 more parts</p></details></div>"
    )
    half = display.lines(map(str, range(1000)))
    assert half.count("<br>") == 600
    assert half.endswith("... 400 more</pre>")
    assert math.isclose(len(display.brief({"a": np.ones(10**6)})), 20, abs_tol=5)


def test_a_model_checkpoint_tells_where_it_is(tmp_path: Path) -> None:
    with ms.ModelCheckpoint("net", tmp_path, batches_per_epoch=4) as checkpoint:
        for number in range(6):
            checkpoint.step({"w": np.full(2, number, np.float32)})
        text = repr(checkpoint)
    assert text.startswith(
        f"<ModelCheckpoint of {tmp_path}/net: at step 2 of epoch 2, newest file "
    )
