"""Each limit that docs/limits.md tells of is shown: a test here fails when it is gone."""

from __future__ import annotations

import ast
import functools
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import msckpt_jax as ms
from msckpt_jax._protos import mind_ir_pb2
from msckpt_jax.api import jobs
from msckpt_jax.graph.meaning import reductions
from msckpt_jax.parallel import hosts
from tests.real import made_by_mindspore

ROOT = Path(__file__).parents[1]
KEY = bytes(16)
X = np.ones((2, 3), np.float32)


def spanning_arrays_are_not_encrypted(folder: Path) -> None:
    check = mock.Mock(side_effect=jobs.check_spanning)
    with (
        mock.patch.object(hosts, "needed", return_value=True),
        mock.patch.object(jobs, "check_spanning", check),
        pytest.raises(ValueError, match=r"cannot be encrypted.*msckpt convert --enc-key-file"),
    ):
        ms.save_checkpoint({"w": X}, folder / "a.ckpt", enc_key=KEY)  # fmt: skip
    check.assert_called_once()


def orbax_holds_no_empty_arrays(folder: Path) -> None:
    ms.save_checkpoint({"w": X[:0]}, folder / "a.ckpt")
    with pytest.raises(ms.CheckpointError, match="Orbax cannot save an array without elements"):
        ms.convert_checkpoint(folder / "a.ckpt", folder / "orbax")


@functools.cache
def told_by_mindspore() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ms.save_checkpoint({"w": X.astype(jnp.bfloat16)}, folder / "a.ckpt")
        made_by_mindspore(Path(__file__).with_name("limits_of_mindspore.py"), folder)
        return json.loads((folder / "told").read_text())


def bfloat16_of_mindspore_is_no_array(_: Path) -> None:
    told = told_by_mindspore()
    assert "bfloat16" in told["asnumpy"]
    assert told["bits"] == X.astype(jnp.bfloat16).tobytes().hex()
    assert told["as float32"] == X.tolist()


def kernels_of_mindspore_lose_numbers(_: Path) -> None:
    told = told_by_mindspore()
    assert (told["maximum"], told["exponential"]) == (1.0, 0.0)  # of NaN and 1; of -100: 4e-44


def top_k_of_mindspore_takes_any_of_equals(_: Path) -> None:
    _, ours = reductions.TABLE["TopK"](jnp.zeros(24000), 300)
    assert ours.tolist() == [*range(300)]
    assert len(set(told_by_mindspore()["places"]) - set(range(300))) > 0


def files_have_no_constraints(folder: Path) -> None:
    spec = ms.TensorSpec(("s", 3), "float32")
    done = ms.export(lambda x: x + 1, spec, file_name=folder / "a", constraints=["s >= 4"])
    assert ms.load(done.file)(X).shape == (2, 3)  # though 2 is less than 4


def onnx_has_no_decompositions_of_dynamic_sizes(folder: Path) -> None:
    def export(x: Any) -> ms.Exported:
        return ms.export(lambda x: jnp.linalg.cholesky(x), x, file_name=folder / "b",
                         file_format="ONNX", engine="native")  # fmt: skip

    assert export(np.eye(3, dtype=np.float32)).graph is not None
    with pytest.raises(ms.ExportError, match="Cholesky: has no row"):
        export(ms.TensorSpec(("s", "s"), "float32"))


def a_dynamic_rank_is_refused(folder: Path) -> None:
    file = ms.export(lambda x: x + 1, X, file_name=folder / "a").file
    model = mind_ir_pb2.ModelProto.FromString(file.read_bytes())
    model.graph.input[0].tensor[0].ClearField("dims")
    model.graph.input[0].tensor[0].dims.append(-2)
    file.write_bytes(model.SerializeToString())
    with pytest.raises(
        ms.MindIRError, match=r"neither dtype nor rank.*Tensor\(shape=\[None, None\]"
    ):
        ms.load(file)(X)


def what_an_export_refuses(folder: Path) -> None:
    for function, words in (
        (lambda x: x[x > 0], "boolean"),
        (lambda x: jax.pure_callback(np.sin, x, x), "Python code computes its results"),
        (lambda x: jax.lax.mulhi(x.astype(int), x.astype(int)), "mulhi: no rule for it"),
    ):
        with pytest.raises(ms.ExportError, match=words):
            ms.export(function, X, file_name=folder / "a")
    assert not [*folder.iterdir()]


def files_by_other_ciphers_are_not_authenticated(folder: Path) -> None:
    path = folder / "a.ckpt"
    tree = {"w": np.zeros(1000, np.float32)}
    for mode, is_noticed in (("AES-GCM", True), ("AES-CBC", False)):
        ms.save_checkpoint(tree, path, enc_key=KEY, enc_mode=mode)
        content = bytearray(path.read_bytes())
        content[-1000] ^= 1
        path.write_bytes(content)
        load = ms.open_checkpoint
        if is_noticed:
            with pytest.raises(ms.CheckpointError, match="wrong key, or the block is damaged"):
                load(path, KEY, mode)
        else:
            assert load(path, KEY, mode)["w"].any()


def an_older_version_is_not_told(folder: Path) -> None:
    path = folder / "a.ckpt"
    ms.save_checkpoint({"w": X}, path, enc_key=KEY)
    older = path.read_bytes()
    ms.save_checkpoint({"w": X + 1}, path, enc_key=KEY)
    path.write_bytes(older)
    assert (ms.open_checkpoint(path, KEY)["w"] == 1).all()


def what_is_not_here(folder: Path) -> None:
    assert not hasattr(ms, "obfuscate_ckpt")
    with pytest.raises(TypeError, match="no model format has an option 'incremental'"):
        ms.export(lambda x: x, X, file_name=folder / "a", incremental=True)


#: Words of a limit, and what shows it.
SHOWN: dict[str, Callable[[Path], None]] = {
    "saved without encryption": spanning_arrays_are_not_encrypted,
    "no arrays without elements": orbax_holds_no_empty_arrays,
    "cannot turn bfloat16 into NumPy": bfloat16_of_mindspore_is_no_array,
    "no constraints of dynamic sizes": files_have_no_constraints,
    "decompositions of matrices no dynamic size": onnx_has_no_decompositions_of_dynamic_sizes,
    "dynamic rank": a_dynamic_rank_is_refused,
    "What an export refuses": what_an_export_refuses,
    "kernels on a CPU lose": kernels_of_mindspore_lose_numbers,
    "takes any of equal elements": top_k_of_mindspore_takes_any_of_equals,
    "authenticated by AES-GCM only": files_by_other_ciphers_are_not_authenticated,
    "older versions of them": an_older_version_is_not_told,
    "are not here": what_is_not_here,
}
#: Words of a limit, and the test elsewhere that shows it.
ELSEWHERE = {
    "on local disks and `gs://` only": "tests/stores/test_errors.py::test_orbax_knows_no_s3",
    "Prints and other effects": "tests/lowering/test_side_effects.py::test_it_is_left_out",
    "of a network in MindSpore": (
        "tests/mindir/test_reader_networks.py::test_an_error_of_the_network_is_told"
    ),
    "GPTQ, AWQ and bitsandbytes": "tests/families/test_released.py::test_wrong_configs",
}
#: Words of what no test can show here: other systems, compilers, chips and stores.
UNSHOWN = (
    "Linux and macOS; Windows",
    "have not been compiled by `atc`",
    "Object stores have no locks",
)


@pytest.mark.parametrize("words", SHOWN)
def test_a_limit_is_there(words: str, tmp_path: Path) -> None:
    SHOWN[words](tmp_path)


def test_all_limits_are_shown() -> None:
    page = " ".join((ROOT / "docs/limits.md").read_text().split())
    known = (*SHOWN, *ELSEWHERE, *UNSHOWN)
    assert [words for words in known if words not in page] == []
    limits = page.split(" - ")[1:]
    assert [limit for limit in limits if not any(words in limit for words in known)] == []


@pytest.mark.parametrize("place", ELSEWHERE.values())
def test_a_test_elsewhere_is_there(place: str) -> None:
    file, _, name = place.partition("::")
    body = ast.parse((ROOT / file).read_text()).body
    assert name in {node.name for node in body if isinstance(node, ast.FunctionDef)}
