"""What the cases are exported to: how a file is written, and who runs it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import onnx

from msckpt_jax.air import check, file
from msckpt_jax.air.target import open_model
from msckpt_jax.api.export import export
from msckpt_jax.lowering.exactness import Precision
from msckpt_jax.mindir import runner as mindspore
from msckpt_jax.onnx import runner as onnxruntime
from tests.peer.cases import Case, widened


class Exported(NamedTuple):
    """A case, its file, its inputs, JAX's results, and their precisions."""

    case: Case
    file: Path
    inputs: list[np.ndarray]
    expected: list[np.ndarray]
    due: list[Precision]


#: The outcomes of cases, each of at most some seconds.
Judge = Callable[[Sequence[Exported], int], Sequence[mindspore.Outcome]]


class Target(NamedTuple):
    """``write(function, inputs, path)``; ``judge`` gives the judge while it is open.

    ``known`` names the cases where what runs the file is worse than what is allowed, and why.
    """

    title: str
    write: Callable[[Callable[..., Any], Sequence[np.ndarray], Path], Path]
    judge: Callable[[], contextlib.AbstractContextManager[Judge]]
    known: Mapping[str, str] = {}


@contextlib.contextmanager
def _mindspore() -> Iterator[Judge]:
    with mindspore.MindSpore() as process:
        yield lambda cases, seconds: process.run(
            [mindspore.Case(case.file, [case.inputs]) for case in cases], seconds
        )


def _here(run: Callable[[Exported], list[np.ndarray]]) -> Any:
    """A judge in this process."""

    def outcome(case: Exported) -> mindspore.Outcome:
        try:
            return mindspore.Outcome([run(case)])
        except Exception as error:  # whatever it is, it is the case's result
            return mindspore.Outcome([], f"{type(error).__name__}: {error}")

    return contextlib.nullcontext(lambda cases, _: list(map(outcome, cases)))


def _by_onnxruntime(case: Exported) -> list[np.ndarray]:
    """Complex results are pairs in the file."""
    onnx.checker.check_model(str(case.file), full_check=True)
    found = onnxruntime.session(case.file)(*case.inputs)
    return [
        x.view(np.result_type(x.dtype, np.complex64))[..., 0] if want.dtype.kind == "c" else x
        for x, want in zip(found, case.expected, strict=True)
    ]


def _by_definition(case: Exported) -> list[np.ndarray]:
    """By what GE's operators mean, if the loader's rules hold."""
    faults = [found for found in check.check(file.read(case.file)) if found.fault]
    if faults:
        raise ValueError(f"check finds {faults[0]}")
    with widened(case.case), jax.default_matmul_precision("float32"):
        results = jax.jit(open_model(case.file, strict=True))(*case.inputs)
        return [np.asarray(x) for x in jax.tree.leaves(results)]


def _write(
    function: Callable[..., Any], inputs: Sequence[np.ndarray], path: Path, **arguments: Any
) -> Path:
    """In the mode that its modules are in: the cases say which numbers they want."""
    return export(function, *inputs, file_name=path, durable=False, training=True, **arguments).file


def _write_by_jax2onnx(
    function: Callable[..., Any], inputs: Sequence[np.ndarray], path: Path
) -> Path:
    """What jax2onnx makes of it without us."""
    import jax2onnx

    shapes: list[Any] = [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in inputs]
    double = bool(jax.config.jax_enable_x64)  # pyright: ignore[reportAttributeAccessIssue]
    file = path.with_suffix(".onnx")
    jax2onnx.to_onnx(
        function, shapes, return_mode="file", output_path=str(file), enable_double_precision=double
    )
    return file


def _onnx(title: str, engine: str) -> Target:
    write = partial(_write, file_format="ONNX", engine=engine)
    return Target(title, write, partial(_here, _by_onnxruntime))


TARGETS = {
    "mindir": Target("MindIR and real MindSpore", _write, _mindspore),
    "air": Target(
        "AIR and the definitions of GE's operators",
        partial(_write, file_format="AIR"),
        partial(_here, _by_definition),
    ),
    "onnx": _onnx('ONNX (`engine="auto"`) and onnxruntime', "auto"),
    "onnx-native": _onnx('ONNX (`engine="native"`) and onnxruntime', "native"),
    "jax2onnx": Target(
        "ONNX by jax2onnx alone and onnxruntime",
        _write_by_jax2onnx,
        partial(_here, _by_onnxruntime),
    ),
}
