"""Every rule in real MindSpore: the numbers of JAX, dtype by dtype."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
import pytest

from msckpt_jax.api.export import export
from msckpt_jax.errors import ExportError
from msckpt_jax.lowering.trials import compare
from msckpt_jax.mindir import runner
from tests.oracle.mindir_cases import Case, cases, dtype_of

#: One in so many of the dtypes beside the first of a case; all of them take ten minutes.
SHARE = 12
#: Cases that MindSpore gets at a time.
CHUNK = 60


def _chosen() -> Iterator[tuple[str, Case, str]]:
    for name, case, dtype in cases():
        if dtype == case.dtypes[0] or zlib.crc32(name.encode()) % SHARE == 0:
            yield name, case, dtype


CHOSEN = list(_chosen())


class _Outcomes:
    """Exports and runs the cases, a chunk at a time, when the first of it is asked for."""

    def __init__(self, run, folder: Path):
        self.run, self.folder = run, folder
        self.found: dict[str, tuple] = {}

    def __getitem__(self, name: str) -> tuple:
        if name not in self.found:
            place = [n for n, _, _ in CHOSEN].index(name) // CHUNK * CHUNK
            self._chunk(CHOSEN[place : place + CHUNK])
        return self.found[name]

    def _chunk(self, chosen) -> None:
        asked = {}
        for name, case, dtype in chosen:
            with jax.enable_x64("64" in dtype or "128" in dtype):
                inputs = case.arguments(dtype_of(dtype))
                expected = jax.tree.leaves(jax.jit(case.function)(*inputs))
                file = self.folder / f"{len(self.found) + len(asked)}.mindir"
                try:
                    export(case.function, *inputs, file_name=file, exact=case.exact, durable=False)
                except ExportError as error:
                    self.found[name] = error, None
                    continue
                asked[name] = runner.Case(file, [inputs]), [np.asarray(x) for x in expected]
        outcomes = self.run([request for request, _ in asked.values()])
        for (name, (_, expected)), outcome in zip(asked.items(), outcomes, strict=True):
            self.found[name] = outcome, expected
        jax.clear_caches()


@pytest.fixture(scope="module")
def outcomes(runs, tmp_path_factory):
    return _Outcomes(runs, tmp_path_factory.mktemp("rules"))


@pytest.mark.parametrize("name", [name for name, _, _ in CHOSEN])
@pytest.mark.filterwarnings("ignore")  # JAX's own notes: complex to real, odd numbers to ints
def test_a_rule(name, outcomes):
    outcome, expected = outcomes[name]
    if isinstance(outcome, ExportError):
        raise outcome
    assert not outcome.error
    compare(Path(name), expected, outcome.results[0])
