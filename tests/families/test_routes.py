"""Every stack of a family into every other one: what NumPy makes step by step, read lazily."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import msckpt_jax as ms
from msckpt_jax import boxes
from msckpt_jax.checkpoint import copying, leaves
from msckpt_jax.conventions.families import route, stacks, table
from msckpt_jax.conventions.families.matching import normal
from msckpt_jax.conventions.families.stacks import turned
from tests.families import models

#: A family for each kind of table: dense, experts, halves of layers, two kinds of layers.
FAMILIES = ["llama", "mixtral", "gemma2", "gemma3_text", "deepseek_v3", "gpt_oss", "gpt2"]


def pairs() -> list[tuple[str, str, str]]:
    return [
        (family, source, target)
        for family in FAMILIES
        for source in table.known()[family].sections
        for target in table.known()[family].sections
    ]


def given(content: dict[str, Any], stack: str, scanned: bool) -> list[Any]:
    arrays = models.stack_of(content, stack, scanned)
    return [leaves.of_value(name, value) for name, value in arrays.items()]


def read(records: list[Any]) -> dict[str, np.ndarray]:
    out = {}
    for record in records:
        out[normal(record.tag)] = array = np.empty(record.dims, np.float32)
        boxes.gather(copying.pieces_of(record), boxes.whole(record.dims), array)
    return out


def check(family: str, source: str, target: str, scanned: tuple[bool, bool]) -> None:
    content = models.config(family)
    if family.startswith("gemma"):
        content["vocab_size"] = 24  # to which models pads it
    way = route.between(content, source, target, scanned=scanned[1] or None)
    records = given(content, source, scanned[0])
    made = way.records(records)
    found = read(made)
    expected = models.stack_of(content, target, scanned[1])
    assert found.keys() == {normal(name) for name in expected}
    for name, array in expected.items():
        tolerance = 0 if source == target else 4e-7
        np.testing.assert_allclose(found[normal(name)], array, tolerance, tolerance, err_msg=name)
    planned, links = way.links(records)
    assert [(r.tag, r.type, r.dims) for r in planned] == [(r.tag, r.type, r.dims) for r in made]
    assert {link.target for link in links} == {record.tag for record in made}
    assert {link.source for link in links} == {record.tag for record in records}


def stacked(family: str, stack: str) -> bool:
    return bool(table.known()[family].sections[stack].scanned)


@pytest.mark.parametrize(("family", "source", "target"), pairs())
def test_every_pair(family: str, source: str, target: str) -> None:
    check(family, source, target, (stacked(family, source), stacked(family, target)))


@pytest.mark.parametrize("family", ["llama", "gemma3_text", "deepseek_v3"])
@pytest.mark.parametrize("from_scanned", [True, False])
def test_layers_are_stacked_and_taken_apart(family: str, from_scanned: bool) -> None:
    """Values that are scaled on both ways stay as they are, bit by bit."""
    content = models.config(family)
    way = route.between(content, "maxtext", "maxtext", scanned=not from_scanned)
    found = read(way.records(given(content, "maxtext", from_scanned)))
    expected = models.stack_of(content, "maxtext", not from_scanned)
    for name, array in expected.items():
        if array.shape[0] != 24:  # a padded vocabulary
            np.testing.assert_array_equal(found[normal(name)], array, err_msg=name)
    _, links = way.links(given(content, "maxtext", from_scanned))
    assert {link.how for link in links} == {"as it is"}


@pytest.mark.parametrize("family", FAMILIES)
def test_names_tell_the_stack(family: str) -> None:
    content = models.config(family)
    how = route.between(content, "huggingface", "huggingface").maps[0].family
    known, sizes = how.model
    for stack in known.sections:
        for scanned in {False, stacked(family, stack)}:
            names = [*models.stack_of(content, stack, scanned)]
            if family == "mixtral" and stack.startswith("mindformers"):
                with pytest.raises(ms.CheckpointError, match="several stacks"):
                    stacks.guess(known, sizes, names)
                continue
            assert stacks.guess(known, sizes, names) == stack
            if stack in ("maxtext", "tunix", "levanter"):
                around = [f"params.params.{name}" for name in names]
                assert stacks.guess(known, sizes, around) == stack


def test_the_notation_is_turned() -> None:
    for how, back in {
        "as it is": "as it is",
        "T": "undo (T)",
        "undo (T; rs(D, H, hd)); ilc(0, 0, 2)": "undo (ilc(0, 0, 2)); T; rs(D, H, hd)",
        "undo (T; rs(D, H, hd))": "T; rs(D, H, hd)",
    }.items():
        assert turned(how) == back
        assert turned(back) == how
