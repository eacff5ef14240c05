"""Whole networks as MindIR in real MindSpore: images small, everything else as it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from msckpt_jax.api.export import export
from msckpt_jax.lowering.trials import compare
from msckpt_jax.mindir import runner
from tests.networks.small import NETWORKS

#: YOLO's convolutions are too slow on MindSpore's CPU for the default; BiLSTM holds LSTM.
CASES = [
    *((name, "cpu" if name.startswith("YOLO") else None) for name in NETWORKS if name != "LSTM"),
    ("ResNet-50", "cpu"),
]


@pytest.mark.parametrize(("name", "target"), CASES)
def test_numbers(name: str, target: str | None, runs: Any, tmp_path: Path) -> None:
    net, inputs = NETWORKS[name].network(), NETWORKS[name].inputs
    done = export(net, *inputs, file_name=tmp_path / "net", target=target, durable=False)
    (outcome,) = runs([runner.Case(done.file, [inputs])])
    done.file.unlink()  # 250 MB for a YOLO
    assert not outcome.error
    expected = [np.asarray(x) for x in jax.tree.leaves(net(*map(jnp.asarray, inputs)))]
    compare(done.file, expected, outcome.results[0])
