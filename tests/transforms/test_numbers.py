"""Every transform gives MindSpore's bits, on every dtype, rank and size that MindSpore takes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import msckpt_jax.transforms as ours
from msckpt_jax.errors import TransformError
from tests.transforms import cases, oracle


@pytest.fixture(scope="module")
def inputs() -> dict[str, np.ndarray]:
    return cases.inputs()


@pytest.fixture(scope="module")
def theirs(tmp_path_factory, inputs) -> Path:
    folder: Path = tmp_path_factory.mktemp("transforms")
    jobs = {"runs": cases.jobs(), "constructions": cases.ARGUMENTS}
    oracle.ask("transforms", folder, inputs, jobs)
    return folder


@pytest.fixture(scope="module")
def answers(theirs) -> dict[tuple[str, str], np.ndarray]:
    with np.load(theirs / "answers.npz") as file:
        return {job: file[str(i)] for i, job in enumerate(cases.jobs()) if str(i) in file}


@pytest.mark.parametrize("name", sorted({e.split("(")[0] for e, _ in cases.jobs()}))
def test_bits_of_mindspore(name, inputs, answers) -> None:
    compared = 0
    wrong = []
    for expression, source in cases.jobs():
        if expression.split("(")[0] != name:
            continue
        job = expression, source
        transform = eval(expression, vars(ours))
        try:
            found = transform(inputs[source])
        except (TransformError, TypeError) as error:
            if job in answers and not refused(expression, inputs[source]):
                wrong.append((job, f"refused: {error}"))
            continue
        if job not in answers:
            wrong.append((job, "MindSpore refuses it"))
            continue
        expected = answers[job]
        compared += 1
        if (found.dtype, found.shape) != (expected.dtype, expected.shape):
            wrong.append((job, found.dtype, found.shape, expected.dtype, expected.shape))
        elif found.tobytes() != expected.tobytes():
            wrong.append((job, np.abs(found.astype(float) - expected.astype(float)).max()))
    assert not wrong, (len(wrong), wrong[:10])
    assert compared


def refused(expression: str, image: np.ndarray) -> bool:
    """MindSpore's result is uninitialised memory there: PILCUBIC interpolates uint8 only."""
    return "PILCUBIC" in expression and image.dtype != np.uint8


def test_constructors_accept_and_refuse_what_mindspores_do(theirs) -> None:
    expected = json.loads((theirs / "constructed.json").read_text())
    found = {}
    for expression in cases.ARGUMENTS:
        try:
            eval(expression, {**vars(ours), "np": np})
            found[expression] = None
        except (TypeError, ValueError) as error:
            found[expression] = type(error).__name__
    assert found == expected
