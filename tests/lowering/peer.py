"""Cases of jax2onnx: a canonical jaxpr gives the numbers of the function, whatever it uses.

``python -m tests.lowering.peer sample`` compares a fixed random sample, ``... K/N`` each N-th one.
A process of its own: jax2onnx's plugins change ``jax.numpy`` for good.
"""

from __future__ import annotations

import collections
import random
import sys
import warnings
from collections.abc import Sequence

import jax
import numpy as np

from msckpt_jax._compat import ClosedJaxpr
from msckpt_jax.lowering.canonical import canonicalise
from tests.lowering.equal import FAST, data, leftovers
from tests.peer.cases import PeerCase, peer_cases, widened

#: Cases of the sample.
SAMPLE = 25


def traced(case: PeerCase) -> tuple[ClosedJaxpr, list[np.ndarray]]:
    inputs = case.arguments()
    with warnings.catch_warnings(), widened(case):
        warnings.simplefilter("ignore")
        return jax.make_jaxpr(case.function())(*inputs), inputs


def both(jaxprs: Sequence[ClosedJaxpr], inputs: list[np.ndarray], wide: bool) -> list[list]:
    functions = [jax.extend.core.jaxpr_as_fun(jaxpr) for jaxpr in jaxprs]
    with jax.enable_x64(wide):
        inputs = [data(x) for x in inputs]
        compute = jax.jit(lambda xs: [f(*xs) for f in functions], compiler_options=FAST)
        return [[data(x) for x in results] for results in compute(inputs)]


def compare(case: PeerCase) -> list[str]:
    """The primitives that are left; raises AssertionError for other numbers."""
    jaxpr, inputs = traced(case)
    found = canonicalise(jaxpr)
    expected, results = both([jaxpr, found], inputs, case.wide)
    for want, got in zip(expected, results, strict=True):
        assert (want.dtype, want.shape) == (got.dtype, got.shape)
        if want.dtype.kind == "V":
            want, got = want.astype(np.float32), got.astype(np.float32)
        if want.dtype.kind in "fc":
            np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)
        else:
            np.testing.assert_array_equal(got, want)
    return sorted({eqn.primitive.name for eqn in leftovers(found)})


#: Left as they are.
FOREIGN = {"eig", "hessenberg", "schur", "tridiagonal", "igamma_grad_a"}


def run(cases: Sequence[PeerCase]) -> collections.Counter[str]:
    """Compare all of them; print the ones that are different or not canonical."""
    counts: collections.Counter[str] = collections.Counter()
    for case in cases:
        try:
            traced(case)
        except Exception:
            counts["not traced"] += 1
            continue
        try:
            left = compare(case)
        except Exception as error:
            counts["different or failed"] += 1
            print(case.name, " ".join(str(error).split())[:200], flush=True)
            continue
        counts["left" if set(left) - FOREIGN else "equal"] += 1
        if left:
            print(case.name, *left, flush=True)
    return counts


def main(part: str) -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of jax2onnx's plugins
        cases = list(peer_cases())
    cases = [case for case in cases if "rng_uniform" not in case.name]  # new numbers at each call
    if part == "sample":
        cases = random.Random(5).sample(cases, SAMPLE)
    else:
        number, parts = map(int, part.split("/"))
        cases = cases[number::parts]
    counts = run(cases)
    print(dict(counts))
    return int(bool(counts["left"] or counts["different or failed"] or not counts["equal"]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
