"""The tables of meanings agree with GE's prototypes."""

from __future__ import annotations

import inspect

import pytest

from msckpt_jax.air.meaning import MEANINGS, POSITIONS
from msckpt_jax.air.prototypes import prototypes


@pytest.mark.parametrize("operator", MEANINGS)
def test_a_meaning_takes_what_its_operator_has(operator: str) -> None:
    """All inputs by position; by keyword no attribute that the prototype lacks."""
    signature, prototype = inspect.signature(MEANINGS[operator]), prototypes()[operator]
    named = {p.name for p in signature.parameters.values() if p.kind is p.KEYWORD_ONLY}
    attributes = prototype.attributes.keys() | ({"index_dtype"} if operator in POSITIONS else set())
    bound = signature.bind(*prototype.inputs, **dict.fromkeys(named & attributes))
    assert len(bound.args) == len(prototype.inputs)
