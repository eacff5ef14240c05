"""Models as their makers release them: quantised, with parts for more than text."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import jax
import ml_dtypes
import numpy as np
import pytest

import msckpt_jax as ms
from msckpt_jax.conventions.families import quantised
from tests.families.decoder import Decoder
from tests.families.test_logits import DATA as MODELS
from tests.families.test_logits import TOKENS

DATA = MODELS / "released"


def config_of(folder: str) -> dict[str, Any]:
    return json.loads((DATA / folder / "config.json").read_text())


def file_of(folder: str) -> Path:
    return DATA / folder / "model.safetensors"


def loaded(folder: str, dtype: Any = None, scanned: bool = False) -> Any:
    how = ms.Family(DATA / folder, jax="maxtext")
    like = how.abstract(scanned)
    if dtype is not None:
        like = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, dtype), like)
    return ms.load_checkpoint(file_of(folder), like=like, convention=how)


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


# Quantised tensors


@pytest.mark.parametrize("scanned", [False, True])
@pytest.mark.parametrize("folder", ["gpt_oss", "deepseek_v3", "gemma3"])
def test_logits(folder: str, scanned: bool) -> None:
    """Those of transformers, which computes in float32 with the tensors in bfloat16."""
    tree = loaded(folder, scanned=scanned)
    config = config_of(folder)
    config |= config.get("text_config", {})
    expected = np.load(DATA / folder / "logits.npy")
    tree = jax.tree.map(lambda leaf: np.asarray(leaf, np.float32), tree)
    found = Decoder("maxtext", config)(tree, TOKENS)
    np.testing.assert_allclose(found, expected, 0, 1e-4 * np.abs(expected).max())


@pytest.mark.parametrize(("folder", "expected"), [("gpt_oss", "experts"), ("deepseek_v3", "plain")])
def test_transformers_own_values(folder: str, expected: str) -> None:
    """Bit by bit, in bfloat16: also the last blocks, which are cut off, and tiny numbers."""
    how = ms.Family(DATA / folder, jax="huggingface")
    like = how.abstract()
    tree = ms.load_checkpoint(file_of(folder), like=like, convention=how)
    theirs = ms.load_checkpoint(DATA / folder / f"{expected}.safetensors")
    assert len(theirs) in (4, 96)
    for name, value in theirs.items():
        ours = np.asarray(tree[name])
        assert ours.dtype == value.dtype == ml_dtypes.bfloat16
        assert ours.tobytes() == value.tobytes(), name
    like |= {name: jax.ShapeDtypeStruct(like[name].shape, np.float32) for name in theirs}
    wide = ms.load_checkpoint(file_of(folder), like=like, convention=how)
    for name, value in theirs.items():
        np.testing.assert_array_equal(wide[name].astype(ml_dtypes.bfloat16), value)
    rounded = any((np.asarray(wide[n]) != v.astype(np.float32)).any() for n, v in theirs.items())
    assert rounded == (folder == "deepseek_v3")  # four bits and a power of two fit bfloat16


def test_a_sharded_leaf_reads_its_own_boxes() -> None:
    mesh = jax.make_mesh((2, 4), ("a", "b"))
    sharding = jax.NamedSharding(mesh, jax.P("a", "b"))
    how = ms.Family(DATA / "gpt_oss", jax="huggingface")
    name = "model.layers.1.mlp.experts.gate_up_proj"
    like = how.abstract()
    whole = ms.load_checkpoint(file_of("gpt_oss"), like=like, convention=how)[name]
    like[name] = jax.ShapeDtypeStruct(like[name].shape, like[name].dtype, sharding=sharding)
    parts = ms.load_checkpoint(file_of("gpt_oss"), like=like, convention=how)[name]
    assert parts.sharding == sharding
    np.testing.assert_array_equal(parts, whole)


@pytest.mark.parametrize("scheme", quantised.SCHEMES)
def test_any_box(scheme: str) -> None:
    rng = np.random.default_rng(0)
    how = {"quantization_config": {"weight_block_size": [4, 6]}, "dtype": "float32"}
    if scheme == "mxfp4":
        pair = {"w_blocks": rng.integers(0, 256, (3, 10, 4, 16), np.uint8),
                "w_scales": rng.integers(0, 250, (3, 10, 4), np.uint8)}  # fmt: skip
    else:
        values = rng.normal(size=(3, 18, 23)).astype(ml_dtypes.float8_e4m3fn)
        pair = {"w": values, "w_scale_inv": rng.random((3, 5, 4), np.float32)}
    tensor = quantised.plain(pair, how, lambda name: False)["w"]
    assert tensor is not None
    source = tensor.pieces[0][1]
    whole = source[tuple(slice(0, n) for n in tensor.shape)]
    for _ in range(50):
        ends = (sorted(rng.choice(n + 1, 2, replace=False).tolist()) for n in tensor.shape)
        box = tuple(slice(a, b) for a, b in ends)
        np.testing.assert_array_equal(source[box], whole[box])


def _pair(bytes_: Any, scale: int) -> np.ndarray:
    blocks = np.zeros((1, 1, 1, 16), np.uint8)
    blocks[..., : len(bytes_)] = bytes_
    pair = {"w_blocks": blocks, "w_scales": np.full((1, 1, 1), scale, np.uint8)}
    tensor = quantised.plain(pair, {"dtype": "bfloat16"}, lambda name: False)["w"]
    assert tensor is not None
    return tensor.pieces[0][1][0:1, 0:32, 0:1].ravel()


def test_four_bits() -> None:
    every = [0x10, 0x32, 0x54, 0x76, 0x98, 0xBA, 0xDC, 0xFE]
    positive = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6])
    np.testing.assert_array_equal(_pair(every, 127)[:16], [*positive, *-positive])
    assert np.signbit(_pair(every, 127)[8])
    np.testing.assert_array_equal(_pair(every, 0)[:8], positive * 2.0**-127)
    assert (_pair(every, 0)[1:8].astype(ml_dtypes.bfloat16) != 0).all()
    assert np.isnan(_pair(every, 255)).all()  # as the format says
    assert _pair([0x11], 254)[0] == 2.0**126
    with pytest.raises(ms.CheckpointError, match="quantised values do not fit bfloat16"):
        _pair([0x77], 254)


@pytest.mark.parametrize("dtype", [ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2])
def test_powers_of_two_as_scales(dtype: Any) -> None:
    values = np.array([[1, -3, 0.5], [2, 4, 448]]).astype(dtype)
    how = {"quantization_config": {"weight_block_size": [1, 2]}, "dtype": "bfloat16"}
    pair = {"w": values, "w_scale_inv": np.array([[127, 128], [120, 0]], np.uint8)}
    tensor = quantised.plain(pair, how, lambda name: False)["w"]
    assert tensor is not None
    found = tensor.pieces[0][1][0:2, 0:3]
    scales = [[1, 1, 2], [2.0**-7, 2.0**-7, 2.0**-127]]
    np.testing.assert_array_equal(found, values.astype(np.float32) * np.array(scales, np.float32))


@pytest.mark.parametrize("scanned", [False, True])
@pytest.mark.parametrize("dtype", [ml_dtypes.float8_e4m3fn, np.int8])
def test_quantised_tensors_under_other_names(dtype: Any, scanned: bool) -> None:
    """Nothing says what they are worth: they are no numbers to be scaled or cast."""
    how = ms.Family(MODELS / "llama", jax="maxtext", files="mindformers")
    tree = jax.tree.map(lambda leaf: np.ones(leaf.shape, np.float32), how.abstract())
    ms.save_checkpoint(tree, "a.ckpt", convention=how)
    for name in ("wq", "wo"):
        tensors = dict(ms.load_checkpoint("a.ckpt").items())
        key = f"model.layers.1.attention.{name}.weight"
        tensors[key] = tensors[key].astype(dtype)
        with pytest.raises(ms.CheckpointError, match=r"must be floats|dtype differs|partly of"):
            ms.load_param_into_tree(how.abstract(scanned), tensors, convention=how)


def _tensors(folder: str) -> dict[str, Any]:
    return dict(ms.load_checkpoint(file_of(folder)).items())


def _attempt(folder: str, tensors: dict[str, Any], **config: Any) -> None:
    how = ms.Family(config_of(folder) | config, jax="maxtext")
    ms.load_param_into_tree(how.abstract(), tensors, convention=how)


_EXPERTS = "model.layers.1.mlp.experts.down_proj"
_WEIGHT = "model.layers.1.self_attn.o_proj.weight"
WRONG = {
    "no scales": ("gpt_oss", lambda t: t.pop(f"{_EXPERTS}_scales"), "their scales are missing"),
    "no blocks": ("gpt_oss", lambda t: t.pop(f"{_EXPERTS}_blocks"), "no such name in the file"),
    "no scales of float8": (
        "deepseek_v3", lambda t: t.pop(f"{_WEIGHT}_scale_inv"), "their scales are missing"),
    "another shape": (
        "gpt_oss", lambda t: t.update({f"{_EXPERTS}_scales": t[f"{_EXPERTS}_scales"][:, 1:]}),
        "do not fit each other"),
    "another block": (
        "deepseek_v3", lambda t: t.update({_WEIGHT: t[_WEIGHT][:5]}),
        r"do not fit each other in blocks of \[4, 6\]"),
    "another dtype": (
        "deepseek_v3", lambda t: t.update({_WEIGHT: t[_WEIGHT].view(np.int8)}),
        "is not stored so"),
    "twice": (
        "gpt_oss", lambda t: t.update({_EXPERTS: np.ones((4, 64, 32), np.float32)}),
        "holds the tensor twice"),
    "GPTQ": (
        "gemma3", lambda t: t.update({"model.layers.0.mlp.up_proj.qweight": np.ones(3, "i4")}),
        "GPTQ or AWQ"),
    "a scale a tensor": (
        "gemma3", lambda t: t.update({"model.layers.0.mlp.up_proj.weight_scale": np.ones(1, "f4")}),
        "a scale a tensor or a row"),
    "one name twice": (
        "gemma3", lambda t: t.update({"model.norm.weight": np.ones(12, np.float32)}),
        "are one parameter of the model"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_wrong_files(case: str) -> None:
    folder, change, message = WRONG[case]
    tensors = _tensors(folder)
    change(tensors)
    if case == "no blocks":
        how = ms.Family(config_of(folder), jax="maxtext")
        _, missing, _ = ms.load_param_into_tree(how.abstract(), tensors, convention=how)
        assert missing.reasons[_EXPERTS].startswith(message)
        return
    with pytest.raises(ms.CheckpointError, match=message):
        _attempt(folder, tensors)


def test_wrong_configs() -> None:
    for method in ("gptq", "awq", "bitsandbytes", "compressed-tensors"):
        with pytest.raises(ms.CheckpointError, match=f"quantised by {method}: take the release"):
            _attempt("gpt_oss", _tensors("gpt_oss"), quantization_config={"quant_method": method})
    for how in ({}, None, {"quant_method": "fp8"}, {"weight_block_size": [0, 4]}):
        with pytest.raises(ms.CheckpointError, match="does not say of which blocks"):
            _attempt("deepseek_v3", _tensors("deepseek_v3"), quantization_config=how)
    with pytest.raises(ms.CheckpointError, match="dtype is not possible"):
        ms.Family(config_of("gpt_oss") | {"dtype": "float8"}, jax="maxtext")
    _attempt("gpt_oss", _tensors("gpt_oss"), quantization_config=None)  # the file says it all


def test_plain_tensors_with_the_config_of_quantised_ones() -> None:
    how = ms.Family(DATA / "gpt_oss", jax="maxtext")
    tree = loaded("gpt_oss")
    ms.save_checkpoint(tree, "a.safetensors", format="safetensors", convention=how)
    again = ms.load_checkpoint("a.safetensors", like=tree, convention=how)
    jax.tree.map(np.testing.assert_array_equal, again, tree)


def test_a_scale_that_the_filters_leave_out() -> None:
    how = ms.Family(DATA / "gpt_oss", jax="maxtext")
    with pytest.raises(ms.CheckpointError, match="their scales are missing"):
        ms.load_checkpoint(file_of("gpt_oss"), like=how.abstract(), convention=how,
                           choice_func=lambda name: not name.endswith("_scales"))  # fmt: skip


# What is left out, and what is written


def test_what_is_left_out_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "msckpt_jax"):
        loaded("deepseek_v3")
    told = [r.getMessage() for r in caplog.records if "does without" in r.getMessage()]
    assert len(told) == 1
    assert "1 of *.rotary_emb.inv_freq" in told[0]
    count = sum(name.startswith("model.layers.3.") for name in _tensors("deepseek_v3"))
    scales = sum(name.startswith("model.layers.3.") and name.endswith("_scale_inv")
                 for name in _tensors("deepseek_v3"))  # fmt: skip
    assert scales
    assert f"{count} of model.layers.3.*" in told[0]
    caplog.clear()
    with caplog.at_level(logging.WARNING, "msckpt_jax"):
        loaded("gemma3")
    told = [r.getMessage() for r in caplog.records if "does without" in r.getMessage()]
    assert len(told) == 1
    assert "of vision_tower.*" in told[0]
    assert "2 of multi_modal_projector.*" in told[0]


def test_names_of_transformers_5() -> None:
    tensors = {}
    for name, value in _tensors("gemma3").items():
        own = name.removeprefix("language_model.model.")
        tensors[f"model.{name}" if own == name else f"model.language_model.{own}"] = value
    assert "model.language_model.embed_tokens.weight" in tensors
    assert any(name.startswith("model.vision_tower.") for name in tensors)
    how = ms.Family(DATA / "gemma3", jax="maxtext")
    ms.save_checkpoint(tensors, "a.safetensors", format="safetensors")
    tree = ms.load_checkpoint("a.safetensors", like=how.abstract(), convention=how)
    jax.tree.map(np.testing.assert_array_equal, tree, loaded("gemma3"))


@pytest.mark.parametrize("folder", ["gpt_oss", "deepseek_v3", "gemma3"])
def test_the_config_that_is_written(folder: str, caplog: pytest.LogCaptureFixture) -> None:
    how = ms.Family(DATA / folder, jax="maxtext")
    with caplog.at_level(logging.WARNING, "msckpt_jax"):
        ms.save_checkpoint(loaded(folder), "out", format="safetensors", max_shard_size="1GB",
                           convention=how)  # fmt: skip
    notes = [r.getMessage() for r in caplog.records if r.getMessage().startswith("config.json")]
    assert len(notes) == 1
    written = json.loads(Path("out/config.json").read_text())
    assert not {"quantization_config", "vision_config"} & written.keys()
    tensors = ms.load_checkpoint("out")
    if folder == "gemma3":
        assert written["architectures"] == ["Gemma3ForCausalLM"]
        assert written["model_type"] == "gemma3_text"
        text = config_of(folder)["text_config"]
        assert {k: written[k] for k in text if k != "model_type"} == {
            k: v for k, v in text.items() if k != "model_type"
        }
    else:
        assert written == {k: v for k, v in config_of(folder).items() if k != "quantization_config"}
    assert all(name.startswith(("model.", "lm_head.")) for name in tensors)
    assert not any(name.endswith(("_scales", "_scale_inv")) for name in tensors)
    again = ms.Family("out", jax="maxtext")
    tree = ms.load_checkpoint("out", like=again.abstract(), convention=again)
    jax.tree.map(np.testing.assert_array_equal, tree, loaded(folder))


def test_a_plain_config_is_written_as_it_was(caplog: pytest.LogCaptureFixture) -> None:
    shutil.copytree(MODELS / "qwen3", "in")
    Path("in/config.json").write_text(Path("in/config.json").read_text().replace("  ", " "))
    how = ms.Family("in", jax="huggingface")
    tree = ms.load_checkpoint("in", like=how.abstract(), convention=how)
    ms.save_checkpoint(tree, "out", format="safetensors", max_shard_size="1GB", convention=how)
    assert Path("out/config.json").read_bytes() == Path("in/config.json").read_bytes()
    assert not [r for r in caplog.records if "config.json" in r.getMessage()]


def test_the_config_of_gemma_3_4b() -> None:
    """What it does not say is as in the class of transformers."""
    config = {"architectures": ["Gemma3ForConditionalGeneration"], "model_type": "gemma3",
              "text_config": {"hidden_size": 2560, "intermediate_size": 10240, "model_type":
              "gemma3_text", "num_hidden_layers": 34, "sliding_window": 1024},
              "torch_dtype": "bfloat16", "vision_config": {"hidden_size": 1152}}  # fmt: skip
    tree = ms.Family(config, jax="huggingface").abstract()
    assert tree["model.embed_tokens.weight"].shape == (262208, 2560)
    assert tree["model.layers.33.self_attn.q_proj.weight"].shape == (2048, 2560)
    assert tree["model.layers.33.self_attn.k_proj.weight"].shape == (1024, 2560)
    assert tree["model.layers.33.self_attn.k_norm.weight"].dtype == ml_dtypes.bfloat16


def test_a_smaller_vocabulary_is_asked_for(caplog: pytest.LogCaptureFixture) -> None:
    """MaxText's Gemma 3 has no rows for the tokens of images."""
    config = config_of("gemma3")
    how = ms.Family(config, jax="huggingface")
    tree = how.abstract()
    tree["model.embed_tokens.weight"] = jax.ShapeDtypeStruct((19, 12), np.float32)
    with pytest.raises(ms.CheckpointError, match=r"\[19, 12\], by the config \[22, 12\]"):
        how.targets(tree)
    config["text_config"]["vocab_size"] = 19
    how = ms.Family(config, jax="maxtext")
    like = how.abstract()
    with caplog.at_level(logging.WARNING, "msckpt_jax"):
        tree = ms.load_checkpoint(file_of("gemma3"), like=like, convention=how)
    assert "model.embed_tokens.weight: 3 rows are left out" in caplog.text
    whole = loaded("gemma3")["token_embedder"]["embedding"]
    np.testing.assert_array_equal(tree["token_embedder"]["embedding"], whole[:19])
    ms.save_checkpoint(tree, "out", format="safetensors", max_shard_size="1GB", convention=how)
    assert json.loads(Path("out/config.json").read_text())["vocab_size"] == 19
    again = ms.load_checkpoint("out", like=like, convention=ms.Family("out", jax="maxtext"))
    jax.tree.map(np.testing.assert_array_equal, again, tree)
    config["text_config"]["vocab_size"] = 23
    more = ms.Family(config, jax="huggingface")
    with pytest.raises(ms.CheckpointError, match="the shape differs"):
        ms.load_checkpoint(file_of("gemma3"), like=more.abstract(), convention=more)


@pytest.mark.parametrize(
    ("outer", "inner"),
    [("mistral3", "mistral"), ("internvl", "qwen2"), ("kimi_vl", "deepseek_v3"),
     ("llava", "llama")],
)  # fmt: skip
def test_models_of_more_than_text_are_refused(outer: str, inner: str) -> None:
    text = json.loads((MODELS / inner / "config.json").read_text())
    config = {"model_type": outer, "text_config": text, "vision_config": {}}
    with pytest.raises(ms.CheckpointError, match=f"a {inner}, and no table tells.*found {outer}"):
        ms.Family(config, jax="huggingface")
    with pytest.raises(ms.CheckpointError, match="no table knows"):
        ms.Family({**text, "model_type": "qwen2_vl"}, jax="huggingface")
