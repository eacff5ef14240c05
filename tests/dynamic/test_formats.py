"""One file for all sizes: JAX's numbers in MindSpore, onnxruntime and by GE's operators."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import jax
import numpy as np
import onnx
import pytest
from flax import nnx

import msckpt_jax as ms
from msckpt_jax.air import target as air
from msckpt_jax.lowering.trials import compare
from msckpt_jax.mindir import runner
from msckpt_jax.onnx import runner as onnxruntime
from tests.dynamic.cases import CASES
from tests.oracle.conftest import runs as runs

#: The results at each of three sizes, by the name of the case.
Results: TypeAlias = dict[str, list[list[np.ndarray]]]


#: Each compiled function runs once.
QUICKLY = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


@pytest.fixture(scope="module")
def expected() -> Results:
    return together({name: case.function for name, case in CASES.items()})


def together(functions: dict[str, Callable[..., Any]]) -> Results:
    """The results of all functions; those that can be are compiled as one."""
    alone = {name: f for name, f in functions.items() if isinstance(f, nnx.Module)}
    rest = {name: f for name, f in functions.items() if name not in alone}
    joint = jax.jit(
        lambda calls: {name: rest[name](*call) for name, call in calls.items()},
        compiler_options=QUICKLY,
    )
    out: Results = {name: [] for name in functions}
    for at in range(3):
        calls = {name: CASES[name].arguments(CASES[name].sizes[at]) for name in functions}
        found = joint({name: calls[name] for name in rest})
        found |= {name: f(*map(jax.numpy.asarray, calls[name])) for name, f in alone.items()}
        for name, results in found.items():
            out[name].append([np.asarray(x) for x in jax.tree.leaves(results)])
    return out


def exported(folder: Path, file_format: str) -> dict[str, Path]:
    options: Any = {"engine": "native"} if file_format == "ONNX" else {}
    return {
        name: ms.export(
            case.function, *case.specs(), file_name=folder / f"{number}", durable=False,
            file_format=file_format, constraints=case.constraints, **options,
        ).file
        for number, (name, case) in enumerate(CASES.items())
    }  # fmt: skip


@pytest.fixture(scope="module")
def in_mindspore(runs: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """MindSpore's outcome of each case: one cell, told which sizes are dynamic, and three calls."""
    files = exported(tmp_path_factory.mktemp("mindir"), "MINDIR")
    asked = [
        runner.Case(
            files[name],
            [case.arguments(sizes) for sizes in case.sizes],
            shapes=[[d if isinstance(d, int) else None for d in s.shape] for s in case.specs()],
        )
        for name, case in CASES.items()
    ]
    return dict(zip(CASES, runs(asked), strict=True))


@pytest.fixture(scope="module")
def onnx_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return exported(tmp_path_factory.mktemp("onnx"), "ONNX")


@pytest.fixture(scope="module")
def by_ge(tmp_path_factory: pytest.TempPathFactory) -> Results:
    files = exported(tmp_path_factory.mktemp("air"), "AIR")
    functions: Any = {name: air.open_model(file, strict=True) for name, file in files.items()}
    with jax.enable_x64(True):
        return together({name: jax.tree_util.Partial(f) for name, f in functions.items()})


def check(name: str, have: Sequence[Sequence[np.ndarray]], expected: Results) -> None:
    for sizes, want, results in zip(CASES[name].sizes, expected[name], have, strict=True):
        compare(Path(name), want, list(results), str(sizes))


@pytest.mark.parametrize("name", CASES)
def test_mindir(name: str, in_mindspore: dict[str, Any], expected: Results) -> None:
    outcome = in_mindspore[name]
    assert not outcome.error
    check(name, outcome.results, expected)


@pytest.mark.parametrize("name", CASES)
def test_onnx(name: str, onnx_files: dict[str, Path], expected: Results) -> None:
    file, case = onnx_files[name], CASES[name]
    onnx.checker.check_model(str(file), full_check=True)
    inputs = onnx.load(file).graph.input
    dims = [[d.dim_param or d.dim_value for d in i.type.tensor_type.shape.dim] for i in inputs]
    assert name == "equal sizes" or dims == [list(texts(spec.shape)) for spec in case.specs()]
    run = onnxruntime.session(file)
    check(name, [run(*case.arguments(sizes)) for sizes in case.sizes], expected)


def texts(shape: Sequence[Any]) -> list[int | str]:
    """The sizes as JAX writes them."""
    return [str(*jax.export.symbolic_shape(d)) if isinstance(d, str) else d for d in shape]


@pytest.mark.parametrize("name", CASES)
def test_air(name: str, by_ge: Results, expected: Results) -> None:
    check(name, by_ge[name], expected)
