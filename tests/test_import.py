"""``import msckpt_jax`` is fast: nothing heavy is imported before it is used."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import msckpt_jax
from msckpt_jax.cli import COMMANDS

HEAVY = ["jax", "flax", "onnx", "jax2onnx", "orbax", "numpy", "google.protobuf", "rich"]


def modules_after(program: str) -> list[str]:
    code = f"{program}\nimport json, sys\nprint(json.dumps(list(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return json.loads(out.stdout.splitlines()[-1])


def test_import_is_light() -> None:
    assert not set(HEAVY) & set(modules_after("import msckpt_jax"))


def test_saving_imports_no_protobuf_of_ours() -> None:
    program = """
import numpy as np, io
import msckpt_jax as ms
ms.save_checkpoint({"w": np.ones(2)}, io.BytesIO())
ms.load_checkpoint
"""
    found = modules_after(program)
    assert not {"onnx", "jax2onnx", "flax", "orbax"} & set(found)
    assert not [m for m in found if m.endswith("_pb2")]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_waits_for_no_jax(command: str) -> None:
    program = f"""
import msckpt_jax.cli
assert msckpt_jax.cli.main(["{command}", "--help"]) == 0
print()"""
    assert not {"jax", "flax", "onnx", "scipy", "orbax"} & set(modules_after(program))


def test_public_names() -> None:
    for name in ("save_checkpoint", "load_checkpoint", "load_param_into_net", "open_checkpoint"):
        assert name in dir(msckpt_jax)
        assert callable(getattr(msckpt_jax, name))
    assert not hasattr(msckpt_jax, "no_such_thing")
    assert [name for name in dir(msckpt_jax) if name[0] != "_"] == sorted(msckpt_jax.__all__)


def test_packages_are_attributes() -> None:
    program = """
import msckpt_jax as ms
print(ms.transforms.HWC2CHW.__name__, ms.networks.resnet.__name__, ms.interop.orbax.__name__)
assert not hasattr(ms.networks, "no_such_thing") and not hasattr(ms.interop, "no_such_thing")
"""
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    names = ["HWC2CHW", "msckpt_jax.networks.resnet", "msckpt_jax.interop.orbax"]
    assert done.stdout.split() == names


def test_packages_name_all_their_modules() -> None:
    for package in (msckpt_jax.networks, msckpt_jax.interop):
        (folder,) = package.__path__
        modules = {path.stem for path in Path(folder).glob("*.py")} - {"__init__"}
        assert set(package.__all__) == modules
