"""JAX's own catalogue of its primitives, as functions and arguments.

JAX tests its compilers with it: thousands of small calls, each of one primitive with other dtypes,
shapes and parameters.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tests.sweep.determined import determined

_WIDE = re.compile(r"int64|float64|complex128")


class HarnessCase(NamedTuple):
    """``name`` is unique; ``wide`` says that 64-bit types are on."""

    name: str
    wide: bool
    harness: Any

    @property
    def group(self) -> str:
        """The primitive, or the function of ``jax.random``."""
        return self.harness.group_name

    def function(self) -> Callable[..., Any]:
        """The call, static arguments applied.

        Raises:
            NotImplementedError: JAX says that the call must not be tried on a CPU.
        """
        for limitation in self.harness.jax_unimplemented:
            if limitation.skip_run and limitation.filter("cpu", self.harness.dtype):
                raise NotImplementedError(limitation.description)
        return self.harness.dyn_fun

    def arguments(self) -> list[np.ndarray]:
        """The other arguments, random numbers from a seed that the name gives."""
        rng = np.random.RandomState(zlib.crc32(self.name.encode()))
        return [np.asarray(jnp.asarray(x)) for x in self.harness.dyn_args_maker(rng)]

    def determined(
        self, inputs: Sequence[np.ndarray], results: Sequence[np.ndarray]
    ) -> Sequence[np.ndarray]:
        """What the primitive determines of its results."""
        return determined(self.group, self.harness.params, inputs, results)


def harness_cases() -> list[HarnessCase]:
    """All harnesses of the installed JAX, in every dtype."""
    with jax.enable_x64(True):  # the module leaves 64-bit dtypes out otherwise
        from jax._src.internal_test_util import test_harnesses
    cases: dict[str, HarnessCase] = {}
    for harness in test_harnesses.all_harnesses:
        name = harness.fullname
        while name in cases:
            name += "'"
        cases[name] = HarnessCase(name, bool(_WIDE.search(name)), harness)
    return list(cases.values())
