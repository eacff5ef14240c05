"""What silently goes wrong between stacks: the logits see each, or the library refuses it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import msckpt_jax as ms
from tests.families.test_logits import DATA, config_of, logits_of

FOLDER = "llama"


def maxtext(folder: str, scanned: bool = False, **more: Any) -> tuple[ms.Family, Any]:
    how = ms.Family(DATA / folder, jax="maxtext", **more)
    return how, ms.load_checkpoint(DATA / folder, like=how.abstract(scanned), convention=how)


def changed(tree: Any, path: str, change: Callable[[Any], Any]) -> Any:
    """The tree with ``change`` applied to all leaves whose paths hold ``path``."""

    def apply(keys: Any, leaf: Any) -> Any:
        return change(leaf) if path in ".".join(str(key.key) for key in keys) else leaf

    return jax.tree_util.tree_map_with_path(apply, tree)


def exchanged(tree: Any, one: str, two: str) -> Any:
    """The tree with two keys exchanged wherever both are."""
    if not isinstance(tree, dict):
        return tree
    names = {one: two, two: one} if one in tree and two in tree else {}
    return {names.get(key, key): exchanged(value, one, two) for key, value in tree.items()}


def by_text(experts: Any) -> Any:
    """The experts, sorted as text: 10 before 2."""
    return experts[np.array(sorted(range(len(experts)), key=str))]


def pairs(x: Any) -> Any:
    return jnp.stack(jnp.split(x, 2, -1), -1).reshape(x.shape)


TRAPS = {
    "rotary of queries only": ("llama", lambda t: changed(t, "query.kernel", pairs)),
    "rotary of the wrong family": (
        "qwen3", lambda t: changed(changed(t, "query.kernel", pairs), "key.kernel", pairs)),
    "query scale missing": ("llama", lambda t: changed(t, "query.kernel", lambda x: x * 6**0.5)),
    "query scale of hd, not of query_pre_attn_scalar": (
        "gemma2", lambda t: changed(t, "query.kernel", lambda x: x * (7 / 6) ** 0.5)),
    "gate and up exchanged": ("qwen3", lambda t: exchanged(t, "wi_0", "wi_1")),
    "gate and up of experts exchanged": ("mixtral", lambda t: exchanged(t, "wi_0", "wi_1")),
    "even and odd columns exchanged": ("gpt_oss", lambda t: exchanged(t, "wi_0", "wi_1")),
    "experts as text": ("mixtral", lambda t: changed(t, "MoeBlock_0.wi_1", by_text)),
    "experts as text, all": (
        "qwen3_moe", lambda t: changed(changed(t, "moe_block.wi", by_text), "moe_block.wo", by_text)
    ),
    "norm without one": ("gemma2", lambda t: changed(t, "norm", lambda x: x - 1)),
    "embedding not scaled": ("gemma3", lambda t: changed(t, "embedding", lambda x: x / 12**0.5)),
    "local and global exchanged": (
        "gemma2", lambda t: exchanged(t, "self_attention_local", "self_attention_global")),
    "layers exchanged": ("gemma3", lambda t: exchanged(t, "layers_11", "layers_12")),
    "dense and first of the experts' layers": (
        "deepseek_v3", lambda t: exchanged(t, "moe_layers_0", "moe_layers_1")),
    "shared experts left out": (
        "deepseek_v3", lambda t: changed(t, "shared_experts.wo", lambda x: x * 0)),
    "sinks left out": ("gpt_oss", lambda t: changed(t, "sinks", lambda x: x * 0)),
    "bias of the router left out": (
        "deepseek_v3", lambda t: changed(t, "gate.bias", lambda x: x * 0)),
    "heads before kv groups": (
        "llama", lambda t: changed(t, "query.kernel", lambda x: x[:, np.array([0, 2, 1, 3])])),
}  # fmt: skip


@pytest.mark.parametrize("trap", TRAPS)
def test_the_logits_see_it(trap: str) -> None:
    """The models in ``data`` are such that no mistake of these leaves the logits as they are."""
    folder, fall_into = TRAPS[trap]
    _, tree = maxtext(folder)
    expected = np.load(DATA / folder / "logits.npy")
    wrong = logits_of(fall_into(tree), folder, "maxtext")
    assert np.abs(wrong - expected).max() > 1e-2 * np.abs(expected).max()


def test_rotary_of_llama_3_1_must_be_told() -> None:
    with pytest.raises(ms.CheckpointError, match="maxtext_model="):
        ms.Family(DATA / "llama3", jax="maxtext")
    for name in ("Llama-3.1-8B", "llama-3.1-8b", "meta-llama/Llama-3.1-8B", ""):
        with pytest.raises(ms.CheckpointError, match="no name of a model in MaxText"):
            ms.Family(DATA / "llama3", jax="maxtext", maxtext_model=name)


def test_stacked_axis_where_sizes_coincide() -> None:
    """Where D == L some leaves leave it open, and others tell; where none does, it is asked."""
    config = config_of("qwen3") | {"num_hidden_layers": 12}
    how = ms.Family(config, jax="maxtext")
    tree = _random(how.abstract(scanned=True))
    weights = tree["decoder"]["layers"]["mlp"]["wi_0"]["kernel"]
    ms.save_checkpoint(tree, "a.safetensors", format="safetensors", convention=how)
    saved = ms.load_checkpoint("a.safetensors")["model.layers.7.mlp.gate_proj.weight"]
    np.testing.assert_array_equal(saved, weights[:, 7].T)
    sizes = ("num_hidden_layers", "hidden_size", "intermediate_size", "head_dim", "vocab_size",
             "num_attention_heads", "num_key_value_heads")  # fmt: skip
    config |= dict.fromkeys(sizes, 4)
    tree = _random(ms.Family(config, jax="maxtext").abstract(scanned=True))
    with pytest.raises(ms.CheckpointError, match="pass scan_axis="):
        ms.Family(config, jax="maxtext").targets(tree)
    for axis in (0, 1):
        how = ms.Family(config, jax="maxtext", scan_axis=axis)
        ms.save_checkpoint(tree, "a.safetensors", format="safetensors", convention=how)
        saved = ms.load_checkpoint("a.safetensors")["model.layers.2.mlp.gate_proj.weight"]
        weights = tree["decoder"]["layers"]["mlp"]["wi_0"]["kernel"]
        np.testing.assert_array_equal(saved, weights.take(2, axis).T)


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def _random(tree: Any) -> Any:
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda x: rng.normal(size=x.shape).astype(np.float32), tree)


@pytest.mark.parametrize(
    ("folder", "files"),
    [("llama", "huggingface"), ("llama", "mindformers-concat"), ("mixtral", "huggingface"),
     ("mixtral", "mindformers-concat"), ("gemma2", "huggingface"), ("gpt_oss", "huggingface"),
     ("qwen3_moe", "mindformers-mcore"), ("deepseek_v3", "mindformers-mcore")],
)  # fmt: skip
def test_sharded_over_devices_the_same_bytes(
    folder: str, files: str, mesh: jax.sharding.Mesh
) -> None:
    how = ms.Family(DATA / folder, jax="maxtext", files=files)
    _, tree = maxtext(folder, scanned=True)

    def spread(leaf: Any) -> Any:
        """Each axis that can be cut is, the last by four devices and another one by two."""
        spec: list[str | None] = [None] * leaf.ndim
        for axis in reversed(range(leaf.ndim)):
            for name, count in (("y", 4), ("x", 2)):
                if spec[axis] is None and name not in spec and leaf.shape[axis] % count == 0:
                    spec[axis] = name
        return jax.device_put(leaf, jax.NamedSharding(mesh, jax.P(*spec)))

    sharded = jax.tree.map(spread, tree)
    ms.save_checkpoint(tree, "whole.safetensors", format="safetensors", convention=how)
    ms.save_checkpoint(sharded, "sharded.safetensors", format="safetensors", convention=how)
    whole, parts = (ms.load_checkpoint(f"{n}.safetensors") for n in ("whole", "sharded"))
    assert whole.keys() == parts.keys() == set(how.names)
    for name in whole:
        assert whole[name].tobytes() == parts[name].tobytes(), name
    back = ms.load_checkpoint("sharded.safetensors", like=sharded, convention=how)
    for a, b in zip(*map(jax.tree.leaves, (back, sharded)), strict=True):
        assert a.sharding == b.sharding
    want, got = (ms.load_checkpoint("whole.safetensors", like=t, convention=how)
                 for t in (tree, sharded))  # fmt: skip
    for a, b in zip(*map(jax.tree.leaves, (want, got)), strict=True):
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


def test_bfloat16_is_scaled_in_float32() -> None:
    """A float32 tree gets from a bfloat16 file what float32 gives, not what bfloat16 rounds."""
    how = ms.Family(DATA / "gemma3_bfloat16", jax="maxtext")
    like = how.abstract()
    wide = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, jnp.float32), like)
    narrow, exact = (ms.load_checkpoint(DATA / "gemma3_bfloat16", like=t, convention=how)
                     for t in (like, wide))  # fmt: skip
    stored = ms.load_checkpoint(DATA / "gemma3_bfloat16")["model.norm.weight"]
    scale = exact["decoder"]["decoder_norm"]["scale"]
    np.testing.assert_array_equal(scale, 1 + stored.astype(np.float32))
    rounded = narrow["decoder"]["decoder_norm"]["scale"]
    np.testing.assert_array_equal(rounded, (1 + stored.astype(np.float32)).astype(stored.dtype))


def test_what_a_factor_makes_too_great_is_refused() -> None:
    how = ms.Family(DATA / "gemma2", jax="maxtext")
    tensors = {name: np.array(value).astype(np.float16)
               for name, value in ms.load_checkpoint(DATA / "gemma2").items()}  # fmt: skip
    tensors["model.embed_tokens.weight"][3, 1:4] = np.inf, np.nan, 18000
    ms.save_checkpoint(tensors, "a.safetensors", format="safetensors")
    like = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, np.float16), how.abstract())
    tree = ms.load_checkpoint("a.safetensors", like=like, convention=how)
    np.testing.assert_array_equal(tree["token_embedder"]["embedding"][3, 1:4], [np.inf, np.nan,
                                  np.float16(18000 * np.float32(12**0.5))])  # fmt: skip
    tensors["model.embed_tokens.weight"][3, 3] = 30000
    ms.save_checkpoint(tensors, "a.safetensors", format="safetensors")
    with pytest.raises(ms.CheckpointError, match="do not fit float16 when they are scaled"):
        ms.load_checkpoint("a.safetensors", like=like, convention=how)


def test_padded_vocabulary() -> None:
    how, tree = maxtext("gemma2")
    rows = tree["token_embedder"]["embedding"]
    padded = tree | {"token_embedder": {"embedding": jnp.pad(rows, ((0, 10), (0, 0)))}}
    ms.save_checkpoint(padded, "a.safetensors", format="safetensors", convention=how)
    assert ms.open_checkpoint("a.safetensors").entries["model.embed_tokens.weight"].shape[0] == 22
    back = ms.load_checkpoint("a.safetensors", like=padded, convention=how)
    assert not np.asarray(back["token_embedder"]["embedding"])[22:].any()


def _file(**more: Any) -> None:
    tensors = dict(ms.load_checkpoint(DATA / FOLDER).items())
    tensors |= {name.replace("__", "."): value for name, value in more.items()}
    ms.save_checkpoint(tensors, "a.safetensors", format="safetensors")


@pytest.mark.parametrize(
    "name",
    ["model__layers__1__self_attn__q_proj__bias", "model__layers__3__mlp__up_proj__weight"],
)
def test_what_the_file_has_more_is_refused(name: str) -> None:
    how = ms.Family(DATA / FOLDER, jax="maxtext")
    _file(**{name: np.ones(3, np.float32)})
    with pytest.raises(ms.CheckpointError, match=r"that this model lacks: model.layers"):
        ms.load_checkpoint("a.safetensors", like=how.abstract(), convention=how)


def test_what_a_model_does_without_is_left_out() -> None:
    how = ms.Family(DATA / FOLDER, jax="maxtext")
    _file(model__layers__1__self_attn__rotary_emb__inv_freq=np.ones(3, np.float32),
          adam_m__model__norm__weight=np.ones(12, np.float32), global_step=np.int32(3))  # fmt: skip
    left = ms.load_checkpoint("a.safetensors", like=how.abstract(), convention=how)
    whole = ms.load_checkpoint(DATA / FOLDER, like=how.abstract(), convention=how)
    jax.tree.map(np.testing.assert_array_equal, left, whole)


def test_a_head_beside_a_tied_embedding() -> None:
    how = ms.Family(config_of(FOLDER) | {"tie_word_embeddings": True}, jax="maxtext")
    with pytest.raises(ms.CheckpointError, match=r"that this model lacks: lm_head\.weight"):
        ms.load_checkpoint(DATA / FOLDER, like=how.abstract(), convention=how)
    ms.load_checkpoint(DATA / FOLDER, like=how.abstract(), convention=how,
                       choice_func=lambda name: name != "lm_head.weight")  # fmt: skip


CONFIGS = [
    {"hidden_size": "12"}, {"hidden_size": None}, {"hidden_size": -12}, {"hidden_size": 12.0},
    {"hidden_size": True}, {"num_hidden_layers": 10**12}, {"num_hidden_layers": 0},
    {"num_key_value_heads": 3}, {"num_key_value_heads": 0}, {"head_dim": 0}, {"model_type": 3},
    {"model_type": "bert"}, {"tie_word_embeddings": "false"}, {"attention_bias": True},
    {"mlp_bias": True}, {"num_hidden_layers": None}, {"text_config": {"model_type": "x"}},
]  # fmt: skip


@pytest.mark.parametrize("wrong", CONFIGS, ids=json.dumps)
def test_wrong_configs(wrong: dict[str, Any]) -> None:
    _, tree = maxtext(FOLDER)
    with pytest.raises(ms.CheckpointError):
        ms.Family(config_of(FOLDER) | wrong, jax="maxtext").targets(tree)


def test_all_wrong_leaves_at_once() -> None:
    how, tree = maxtext(FOLDER)
    layers = tree["decoder"]
    layers["layers_0"]["mlp"]["wi_O"] = layers["layers_0"]["mlp"].pop("wi_0")
    del layers["layers_1"]["self_attention"]["out"]
    with pytest.raises(ms.CheckpointError) as error:
        how.targets(tree)
    for text in ("wi_O.kernel (near decoder.layers_0.mlp.wi_", "layers_0.mlp.wi_0.kernel",
                 "layers_1.self_attention.out.kernel"):  # fmt: skip
        assert text in str(error.value)
    how, tree = maxtext(FOLDER)
    tree["token_embedder"]["embedding"] = np.ones((21, 12), np.float32)
    tree["decoder"]["layers_2"]["mlp"]["wo"]["kernel"] = np.ones((12, 10), np.float32)
    with pytest.raises(
        ms.CheckpointError, match="the config gives other shapes to 2 leaves"
    ) as error:
        how.targets(tree)
    head, *leaves = str(error.value).splitlines()
    assert head.endswith("2 leaves:")
    assert [leaf.split(":")[0].strip() for leaf in leaves] == [
        "token_embedder.embedding", "decoder.layers_2.mlp.wo.kernel",
    ]  # fmt: skip
    assert "[12, 10], by the config [10, 12]" in leaves[1]


def _listed(tree: Any) -> Any:
    decoder = dict(tree["decoder"])
    keys = [key for key in decoder if key.startswith("layers_")]
    return tree | {"decoder": decoder | {"layers": [decoder.pop(key) for key in keys]}}


SHAPES_OF_TREES: dict[str, Callable[[Any], Any]] = {
    "params/params": lambda t: {"params": {"params": t}},
    "base": lambda t: {"base": t},
    "value": lambda t: jax.tree.map(lambda x: {"value": x}, t),
    "a list of layers": _listed,
    "a state of nnx": lambda t: nnx.State(jax.tree.map(nnx.Param, t)),
    "rngs": lambda t: t | {"rngs": {"count": np.int32(3)}},
}


@pytest.mark.parametrize("way", SHAPES_OF_TREES)
def test_trees_of_any_shape(way: str) -> None:
    how, tree = maxtext(FOLDER)
    ms.save_checkpoint(tree, "a.safetensors", format="safetensors", convention=how)
    other = SHAPES_OF_TREES[way](tree)
    ms.save_checkpoint(other, "b.safetensors", format="safetensors", convention=how)
    assert Path("a.safetensors").read_bytes() == Path("b.safetensors").read_bytes()


def test_two_leaves_in_one_place() -> None:
    how, tree = maxtext(FOLDER)
    with pytest.raises(ms.CheckpointError, match="are one leaf"):
        how.targets(tree | {"base": {"token_embedder": tree["token_embedder"]}})


def test_quantised_leaves_are_not_scaled() -> None:
    how, tree = maxtext(FOLDER)
    small = jax.tree.map(lambda x: (x * 50).astype(np.int8), tree)
    with pytest.raises(ms.CheckpointError, match="must be floats"):
        ms.save_checkpoint(small, "a.safetensors", format="safetensors", convention=how)
    assert not Path("a.safetensors").exists()


def test_deepseek_in_the_legacy_names_of_mindformers() -> None:
    """Three projections are split, and pairs of rows taken apart, as its own converter does."""
    _, tree = maxtext("deepseek_v3", scanned=True)
    theirs = ms.Family(DATA / "deepseek_v3", jax="maxtext", files="mindformers")
    ms.save_checkpoint(tree, "a.ckpt", convention=theirs)
    saved, own = ms.load_checkpoint("a.ckpt"), ms.load_checkpoint(DATA / "deepseek_v3")
    layer, attention = "model.layers.2.self_attn", "model.layers.2.attention"
    query = own[f"{layer}.q_b_proj.weight"].reshape(4, 10, 8)
    pairs = query[:, 6:].reshape(4, 2, 2, 8).transpose(0, 2, 1, 3)
    both = own[f"{layer}.kv_a_proj_with_mqa.weight"]
    values = own[f"{layer}.kv_b_proj.weight"].reshape(4, 11, 14)
    experts = [np.concatenate([own[f"model.layers.2.mlp.experts.{e}.{part}_proj.weight"].T
                               for part in ("gate", "up")], -1) for e in range(12)]  # fmt: skip
    expected = {
        f"{attention}.l2q_nope_proj.weight": query[:, :6].reshape(24, 8),
        f"{attention}.l2q_pe_proj.weight": pairs.reshape(16, 8),
        f"{attention}.kv2l_latent_kv.weight": both[:14],
        f"{attention}.kv2l_k_pe.weight": both[14:].reshape(2, 2, 12).swapaxes(0, 1).reshape(4, 12),
        f"{attention}.lkv2kv_k_nope.weight": values[:, :6].reshape(24, 14),
        f"{attention}.lkv2kv_v.weight": values[:, 6:].reshape(20, 14),
        "model.layers.2.feed_forward.routed_experts.ffn.w1": np.stack(experts),
    }
    for name, array in expected.items():
        np.testing.assert_array_equal(saved[name], array, name)
    again = ms.load_checkpoint("a.ckpt", like=tree, convention=theirs)
    jax.tree.map(np.testing.assert_array_equal, again, tree)


def test_deepseek_without_a_query_rank_has_no_mcore_rows() -> None:
    """Its query would have been left out of the file."""
    how = ms.Family(DATA / "deepseek_v2", jax="maxtext", files="mindformers-mcore")
    with pytest.raises(ms.CheckpointError, match="lacks rows"):
        how.targets(how.abstract())


def test_explain() -> None:
    how = ms.Family(DATA / FOLDER, jax="maxtext")
    lines = str(ms.explain(how.abstract(scanned=True), how)).splitlines()
    assert len(lines) == 1 + len(how.names)
    row = next(line for line in lines if "layers.2.self_attn.q_proj" in line)
    assert row.split("  ")[0] == "decoder.layers.self_attention.query.kernel"
    for text in ("[12, 3, 4, 6]", "[24, 12]", "undo (T; rs(D, H, hd)"):
        assert text in row
