"""Every door that takes a path takes one of a store, and does there what it does in a folder."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import msckpt_jax as ms
from tests.stores.server import Server

W = np.arange(64, dtype=np.float32).reshape(16, 4)
CONFIG = {
    "model_type": "llama", "vocab_size": 8, "hidden_size": 4, "num_hidden_layers": 2,
    "num_attention_heads": 2, "intermediate_size": 6,
}  # fmt: skip


def sharded() -> dict[str, Any]:
    mesh = jax.make_mesh((2, 4), ("x", "y"))
    return {"w": jax.device_put(W, jax.NamedSharding(mesh, jax.P("x"))), "b": np.ones(3, "f4")}


class Doors:
    """The public functions, of which it notes the parameters that got a path below ``base``."""

    def __init__(self, base: str):
        self.base = base
        self.used: set[str] = set()

    def __truediv__(self, name: str) -> str:
        return f"{self.base}/{name}"

    def __getattr__(self, name: str) -> Callable[..., Any]:
        function = getattr(ms, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            given = inspect.signature(function).bind(*args, **kwargs).arguments
            self.used |= {f"{name}.{key}" for key, value in given.items() if self._is_path(value)}
            return function(*args, **kwargs)

        return call

    def _is_path(self, value: Any) -> bool:
        values = value.values() if isinstance(value, dict) else value
        some = [values] if isinstance(values, str) else values if _is_plain(values) else ()
        return any(isinstance(text, str) and text.startswith(self.base) for text in some)


def _is_plain(values: Any) -> bool:
    return isinstance(values, list) or type(values).__name__ == "dict_values"


def file(do: Doors) -> Any:
    do.save_checkpoint({"w": W, "note": "warm"}, do / "net.ckpt", crc_check=True)
    found = do.load_checkpoint_async(do / "net.ckpt", crc_check=True).result()
    again = do.load_checkpoint(do / "net.ckpt", like={"w": jnp.zeros(W.shape)})
    handle = do.CheckpointFile(do / "net.ckpt")
    piece = do.open_checkpoint(do / "net.ckpt").get_slice("w")[2:4, 1]
    return found["w"], found["note"], again["w"], handle.names, piece


def replaced(do: Doors) -> Any:
    do.save_checkpoint({"v": W}, do / "net.ckpt", enc_key=bytes(16))
    do.save_checkpoint({"w": W}, do / "net.ckpt", async_save=True).result()
    return [*ms.load_checkpoint(do / "net.ckpt")]


def folder(do: Doors) -> Any:
    for size in (100, 10_000, 150):  # three files with an index, one alone, two
        do.save_checkpoint(sharded(), do / "hub", format="safetensors", max_shard_size=size)
    return do.load_checkpoint(do / "hub")["w"], ms.open_checkpoint(do / "hub").problems


def segmented(do: Doors) -> Any:
    do.save_checkpoint({"a": W}, do / "1.ckpt")
    do.save_checkpoint({"b": W}, do / "2.ckpt")
    return do.load_segmented_checkpoints(do.base)


def ranks(do: Doors) -> Any:
    do.save_checkpoint(sharded(), do / "r/net.ckpt", False, strategy_file=do / "s.ckpt")
    loaded = do.load_checkpoint(do / "r", strategy=do / "s.ckpt")["w"]
    files = {rank: do / f"r/rank_{rank}/net.ckpt" for rank in range(8)}
    return (
        loaded,
        do.MergedCheckpoint(files, do / "s.ckpt")["w"],
        do.rank_list_for_transform(0, do / "s.ckpt", do / "s.ckpt"),
        do.build_searched_strategy(do / "s.ckpt"),
        repr(do.plan_transform(do / "r", do / "s.ckpt", do / "s.ckpt")),
    )


def transformed(do: Doors) -> Any:
    do.save_checkpoint(sharded(), do / "r/net.ckpt", integrated_save=False)
    strategy = do / "r/strategy.ckpt"
    do.transform_checkpoints(do / "r", do / "new", "net", strategy, strategy)
    do.transform_checkpoints(do / "new", do / "one", "net", src_strategy_file=strategy)
    files = {rank: do / f"r/rank_{rank}/net.ckpt" for rank in range(8)}
    do.transform_checkpoint_by_rank(3, files, do / "3.ckpt", strategy, strategy)
    do.unified_safetensors(do / "new", strategy, do / "unified")
    do.unified_safetensors(do / "new", strategy, do / "unified")  # over an older one
    return (
        ms.load_checkpoint(do / "one/rank_0/net0.ckpt")["w"],
        ms.load_checkpoint(do / "3.ckpt")["w"],
        ms.load_checkpoint(do / "unified")["w"],
    )


def stages(do: Doors) -> Any:
    do.save_checkpoint(sharded(), do / "net.ckpt", False, strategy_file=do / "stages/a.ckpt")
    do.merge_pipeline_strategys(do / "stages", do / "joined.ckpt")
    return do.build_searched_strategy(do / "joined.ckpt")


def distributed(do: Doors) -> Any:
    do.save_checkpoint(sharded(), do / "net", False, format="safetensors")
    strategy = do / "strategy.ckpt"
    files = [do / f"rank_{rank}/net.safetensors" for rank in range(8)]
    how = {"predict_strategy": strategy, "train_strategy_filename": strategy}
    do.load_distributed_checkpoint(None, files, **how, dst_safetensors_dir=do / "new")
    do.unified_safetensors(do.base, strategy, do / "unified")
    unified = {"format": "safetensors", "unified_safetensors_dir": do / "unified"}
    return (
        ms.load_checkpoint(do / "new/rank_7/net.safetensors")["w"],
        do.load_distributed_checkpoint(None, **unified, return_param_dict=True)["w"],
    )


def formats(do: Doors) -> Any:
    do.save_checkpoint({"w": W}, do / "net.ckpt")
    do.ckpt_to_safetensors(do / "net.ckpt", do / "a")
    do.safetensors_to_ckpt(do / "a/net.safetensors", do / "b")
    do.save_checkpoint({"w": W}, do / "r/rank_0/net.ckpt")
    do.ckpt_to_safetensors(do / "r")
    return ms.load_checkpoint(do / "b/net.ckpt")["w"], ms.load_checkpoint(do / "r/rank_0")["w"]


def converted(do: Doors) -> Any:
    family = ms.Family(CONFIG, jax="maxtext")
    tree = jax.tree.map(lambda x: jnp.ones(x.shape), family.abstract(scanned=True))
    do.save_checkpoint(tree, do / "tree.ckpt")
    do.convert_checkpoint(do / "tree.ckpt", do / "hub", config=CONFIG, from_stack="maxtext",
                          max_shard_size=500)  # fmt: skip
    config = do / "hub/config.json"
    do.convert_checkpoint(do / "hub", do / "mf.ckpt", config=config, verify=True,
                          as_stack="mindformers-concat")  # fmt: skip
    plan = do.plan_conversion(do / "hub", do / "mf.ckpt", config=do / "hub",
                              as_stack="mindformers-concat")  # fmt: skip
    lines = [line.replace(do.base, "") for line in plan.lines(everything=True)]
    shapes = jax.tree.map(lambda leaf: leaf.shape, do.Family(do / "hub", jax="tunix").abstract())
    return str(shapes), ms.open_checkpoint(do / "mf.ckpt").names, lines


def converted_ranks(do: Doors) -> Any:
    do.save_checkpoint({"w": W}, do / "net.ckpt")
    do.convert_checkpoint(do / "net.ckpt", do / "k", to="x=2; w=x", verify=True)
    strategy = do / "k/strategy.ckpt"
    do.convert_checkpoint(do / "k", do / "q", strategy=strategy, to=strategy, verify=True)
    do.plan_conversion(do / "k", do / "q", strategy=strategy, to=strategy)
    return ms.load_checkpoint(do / "q", strategy=strategy)["w"]


def adapter(do: Doors) -> Any:
    family = ms.Family(CONFIG, jax="tunix", lora_alpha=16.0)
    tree = {"layers": [{"mlp": {"up_proj": {
        "kernel_lora_a": jnp.ones((4, 2)), "kernel_lora_b": jnp.ones((2, 6)),
    }}}]}  # fmt: skip
    do.save_adapter(tree, do / "adapter", family)
    like = jax.tree.map(jnp.zeros_like, tree)
    return jax.tree.leaves(do.load_adapter(do / "adapter", like, family))


def training(do: Doors) -> Any:
    config = ms.CheckpointConfig(2, keep_checkpoint_max=2, async_save=True)
    for _ in range(2):
        with do.ModelCheckpoint("net", do / "run", config, batches_per_epoch=4) as checkpoint:
            for number in range(9):
                checkpoint.step({"w": np.full(3, number, np.float32)})
    latest = do.latest_checkpoint(do / "run", "net")
    found = do.resume(do / "run", {"w": jnp.zeros(3)}, "net")
    return latest.removeprefix(do.base), found.state["w"], found.epoch, found.step


def training_ranks(do: Doors) -> Any:
    config = ms.CheckpointConfig(2, keep_checkpoint_max=1, integrated_save=False)
    with do.ModelCheckpoint("net", do / "run", config) as checkpoint:
        for number in range(3):
            checkpoint.step(jax.tree.map(lambda x, n=number: x + n, sharded()))
    found = do.resume(do / "run", sharded(), strategy=do / "run/net_strategy.ckpt")
    return found.state["w"], found.step


def models(do: Doors) -> Any:
    net = (lambda p, x: x @ p["w"]), {"w": jnp.asarray(W)}
    out = []
    for name, ending in (("MINDIR", "mindir"), ("AIR", "air"), ("ONNX", "onnx")):
        for split in (None, 0, 0):  # once more, in place of the older one
            how = {"file_format": name, "split_bytes": split, "verify": name != "MINDIR"}
            made = do.export(net, jnp.ones((1, 16)), file_name=do / f"{split}/net", **how)
            out += [str(made.file).removeprefix(do.base), made.difference]
            if ending != "onnx":
                out.append(do.load(str(made.file))(jnp.ones((2, 16))))
    return out


def group_info(do: Doors) -> Any:
    from msckpt_jax.checkpoint import atomic, paths

    path = do / "group_info.pb"
    atomic.write(paths.path_of(path), bytes([0x12, 6, 8, 0, 8, 2, 8, 5]))
    return do.restore_group_info_list(path)


#: The cases, and the parameters that get a path in each.
CASES: dict[Callable[[Doors], Any], str] = {
    file: "save_checkpoint.ckpt_file_name load_checkpoint_async.ckpt_file_name "
    "load_checkpoint.ckpt_file_name CheckpointFile.ckpt_file_name open_checkpoint.ckpt_file_name",
    replaced: "save_checkpoint.ckpt_file_name",
    folder: "save_checkpoint.ckpt_file_name load_checkpoint.ckpt_file_name",
    segmented: "save_checkpoint.ckpt_file_name load_segmented_checkpoints.ckpt_file_dir",
    ranks: "save_checkpoint.ckpt_file_name save_checkpoint.strategy_file load_checkpoint.strategy "
    "load_checkpoint.ckpt_file_name MergedCheckpoint.files MergedCheckpoint.strategy_file "
    "rank_list_for_transform.src_strategy_file rank_list_for_transform.dst_strategy_file "
    "build_searched_strategy.strategy_filename plan_transform.src_checkpoints_dir "
    "plan_transform.src_strategy_file plan_transform.dst_strategy_file",
    transformed: "save_checkpoint.ckpt_file_name transform_checkpoints.src_checkpoints_dir "
    "transform_checkpoints.dst_checkpoints_dir transform_checkpoints.src_strategy_file "
    "transform_checkpoints.dst_strategy_file transform_checkpoint_by_rank.checkpoint_files_map "
    "transform_checkpoint_by_rank.save_checkpoint_file_name unified_safetensors.src_dir "
    "transform_checkpoint_by_rank.src_strategy_file unified_safetensors.src_strategy_file "
    "transform_checkpoint_by_rank.dst_strategy_file unified_safetensors.dst_dir",
    stages: "save_checkpoint.ckpt_file_name save_checkpoint.strategy_file "
    "merge_pipeline_strategys.src_strategy_dirs merge_pipeline_strategys.dst_strategy_file "
    "build_searched_strategy.strategy_filename",
    distributed: "save_checkpoint.ckpt_file_name load_distributed_checkpoint.checkpoint_filenames "
    "load_distributed_checkpoint.predict_strategy unified_safetensors.src_dir "
    "load_distributed_checkpoint.train_strategy_filename unified_safetensors.src_strategy_file "
    "load_distributed_checkpoint.dst_safetensors_dir unified_safetensors.dst_dir "
    "load_distributed_checkpoint.unified_safetensors_dir",
    formats: "save_checkpoint.ckpt_file_name ckpt_to_safetensors.file_path "
    "ckpt_to_safetensors.save_path safetensors_to_ckpt.file_path safetensors_to_ckpt.save_path",
    converted: "save_checkpoint.ckpt_file_name convert_checkpoint.src convert_checkpoint.dst "
    "convert_checkpoint.config plan_conversion.src plan_conversion.dst plan_conversion.config "
    "Family.config",
    converted_ranks: "save_checkpoint.ckpt_file_name convert_checkpoint.src convert_checkpoint.dst "
    "convert_checkpoint.strategy convert_checkpoint.to plan_conversion.src plan_conversion.dst "
    "plan_conversion.strategy plan_conversion.to",
    adapter: "save_adapter.folder load_adapter.folder",
    training: "ModelCheckpoint.directory latest_checkpoint.directory resume.directory",
    training_ranks: "ModelCheckpoint.directory resume.directory resume.strategy",
    models: "export.file_name load.file_name",
    group_info: "restore_group_info_list.group_info_file_name",
}
#: Parameters that name a path without a case here, and why.
SPARED = {
    "ModelCheckpoint.local": "a folder of the machine's own, of which a store is refused",
    "resume.local": "as ModelCheckpoint.local",
    "Family.table": "read as Family.config is",
    "convert_checkpoint.table": "read as Family.config is",
    "plan_conversion.table": "read as Family.config is",
}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
@pytest.mark.filterwarnings("ignore:strings are left out")
def test_a_store_does_what_a_folder_does(
    case: Callable[[Doors], Any],
    server: Server,
    bucket: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    here, there = tmp_path / "here", tmp_path / "local"
    here.mkdir()
    for name in ("", "r/rank_0", "stages", "None", "0"):  # a store needs no folders
        (there / name).mkdir(parents=True, exist_ok=True)
    monkeypatch.chdir(here)
    local, store = Doors(str(there)), Doors(f"{bucket}/a/b")
    wanted, got = case(local), case(store)
    assert store.used == local.used == {*CASES[case].split()}
    assert jax.tree.structure(got) == jax.tree.structure(wanted)
    for have, want in zip(jax.tree.leaves(got), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_array_equal(have, want)
    files = {path.relative_to(there).as_posix() for path in there.rglob("*") if path.is_file()}
    assert set(server.keys(bucket[5:])) == {f"a/b/{name}" for name in files}
    assert server.uploads(bucket[5:]) == []
    assert [*here.iterdir()] == []  # such as a folder called "s3:"


def path_parameters() -> Iterator[str]:
    """Yield the parameters of public functions and classes that take a path."""
    for name in filter(lambda name: callable(getattr(ms, name)), ms.__all__):
        function: Any = getattr(ms, name)
        try:
            signature = inspect.signature(function)
        except ValueError:  # a class without one
            continue
        for key, parameter in signature.parameters.items():
            kind = str(parameter.annotation)
            is_config = key == "config" and kind == "Any"
            if is_config or any(word in kind for word in ("PathLike", "StrategyLike")):
                yield f"{name}.{key}"


def test_every_parameter_that_takes_a_path_has_a_case() -> None:
    covered = {parameter for text in CASES.values() for parameter in text.split()}
    assert {*path_parameters()} == covered | {*SPARED}
