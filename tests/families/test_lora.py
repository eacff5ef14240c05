"""LoRA leaves of tunix and qwix: PEFT's adapters and back, and merged into the weights.

The adapters in ``data/*/lora`` are PEFT's, as are the logits beside them. The shapes of the leaves
are those that qwix 0.1.8 gave to the networks of tunix 0.1.6.
"""

from __future__ import annotations

import copy
import json
import re
import shutil
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import optax
import pytest
from flax import nnx

import msckpt_jax as ms
from msckpt_jax.conventions import low_rank
from tests.families.decoder import Decoder
from tests.families.test_logits import DATA, TOKENS, config_of

#: By the ends of paths: the axes of the weight that A has.
INSIDE = {
    "attn.[qkv]_proj.w": (0,), "attn.o_proj.w": (0, 1), "attn.q_einsum.w": (1,),
    "attn.kv_einsum.w": (2,), "attn.attn_vec_einsum.w": (0, 1),
    "mlp.(gate|up|down)_proj.kernel": (0,), "lm_head.w": (0,),
}  # fmt: skip
#: By folders: the alpha, and by the ends of paths the ranks.
ADAPTERS = {
    "llama": (6, {".*": 3}),
    "qwen3": (10, {"layers.1.attn.[qv]_proj.w": 4, "layers.1.mlp.down_proj.kernel": 4}),
    "gemma2": (4, {".*kv_einsum.w": 4, ".*up_proj.kernel": 3, ".*": 2}),
}


def inside_of(path: str) -> tuple[int, ...] | None:
    return next((axes for end, axes in INSIDE.items() if re.search(f"{end}$", path)), None)


def leaves_of(tree: Any, path: str = "") -> dict[str, Any]:
    if not isinstance(tree, dict):
        return {path: tree}
    out: dict[str, Any] = {}
    for key, value in tree.items():
        out |= leaves_of(value, f"{path}.{key}" if path else key)
    return out


def put(tree: Any, path: str, value: Any) -> None:
    *parents, last = path.split(".")
    for key in parents:
        tree = tree.setdefault(key, {})
    tree[last] = value


def lora_of(base: Any, ranks: dict[str, int]) -> Any:
    """The LoRA leaves that qwix puts beside the weights, empty."""
    out: dict[str, Any] = {}
    for path, leaf in leaves_of(base).items():
        inside = inside_of(path)
        rank = next((r for regex, r in ranks.items() if re.fullmatch(regex, path)), None)
        if inside is not None and rank is not None:
            outside = [n for axis, n in enumerate(leaf.shape) if axis not in inside]
            a = (*(leaf.shape[axis] for axis in inside), rank)
            put(out, f"{path}_lora_a", jax.ShapeDtypeStruct(a, leaf.dtype))
            put(out, f"{path}_lora_b", jax.ShapeDtypeStruct((rank, *outside), leaf.dtype))
    return out


def joined(base: Any, lora: Any) -> Any:
    out = copy.deepcopy(jax.tree.map(np.asarray, base))
    for path, leaf in leaves_of(lora).items():
        put(out, path, leaf)
    return out


def merged(base: Any, lora: Any, alpha: float, dtype: Any = np.float64) -> Any:
    """The tree with alpha / rank times A B added, by NumPy's einsum."""
    out = jax.tree.map(np.asarray, base)
    flat, halves = leaves_of(base), leaves_of(lora)
    for path in [path for path in flat if f"{path}_lora_a" in halves]:
        inside, weight = inside_of(path), np.asarray(flat[path], dtype)
        a, b = (np.asarray(halves[f"{path}_lora_{half}"], dtype) for half in "ab")
        letters = "ijkl"[: weight.ndim]
        mine = "".join(letters[axis] for axis in inside or ())
        theirs = "".join(letter for letter in letters if letter not in mine)
        product = np.einsum(f"{mine}r,r{theirs}->{letters}", a, b)
        put(out, path, weight + alpha / len(b) * product)
    return out


def loaded(folder: str) -> tuple[ms.Family, Any, Any]:
    """The family, the base, and PEFT's adapter as LoRA leaves."""
    alpha, ranks = ADAPTERS[folder]
    how = ms.Family(DATA / folder, jax="tunix", lora_alpha=alpha)
    base = ms.load_checkpoint(DATA / folder, like=how.abstract(), convention=how)
    return how, base, ms.load_adapter(DATA / folder / "lora", lora_of(base, ranks), how)


def assert_logits(tree: Any, folder: str) -> None:
    expected = np.load(DATA / folder / "lora" / "logits.npy")
    logits = Decoder("tunix", config_of(folder))(tree, TOKENS)
    np.testing.assert_allclose(logits, expected, 0, 1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("folder", ADAPTERS)
def test_an_adapter_computes_the_same(folder: str) -> None:
    how, base, lora = loaded(folder)
    assert_logits(merged(base, lora, how.lora_alpha or 0), folder)


@pytest.mark.parametrize("folder", ADAPTERS)
def test_merged(folder: str, tmp_path: Path) -> None:
    how, base, lora = loaded(folder)
    ms.save_checkpoint(joined(base, lora), tmp_path / "m", format="safetensors",
                       max_shard_size=4000, convention=how)  # fmt: skip
    plain = ms.Family(DATA / folder, jax="tunix")
    again = ms.load_checkpoint(tmp_path / "m", like=how.abstract(), convention=plain)
    assert_logits(again, folder)


@pytest.mark.parametrize("folder", ["llama", "qwen3"])
def test_an_adapter_comes_back_as_it_was(folder: str, tmp_path: Path) -> None:
    how, _, lora = loaded(folder)
    ms.save_adapter(lora, tmp_path / "a", how)
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == [
        "adapter_config.json", "adapter_model.safetensors"]  # fmt: skip
    ours = ms.load_checkpoint(tmp_path / "a" / "adapter_model.safetensors")
    theirs = ms.load_checkpoint(DATA / folder / "lora" / "adapter_model.safetensors")
    theirs = {k: v for k, v in theirs.items() if "base_layer" not in k}
    assert ours.keys() == theirs.keys()
    for key, value in theirs.items():
        assert (ours[key].dtype, ours[key].tobytes()) == (value.dtype, value.tobytes()), key


def test_the_config_of_an_adapter(tmp_path: Path) -> None:
    """What PEFT makes of it was run, see docs/language-models.md: equal logits."""
    for folder, (alpha, _) in ADAPTERS.items():
        how, _, lora = loaded(folder)
        ms.save_adapter(lora, tmp_path / folder, how)
        config = json.loads((tmp_path / folder / "adapter_config.json").read_text())
        assert (config["peft_type"], config["lora_alpha"]) == ("LORA", alpha)
        assert config["base_model_name_or_path"] == str(DATA / folder)
        if folder == "qwen3":
            names = [f"model.layers.1.{m}" for m in
                     ("mlp.down_proj", "self_attn.q_proj", "self_attn.v_proj")]  # fmt: skip
            assert sorted(config["target_modules"]) == names
        else:
            theirs = json.loads((DATA / folder / "lora" / "adapter_config.json").read_text())
            assert config["target_modules"] == theirs["target_modules"]
        if folder == "gemma2":  # keys and values have the ranks of both
            assert config["r"] == 2
            assert config["rank_pattern"] == {
                f"model.layers.{i}.{m}": rank for i in range(4)
                for m, rank in {"mlp.up_proj": 3, "self_attn.k_proj": 4,
                                "self_attn.v_proj": 4}.items()}  # fmt: skip


def test_one_a_of_keys_and_values(tmp_path: Path) -> None:
    """A leaf of tunix that PEFT has twice comes back as it was; different ones are refused."""
    how, base, lora = loaded("gemma2")
    ms.save_adapter(lora, tmp_path / "a", how)
    again = ms.load_adapter(tmp_path / "a", lora, how)
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a, b), lora, again)
    small = lora_of(base, {".*up_proj.kernel": 3, ".*": 2})
    with pytest.raises(ms.CheckpointError, match=r"an A each.*expected rank 4, found rank 2"):
        ms.load_adapter(DATA / "gemma2" / "lora", small, how)


def test_an_adapter_of_values_alone(tmp_path: Path) -> None:
    """The keys of a leaf of both get zeros in B."""
    how = ms.Family(DATA / "gemma2", jax="tunix", lora_alpha=4)
    base = ms.load_checkpoint(DATA / "gemma2", like=how.abstract(), convention=how)
    write_adapter(tmp_path, {"self_attn.v_proj": (12, 12)}, 4)
    lora = ms.load_adapter(tmp_path, lora_of(base, {".*kv_einsum.w": 2}), how)
    kv = lora["layers"]["3"]["attn"]["kv_einsum"]
    theirs = ms.load_checkpoint(tmp_path / "adapter_model.safetensors")
    name = "base_model.model.model.layers.3.self_attn.v_proj.lora_{}.weight"
    np.testing.assert_array_equal(kv["w_lora_a"], theirs[name.format("A")].T)
    np.testing.assert_array_equal(kv["w_lora_b"][:, 1].reshape(2, 12), theirs[name.format("B")].T)
    assert not kv["w_lora_b"][:, 0].any()


def write_adapter(folder: Path, modules: dict[str, tuple[int, int]], layers: int) -> None:
    rng = np.random.default_rng(1)
    flat = {}
    for i in range(layers):
        for module, (inputs, outputs) in modules.items():
            for half, shape in (("A", (2, inputs)), ("B", (outputs, 2))):
                name = f"base_model.model.model.layers.{i}.{module}.lora_{half}.weight"
                flat[name] = rng.normal(size=shape).astype(np.float32)
    ms.save_checkpoint(flat, folder / "adapter_model.safetensors", format="safetensors")
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 4}
    (folder / "adapter_config.json").write_text(json.dumps(config))


@pytest.mark.parametrize("dtype", [ml_dtypes.bfloat16, np.float16, np.float32])
def test_merging_rounds_once(dtype: Any, tmp_path: Path) -> None:
    """Also the queries of Gemma 2, which have a factor, and whatever the sharding."""
    how, base, lora = loaded("gemma2")
    base = jax.tree.map(lambda x: np.asarray(x).astype(dtype), base)
    ms.save_checkpoint(joined(base, lora), tmp_path / "a.safetensors", format="safetensors",
                       convention=how)  # fmt: skip
    wide = merged(jax.tree.map(lambda x: np.asarray(x, np.float64), base), lora, 4)
    plain = ms.Family(DATA / "gemma2", jax="tunix")
    ms.save_checkpoint(wide, tmp_path / "b.ckpt", convention=plain)
    ours, exact = (ms.load_checkpoint(tmp_path / n) for n in ("a.safetensors", "b.ckpt"))
    changed = 0
    for name, value in exact.items():
        assert ours[name].dtype == dtype
        eps = float(ml_dtypes.finfo(dtype).eps)
        error = np.abs(ours[name].astype(np.float64) - value)
        assert (error <= 0.5001 * eps * np.abs(value) + 4e-7).all(), name
        changed += "proj" in name and error.size > 0
    assert changed == 28
    mesh = jax.make_mesh((2, 2), ("x", "y"), devices=jax.devices()[:4])
    sharded = jax.tree.map(lambda x: jax.device_put(x, spec(mesh, x)), joined(base, lora))
    ms.save_checkpoint(sharded, tmp_path / "c.safetensors", format="safetensors", convention=how)
    same = (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "c.safetensors").read_bytes()
    assert same


def test_merged_into_concatenated_weights(tmp_path: Path) -> None:
    """Queries, keys and values with and without LoRA in one parameter of MindFormers."""
    how, base, lora = loaded("llama")
    tree = joined(
        base, {"layers": {"0": {"attn": {"v_proj": lora["layers"]["0"]["attn"]["v_proj"]}}}}
    )
    trees = []
    for files in ("huggingface", "mindformers-concat"):
        way, plain = (
            ms.Family(DATA / "llama", jax="tunix", files=files, lora_alpha=alpha)
            for alpha in (how.lora_alpha, None)
        )
        ms.save_checkpoint(tree, tmp_path / f"{files}.ckpt", convention=way)
        trees.append(
            ms.load_checkpoint(tmp_path / f"{files}.ckpt", like=how.abstract(), convention=plain)
        )
    jax.tree.map(np.testing.assert_array_equal, *trees)
    before = base["layers"]["0"]["attn"]["v_proj"]["w"]
    assert not np.array_equal(trees[0]["layers"]["0"]["attn"]["v_proj"]["w"], before)


def test_later_changes_do_not_reach_an_asynchronous_save(tmp_path: Path) -> None:
    """Neither of the weights, which jax.Arrays keep, nor of A and B in NumPy."""
    how, base, lora = loaded("llama")
    tree = joined(base, jax.tree.map(np.array, lora))
    tree = {path: leaf if "_lora_" in path else jnp.asarray(leaf)
            for path, leaf in leaves_of(tree).items()}  # fmt: skip
    ms.save_checkpoint(tree, tmp_path / "a.ckpt", convention=how)
    save = ms.save_checkpoint(tree, tmp_path / "b.ckpt", convention=how, async_save=True)
    for path, leaf in tree.items():
        if "_lora_" in path:
            leaf[...] = np.nan
    assert save is not None
    save.result()
    assert (tmp_path / "a.ckpt").read_bytes() == (tmp_path / "b.ckpt").read_bytes()


def test_a_product_has_the_same_bits_in_any_window() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(40, 33)).astype(np.float32), rng.normal(size=(33, 50))
    b = b.astype(np.float32)
    expected = np.zeros((40, 50), np.float32)
    for rank in range(33):
        expected += a[:, rank, None] * b[rank]
    for rows, columns in [(1, 1), (40, 1), (1, 50), (3, 2), (7, 5), (40, 17), (39, 50)]:
        ours = low_rank._product(a[:rows].copy(), b[:, :columns].copy())
        np.testing.assert_allclose(ours, expected[:rows, :columns], 1e-5, 1e-5)
        whole = low_rank._product(a, b)[:rows, :columns]
        assert ours.tobytes() == whole.tobytes()


def spec(mesh: jax.sharding.Mesh, x: Any) -> jax.NamedSharding:
    """Both axes of the mesh on the first axes that they divide."""
    axes: list[str | None] = []
    left = ["x", "y"]
    for n in x.shape:
        axes.append(left.pop(0) if left and n % 2 == 0 else None)
    return jax.NamedSharding(mesh, jax.P(*axes))


def test_a_state_of_nnx(tmp_path: Path) -> None:
    """LoRAParams in an nnx.State, with base weights beside them, which stay as they are."""
    how, base, lora = loaded("llama")
    tree = nnx.State(jax.tree.map(lambda x: nnx.Param(jnp.asarray(x)), joined(base, lora)))
    ms.save_adapter(tree, tmp_path / "a", how)
    zeros = jax.tree.map(jnp.zeros_like, tree)
    again = ms.load_adapter(tmp_path / "a", zeros, how)
    q = again["layers"]["0"]["attn"]["q_proj"]
    np.testing.assert_array_equal(
        q["w_lora_a"].get_value(), lora["layers"]["0"]["attn"]["q_proj"]["w_lora_a"]
    )
    assert not q["w"].get_value().any()


def test_without_alpha() -> None:
    _, base, lora = loaded("llama")
    how = ms.Family(DATA / "llama", jax="tunix")
    for call in (
        lambda: ms.save_checkpoint(joined(base, lora), "x.ckpt", convention=how),
        lambda: ms.explain(joined(base, lora), how),
        lambda: ms.load_checkpoint(DATA / "llama", like=joined(base, lora), convention=how),
    ):
        with pytest.raises(ms.CheckpointError, match=r"44 LoRA leaves.*lora_alpha=.*save_adapter"):
            call()
    with pytest.raises(ValueError, match=r"needs Family.*lora_alpha"):
        ms.save_adapter(lora, "x", how)


def test_merged_is_not_loaded() -> None:
    how, base, lora = loaded("llama")
    with pytest.raises(ms.CheckpointError, match=r"cannot be taken out again.*load_adapter"):
        ms.load_checkpoint(DATA / "llama", like=joined(base, lora), convention=how)
    rows = ms.explain(joined(base, lora), how)
    assert "undo (T; rs(D, H, hd)) + 2 layers.0.attn.q_proj.w_lora_a" in repr(rows)


@pytest.mark.parametrize("kind", [optax.adam, optax.lion])
def test_states_of_lora_leaves(kind: Any, tmp_path: Path) -> None:
    """They have no place beside merged weights, nor in an adapter; those of weights have one."""
    how, base, lora = loaded("llama")
    params = joined(base, lora)
    for trained in (params, lora):
        tree = {"params": params, "opt_state": kind(1e-3).init(trained)}
        for call in (
            lambda tree=tree: ms.save_checkpoint(tree, tmp_path / "x.ckpt", convention=how),
            lambda tree=tree: ms.save_adapter(tree, tmp_path / "x", how),
            lambda tree=tree: ms.load_adapter(DATA / "llama" / "lora", tree, how),
        ):
            with pytest.raises(ms.CheckpointError, match=r"opt_state.*_lora_.*state of LoRA"):
                call()
    assert not list(tmp_path.iterdir())


def test_states_beside_merged_weights(tmp_path: Path) -> None:
    how, base, lora = loaded("llama")
    state: Any = optax.adam(1e-3).init(base)
    state = (state[0]._replace(mu=jax.tree.map(jnp.asarray, base)), *state[1:])
    tree = {"params": joined(base, lora), "opt_state": state}
    ms.save_checkpoint(tree, tmp_path / "a.ckpt", convention=how)
    ms.save_checkpoint(tree["params"], tmp_path / "b.ckpt", convention=how)
    ms.save_checkpoint(base, tmp_path / "c.ckpt", convention=how)
    together, alone, plain = (ms.load_checkpoint(tmp_path / f"{name}.ckpt") for name in "abc")
    for name in how.names:
        np.testing.assert_array_equal(together[name], alone[name])
        np.testing.assert_array_equal(together[f"moment1.{name}"], plain[name])


def test_a_checkpoint_with_lora_is_not_converted(tmp_path: Path) -> None:
    _, base, lora = loaded("llama")
    ms.save_checkpoint(joined(base, lora), tmp_path / "a.ckpt")
    with pytest.raises(ms.CheckpointError, match=r"44 LoRA leaves"):
        ms.convert_checkpoint(
            tmp_path / "a.ckpt", tmp_path / "b.safetensors", config=DATA / "llama",
            from_stack="tunix", as_stack="huggingface",
        )  # fmt: skip
    assert [path.name for path in tmp_path.iterdir()] == ["a.ckpt"]


class Noted:
    """An array that notes which boxes are read."""

    def __init__(self, array: np.ndarray):
        self.array, self.read = array, list[Any]()

    def __getitem__(self, index: tuple[slice, ...]) -> np.ndarray:
        self.read.append(tuple((s.start, s.stop) for s in index))
        return self.array[index]


def test_origins_are_what_is_read() -> None:
    rng = np.random.default_rng(0)
    weight, a, b = (Noted(rng.normal(size=s).astype("f4")) for s in ((3, 5, 4), (3, 4, 2), (2, 5)))
    plus = low_rank.LowRank(
        low_rank.Half("a", (6, 4, 2)), low_rank.Half("b", (2, 9)), inside=(0, 2), scale=2.0
    )
    origin = ((3, 6), (4, 9), (0, 4))
    ((_, whole),) = low_rank.added(
        [(origin, weight)], plus, [(((3, 6), (0, 4), (0, 2)), a)], [(((0, 2), (4, 9)), b)],
        np.dtype(np.float32),
    )  # fmt: skip
    box = ((1, 3), (2, 4), (1, 4))
    expected = [(weight, box), (a, ((1, 3), (1, 4), (0, 2))), (b, ((0, 2), (2, 4)))]
    assert [(source, read) for read, source in whole.origins(box)] == expected
    out = whole[tuple(slice(*side) for side in box)]
    assert [(source, source.read[0]) for source, _ in expected] == expected
    product = np.einsum("ikr,rj->ijk", a.array, b.array)
    every = tuple(slice(*side) for side in box)
    np.testing.assert_allclose(out, (weight.array + 2 * product)[every], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [("peft_type", "IA3", "no adapter of PEFT with LoRA"), ("use_dora", True, "use_dora"),
     ("bias", "all", "bias='all'"), ("modules_to_save", ["lm_head"], "modules_to_save"),
     ("init_lora_weights", "pissa", "init_lora_weights='pissa'"),
     ("something_new", {"x": 1}, "something_new"), ("lora_alpha", 7, r"lora_alpha=7, .*alpha=6"),
     ("use_rslora", True, "another alpha"), ("r", 4, "another rank"), ("lora_alpha", "x", "number"),
     ("alpha_pattern", {"layers.1.self_attn.q_proj": 12}, r"layers\.1\.self_attn\.q_proj"),
     ("alpha_pattern", {"(a+)+$": 12}, "plain names"), ("rank_pattern", 3, "no object")],
)  # fmt: skip
def test_other_adapters(key: str, value: Any, message: str, tmp_path: Path) -> None:
    how, _, lora = loaded("llama")
    folder = tmp_path / "lora"
    shutil.copytree(DATA / "llama" / "lora", folder)
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(config | {key: value}))
    with pytest.raises(ms.CheckpointError, match=message):
        ms.load_adapter(folder, lora, how)


def without(tree: Any, path: str) -> Any:
    tree = copy.deepcopy(tree)
    *parents, last = path.split(".")
    node = tree
    for key in parents:
        node = node[key]
    del node[last]
    return tree


def test_other_trees(tmp_path: Path) -> None:
    how, base, lora = loaded("llama")
    folder = DATA / "llama" / "lora"
    with pytest.raises(ms.CheckpointError, match="one half of a LoRA"):
        ms.load_adapter(folder, without(lora, "lm_head.w_lora_a"), how)
    fewer = lora_of(base, {"layers.*": 3})
    with pytest.raises(ms.CheckpointError, match=r"apply qwix to these(?s:.*)lm_head.lora_A"):
        ms.load_adapter(folder, fewer, how)
    ms.save_adapter(without(lora, "lm_head"), tmp_path / "fewer", how)
    with pytest.raises(ms.CheckpointError, match=r"`like` has 2 parameters .*lm_head"):
        ms.load_adapter(tmp_path / "fewer", lora, how)
    with pytest.raises(ms.CheckpointError, match=r"another rank.*expected 3, found 4"):
        ms.load_adapter(folder, lora_of(base, {".*": 4}), how)
    with pytest.raises(ms.CheckpointError, match="no LoRA leaves"):
        ms.save_adapter(base, tmp_path / "x", how)
    put(lora, "embedder.input_embedding_lora_a", np.zeros((12, 3), np.float32))
    put(lora, "embedder.input_embedding_lora_b", np.zeros((3, 22), np.float32))
    with pytest.raises(ms.CheckpointError, match="Linear layers, of which this is none"):
        ms.save_adapter(lora, tmp_path / "x", how)
    strange = {"foo": {"w_lora_a": np.zeros((12, 3)), "w_lora_b": np.zeros((3, 22))}}
    with pytest.raises(ms.CheckpointError, match=r"no weight of the table:\n  foo.w_lora_a"):
        ms.save_adapter(strange, tmp_path / "x", how)
    assert not (tmp_path / "x").exists()
    with pytest.raises(ValueError, match="jax='tunix'"):
        ms.Family(DATA / "llama", jax="maxtext", lora_alpha=3)


def test_a_sum_that_overflows(tmp_path: Path) -> None:
    how, base, lora = loaded("llama")
    base = jax.tree.map(lambda x: np.asarray(x).astype(np.float16), base)
    lora = jax.tree.map(lambda x: np.asarray(x) * 1000, lora)
    with pytest.raises(ms.CheckpointError, match="do not fit float16"):
        ms.save_checkpoint(joined(base, lora), tmp_path / "x.ckpt", convention=how)
    assert not (tmp_path / "x.ckpt").exists()
