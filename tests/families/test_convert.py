"""``msckpt convert`` of language models: from disk to disk, between all kinds of sources."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest
from flax import nnx

import msckpt_jax as ms
from msckpt_jax import cli, names
from msckpt_jax.api import convert_checkpoint
from msckpt_jax.api.conversion.target import Options
from msckpt_jax.api.conversion.view import Stacks
from tests.families.test_logits import DATA, config_of

#: For each folder of transformers a way there and back that scales nothing, or by powers of two.
WAYS = {
    "deepseek_v2": ["maxtext"],
    "deepseek_v3": ["maxtext", "mindformers-mcore"],
    "gemma2": ["levanter"],
    "gemma3": ["tunix"],
    "gemma3_bfloat16": ["levanter"],
    "gpt2": ["levanter"],
    "gpt_oss": ["maxtext"],
    "llama3": ["tunix"],
    "llama_tied": ["mindformers"],
    "mistral": ["mindformers-concat"],
    "mixtral": ["levanter"],
    "qwen2": ["mindformers-mcore"],
    "qwen2_tied": ["levanter", "mindformers-concat"],
    "qwen3": ["maxtext"],
    "qwen3_moe": ["tunix", "mindformers-mcore"],
}


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def convert(*args: Any, status: int = 0) -> None:
    assert cli.main(["convert", *map(str, args)]) == status


def refused(capsys: Any, *args: Any) -> str:
    assert cli.main(["convert", *map(str, args)]) == 2
    return capsys.readouterr().err


def same(left: Path | str, right: Path | str) -> None:
    a, b = (ms.load_checkpoint(path) for path in (left, right))
    assert a.keys() == b.keys()
    for name in a:
        assert np.asarray(a[name]).dtype == np.asarray(b[name]).dtype, name
        assert np.asarray(a[name]).tobytes() == np.asarray(b[name]).tobytes(), name


@pytest.mark.parametrize("folder", WAYS)
def test_the_files_of_transformers_come_out_again(folder: str) -> None:
    """Byte for byte, with the config; through stacks that no Family has in common."""
    source: Path = DATA / folder
    options = ["--config", source, "--scanned"]
    for number, stack in enumerate(WAYS[folder]):
        tree = stack in ("maxtext", "levanter")
        convert(source, f"{number}.ckpt", *options[: 3 if tree else 2], "--as", stack)
        source, options = Path(f"{number}.ckpt"), [*options[:2], "--from", stack]
    convert(source, "out", *options[:2], "--from", WAYS[folder][-1], "--verify")
    for name in ("model.safetensors", "config.json"):
        assert (Path("out") / name).read_bytes() == (DATA / folder / name).read_bytes()


def maxtext(folder: str = "llama", scanned: bool = True) -> tuple[ms.Family, Any]:
    how = ms.Family(DATA / folder, jax="maxtext")
    return how, ms.load_checkpoint(DATA / folder, like=how.abstract(scanned), convention=how)


def saved_by_maxtext(path: Path, tree: Any) -> Path:
    """A step as MaxText's training loop leaves it: parameters, moments, step, in `items`."""
    params = {"params": {"params": tree}}
    state = params | {
        "opt_state": jax.tree.map(np.asarray, optax.adamw(1e-3).init(params["params"])),
        "step": np.int32(7),
    }
    handler = ocp.CompositeCheckpointHandler()
    with ocp.Checkpointer(handler) as checkpointer:
        checkpointer.save(path / "0", ocp.args.Composite(items=ocp.args.PyTreeSave(state)))
    return path / "0"


@pytest.mark.parametrize("scanned", [True, False])
def test_from_a_step_of_maxtext(tmp_path: Path, capsys: Any, scanned: bool) -> None:
    """The bytes of a save of the same arrays, in files of all kinds."""
    _, tree = maxtext(scanned=scanned)
    step = saved_by_maxtext(tmp_path / "run", tree)
    options = ["--config", DATA / "llama"]
    for files, name in (("mindformers-concat", "a.ckpt"), ("huggingface", "b.safetensors")):
        convert(step, name, *options, "--as", files, "--verify")
        told = capsys.readouterr()
        assert "entries left out, which hold no weights of the model: opt_state, step" in told.err
        assert "are what the source gives, bit by bit" in told.out
        how = ms.Family(DATA / "llama", jax="maxtext", files=files)
        ms.save_checkpoint(tree, f"own_{name}", format=name.split(".")[1], convention=how)
        assert Path(name).read_bytes() == Path(f"own_{name}").read_bytes()
    convert(step / "items", "hub", *options, "--from", "maxtext", "--max-shard-size", "6KB")
    how = ms.Family(DATA / "llama", jax="maxtext")
    ms.save_checkpoint(tree, "own", format="safetensors", max_shard_size=6000, convention=how)
    files = sorted(file.name for file in Path("own").iterdir())
    assert sorted(file.name for file in Path("hub").iterdir()) == files
    assert len(files) == 5
    for name in files:
        assert (Path("hub") / name).read_bytes() == (Path("own") / name).read_bytes(), name


@pytest.mark.parametrize("folder", ["llama", "deepseek_v3"])
def test_to_a_checkpoint_that_maxtext_restores(tmp_path: Path, folder: str) -> None:
    how, tree = maxtext(folder)
    convert(DATA / folder, "run/0/items", "--as", "maxtext", "--verify")
    like = {"params": {"params": how.abstract(scanned=True)}}
    with ocp.PyTreeCheckpointer() as checkpointer:
        restored = checkpointer.restore(tmp_path / "run/0/items", item=like)
    own = {leaf.name: leaf.value for leaf in names.named_leaves({"params": {"params": tree}})}
    found = {leaf.name: leaf.value for leaf in names.named_leaves(restored)}
    assert own.keys() == found.keys()
    for name, value in own.items():
        assert np.asarray(value).tobytes() == np.asarray(found[name]).tobytes(), name
    convert("run/0/items", "again", "--config", DATA / folder, "--as", "maxtext", "--no-scanned")
    convert("again", "twice", "--config", DATA / folder, "--as", "maxtext", "--verify")
    same("run/0/items", "twice")


class Attention(nnx.Module):
    """The variables of tunix's tree, in modules of nnx."""

    def __init__(self, tree: Any):
        for key, value in tree.items():
            if key == "layers":
                layers = [Attention(value[str(number)]) for number in range(len(value))]
                self.layers = nnx.List(layers)
            else:
                nested = isinstance(value, dict)
                setattr(self, key, Attention(value) if nested else nnx.Param(jnp.asarray(value)))


def test_a_state_of_nnx(tmp_path: Path) -> None:
    """Both ways; Orbax restores what is written into the state of a module of nnx."""
    how = ms.Family(DATA / "qwen3", jax="tunix")
    tree = ms.load_checkpoint(DATA / "qwen3", like=how.abstract(), convention=how)
    state = nnx.state(Attention(tree))
    with ocp.PyTreeCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "state", state)
    convert("state", "hub", "--config", DATA / "qwen3", "--verify")
    same("hub", DATA / "qwen3")
    convert(DATA / "qwen3", "made", "--as", "tunix")
    with ocp.PyTreeCheckpointer() as checkpointer:
        restored = checkpointer.restore(tmp_path / "made", item=state)
    for a, b in zip(*map(jax.tree.leaves, (state, restored)), strict=True):
        np.testing.assert_array_equal(a, b)


def test_rank_files_and_back(capsys: Any) -> None:
    """The ranks' files merge to those of one file, and become Hugging Face's again."""
    convert(DATA / "qwen3", "one.ckpt", "--as", "mindformers-mcore")
    mesh = "x=2,y=2; linear_qkv=x; linear_fc2=,y; embeddings=x"
    convert(DATA / "qwen3", "ranks", "--as", "mindformers-mcore", "--to", mesh, "--verify")
    rank = ms.open_checkpoint("ranks/rank_3/rank3.ckpt")
    one = ms.open_checkpoint("one.ckpt")
    qkv = "decoder.layers.1.self_attention.linear_qkv.weight"
    assert rank.entries[qkv].shape[0] * 2 == one.entries[qkv].shape[0]
    merged = ms.load_checkpoint("ranks", strategy="ranks/strategy.ckpt")
    assert merged.keys() == set(one)
    for name in one:
        assert np.asarray(merged[name]).tobytes() == one[name].tobytes(), name
    options = ["--strategy", "ranks/strategy.ckpt", "--config", DATA / "qwen3"]
    convert("ranks", "hub", *options, "--verify")
    same("hub", DATA / "qwen3")
    convert("ranks", "tree", *options, "--as", "maxtext")
    convert(DATA / "qwen3", "right", "--as", "maxtext")
    same("tree", "right")
    assert "give their --strategy" in refused(capsys, "ranks", "new", *options[2:])
    assert "rank files already" in refused(
        capsys, DATA / "qwen3", "ranks", "--as", "mindformers-mcore", "--to", mesh
    )
    assert "is for rank files" in refused(
        capsys, DATA / "qwen3", "new", "--as", "maxtext", "--strategy", "ranks/strategy.ckpt"
    )


def test_nothing_is_left_of_rank_files_that_fail(tmp_path: Path, capsys: Any) -> None:
    tensors = {n: np.array(v) for n, v in ms.load_checkpoint(DATA / "qwen3").items()}
    tensors["model.norm.weight"][-1] = 1e30
    ms.save_checkpoint(tensors, "a.safetensors", format="safetensors")
    there = sorted(tmp_path.rglob("*"))
    args = ["--config", DATA / "qwen3", "--as", "mindformers-mcore", "--dtype", "float16"]
    for target, more in (("ranks", ["--to", "x=2; linear_qkv=x"]), ("a.ckpt", [])):
        assert "do not fit float16" in refused(capsys, "a.safetensors", target, *args, *more)
        assert [p for p in sorted(tmp_path.rglob("*")) if p.name != "ranks"] == there
    assert "no parameter has a name" in refused(
        capsys, DATA / "qwen3", "ranks", *args, "--to", "x=2; q_proj=x"
    )


# Dtypes


def test_scaled_values_are_rounded_once() -> None:
    """From a bfloat16 file float32 gets what is not yet rounded, through two maps, too."""
    config = DATA / "gemma3_bfloat16"
    convert(config, "wide.ckpt", "--as", "maxtext", "--dtype", "float32", "--no-scanned")
    how = ms.Family(config, jax="maxtext")
    wide = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, np.float32), how.abstract())
    exact = ms.load_checkpoint(config, like=wide, convention=how)
    found = ms.load_checkpoint("wide.ckpt")
    for leaf in names.named_leaves(exact):
        np.testing.assert_array_equal(found[leaf.name], leaf.value, err_msg=leaf.name)
    options = ["--config", config, "--from", "maxtext", "--as", "tunix"]
    convert("wide.ckpt", "tunix.ckpt", *options, "--dtype", "bfloat16", "--verify")
    convert(config, "right.ckpt", "--as", "tunix")
    same("tunix.ckpt", "right.ckpt")
    assert ms.load_checkpoint("tunix.ckpt")["final_norm.scale"].dtype == ml_dtypes.bfloat16


def test_the_bias_of_a_router_stays_float32(capsys: Any) -> None:
    config = DATA / "deepseek_v3"
    for target, stack, bias in (
        ("hub", "huggingface", "e_score_correction_bias"),
        ("a.ckpt", "mindformers-mcore", "router.expert_bias"),
        ("tree", "maxtext", "MoeBlock_0.gate.bias"),
    ):
        convert(config, target, "--as", stack, "--dtype", "bfloat16", "--verify")
        types = {n: e.type for n, e in ms.open_checkpoint(target).entries.items()}
        assert {t for n, t in types.items() if n.endswith(bias)} == {"Float32"}
        assert {t for n, t in types.items() if not n.endswith(bias)} == {"BFloat16"}
    told = json.loads(Path("hub/config.json").read_text())
    assert {told.get("dtype"), told.get("torch_dtype")} - {None} == {"bfloat16"}


@pytest.mark.parametrize(
    ("folder", "stack"),
    [("deepseek_v3", "mindformers-mcore"), ("gpt_oss", "maxtext"), ("gemma3", "levanter")],
)
def test_released_files(folder: str, stack: str) -> None:
    """Quantised tensors, towers and further modules; also by the index and the config alone."""
    released = DATA / "released" / folder
    convert(released, "a.ckpt", "--as", stack, "--verify")
    how = ms.Family(released, jax="huggingface")
    tree = ms.load_checkpoint(released, like=how.abstract(), convention=how)
    ms.save_checkpoint(tree, "plain", format="safetensors", max_shard_size="1GB", convention=how)
    convert("plain", "b.ckpt", "--as", stack, "--verify")
    left, right = (ms.load_checkpoint(name) for name in ("a.ckpt", "b.ckpt"))
    assert left.keys() == right.keys()
    for name, value in left.items():
        if value.dtype == right[name].dtype:  # the router's bias is cast to that of the tree
            assert value.tobytes() == right[name].tobytes(), name
    names = dict.fromkeys(ms.open_checkpoint(released), "model.safetensors")
    Path("index").mkdir()
    shutil.copy(released / "config.json", "index")
    text = json.dumps({"metadata": {}, "weight_map": names})
    Path("index/model.safetensors.index.json").write_text(text)
    if folder != "gemma3":  # whose names lie in those of a larger model
        plan = ms.plan_conversion("index", "a.ckpt", as_stack=stack)
        assert plan.by_config
        assert {n: p.shape for n, p in plan.target.items()} == {n: v.shape for n, v in left.items()}


# Plans


def test_a_plan_is_what_is_done(capsys: Any) -> None:
    args = [DATA / "mixtral", "hub", "--as", "mindformers", "--max-shard-size", "20KB"]
    convert(*args, "--plan", "--json")
    plan = json.loads(capsys.readouterr().out)
    assert not Path("hub").exists()
    convert(*args)
    index = json.loads(Path("hub/model.safetensors.index.json").read_text())
    file = ms.open_checkpoint("hub")
    assert {t["name"]: t["file"] for t in plan["tensors"]} == index["weight_map"]
    assert plan["files"] == len(set(index["weight_map"].values()))
    for tensor in plan["tensors"]:
        entry = file.entries[tensor["name"]]
        assert (tensor["dtype"], tuple(tensor["shape"])) == (entry.type, entry.shape)
    assert plan["target_bytes"] == index["metadata"]["total_size"]
    experts = next(t for t in plan["tensors"] if "ffn.w1" in t["name"])
    assert len(experts["of"]) == config_of("mixtral")["num_local_experts"]
    convert(*args, "--plan")
    short = capsys.readouterr().out.splitlines()
    convert(*args, "--plan", "--all")
    assert len(short) < len(capsys.readouterr().out.splitlines())
    assert any(line.startswith("... ") for line in short)


def test_a_plan_of_a_model_that_is_not_there(capsys: Any) -> None:
    """An index and a config are enough; without the option the missing file is an error."""
    Path("index").mkdir()
    for name in ("config.json", "model.safetensors.index.json"):
        shutil.copy(DATA / "llama" / name, "index")
    args = ["a.ckpt", "--as", "mindformers-concat", "--plan", "--json"]
    convert("index", *args)
    by_config = json.loads(capsys.readouterr().out)
    convert(DATA / "llama", *args)
    real = json.loads(capsys.readouterr().out)
    assert by_config.pop("dtypes_by_config")
    assert not real.pop("dtypes_by_config")
    assert by_config == real
    assert "is missing" in refused(capsys, "index", *args[:3])
    plan = ms.plan_conversion("index", "tree", as_stack="maxtext")
    assert "dtypes by config" in repr(plan)
    assert plan.target["params.params.decoder.layers.mlp.wi_0.kernel"].shape == (12, 3, 10)


# What is refused


def test_what_differs_is_told(capsys: Any) -> None:
    convert(DATA / "llama", "a.ckpt", "--as", "mindformers-concat")
    capsys.readouterr()
    tensors = {n: np.array(v) for n, v in ms.load_checkpoint("a.ckpt").items()}
    tensors["lm_head.weight"][3, 4] += 1
    tensors["model.norm_out.weight"] = tensors["model.norm_out.weight"].astype(np.float16)
    del tensors["model.layers.1.ffn_norm.weight"]
    tensors["more"] = np.ones(1, np.float32)
    ms.save_checkpoint(tensors, "a.ckpt")
    before = Path("a.ckpt").read_bytes()
    convert(DATA / "llama", "a.ckpt", "--as", "mindformers-concat", "--verify-only", status=1)
    out = capsys.readouterr().out
    assert "lm_head.weight: 1 element of 264 differ, the first at [3, 4]" in out
    assert "model.norm_out.weight: Float16[12], expected Float32[12]" in out
    assert "model.layers.1.ffn_norm.weight: is not in the target" in out
    assert "more: is in the target, and nothing becomes it" in out
    assert Path("a.ckpt").read_bytes() == before


def test_wrong_combinations(tmp_path: Path, capsys: Any) -> None:
    hub = DATA / "llama"
    convert(hub, "tree", "--as", "maxtext")
    ms.save_checkpoint({"a.b": np.ones(3, np.float32)}, "alien.ckpt")
    for args, message in (
        ([hub, "a.ckpt", "--from", "huggingface"], "whose names and layouts"),
        ([hub, "ranks", "--config", hub, "--to", "x=2"], "whose names and layouts"),
        ([hub, "a", "--as", "mindformers-mcore"], "has no mindformers-mcore"),
        ([hub, "a.ckpt", "--as", "mindformers", "--scanned"], "is for trees"),
        ([hub, "a", "--as", "tunix", "--scanned"], "does not stack"),
        (["tree", "a", "--as", "levanter"], "no config.json beside the source"),
        (["tree", "a", "--config", hub, "--from", "huggingface"], "not in the table"),
        (["alien.ckpt", "a", "--config", hub], "no names of llama"),
        (["alien.ckpt", "a", "--config", hub, "--from", "mindformers"], "no such name in the file"),
        ([hub, "tree", "--as", "maxtext"], "new directories only"),
        ([hub, "a.ckpt", "--as", "mindformers", "--json"], "go with --plan"),
        ([DATA / "llama3", "a", "--as", "maxtext"], "maxtext_model="),
        ([hub, "a.ckpt", "--as", "mindformers", "--max-shard-size", "1GB"], "name a folder"),
        ([hub, hub, "--as", "huggingface"], "the source itself"),
    ):
        there = sorted(tmp_path.rglob("*"))
        assert message in refused(capsys, *args), args
        assert sorted(tmp_path.rglob("*")) == there, args


def test_a_head_beside_a_tied_embedding(capsys: Any) -> None:
    config = Path("config.json")
    config.write_text(json.dumps(config_of("llama") | {"tie_word_embeddings": True}))
    args = [DATA / "llama", "a.ckpt", "--config", config, "--as", "mindformers"]
    assert "not in the table: lm_head.weight" in refused(capsys, *args)
    convert(*args, "--leave-out", "^lm_head", "--verify")
    assert "lm_head" in capsys.readouterr().err
    assert "lm_head.weight" not in ms.open_checkpoint("a.ckpt")


def test_the_name_of_a_job_tells_all_that_decides(tmp_path: Path) -> None:
    """A killed save may be continued only by one that writes the same bytes."""
    shutil.copytree(DATA / "llama", "hub")
    seen = set()

    def fresh(target: str = "a.ckpt", **options: Any) -> None:
        stacks = Stacks(target="maxtext" if target == "tree" else "mindformers", **options)
        how = Options(dtype="float16" if options.get("scan_axis") == 0 else None)
        file = ms.open_checkpoint("hub")
        name = convert_checkpoint.prepared(target, file, stacks, how).identity
        assert name == convert_checkpoint.prepared(target, file, stacks, how).identity
        assert name not in seen
        seen.add(name)

    fresh()
    fresh("b.safetensors")
    fresh("tree")
    fresh("tree", scanned=False)
    fresh("tree", maxtext_model="llama3.1-8b")
    fresh("tree", scan_axis=0)
    config = json.loads(Path("hub/config.json").read_text())
    Path("hub/config.json").write_text(json.dumps(config | {"rope_theta": 7.0}))
    fresh()
    os.utime("hub/model-00002-of-00004.safetensors", (1, 1))
    fresh()


def test_the_door_of_python(tmp_path: Path) -> None:
    ms.convert_checkpoint(
        DATA / "llama", "a.ckpt", as_stack="mindformers", enc_key=b"k" * 16, verify=True,
        choice_func=lambda name: "norm" in name,
    )  # fmt: skip
    assert set(ms.load_checkpoint("a.ckpt", dec_key=b"k" * 16)) == {
        "model.norm_out.weight",
        *(f"model.layers.{i}.{n}_norm.weight" for i in range(3) for n in ("attention", "ffn")),
    }
    _, tree = maxtext()
    with pytest.warns(UserWarning, match="opt_state, step"):
        ms.convert_checkpoint(
            saved_by_maxtext(tmp_path / "run", tree), "hub", config=config_of("llama")
        )
    assert json.loads(Path("hub/config.json").read_text()) == config_of("llama")
