"""What the rows rest on: MindSpore's adapters, files that its converter wrote, GE's prototypes."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest

from msckpt_jax.air.prototypes import prototypes
from msckpt_jax.air.rows import ROWS
from msckpt_jax.air.rows.row import ADAPTER, PROTOTYPE, WRITTEN, Arg, Attr, Row

DATA = Path(__file__).parent / "data"


class Adapter(NamedTuple):
    """An adapter of MindSpore's; a number of ``attributes`` is an operand's, from 1."""

    kind: str
    inputs: tuple[str, ...]
    attributes: tuple[tuple[str, str], ...]


def _adapter(line: str) -> tuple[str, Adapter]:
    name, kind, inputs, attributes, *_ = [*line.split("\t"), "", ""]
    pairs = (pair.partition("=") for pair in attributes.split())
    return name, Adapter(kind, tuple(inputs.split()), tuple((ge, ms) for ge, _, ms in pairs))


_LINES = (DATA / "ms_adapters.tsv").read_text().splitlines()
_MINDSPORE = dict(_adapter(line) for line in _LINES if not line.startswith("#"))
_ROWS = [pytest.param(name, row, id=name) for name, row in ROWS.items()]


def _evidence(name: str, row: Row) -> Adapter | None:
    """MindSpore's adapter of the operator, or of the one that the row names."""
    return _MINDSPORE.get(
        row.evidence.removeprefix(f"{ADAPTER} of ") if "of " in row.evidence else name
    )


@pytest.mark.parametrize(("name", "row"), _ROWS)
def test_each_row_rests_on_what_it_says(name: str, row: Row) -> None:
    adapter = _evidence(name, row)
    if row.evidence.startswith(ADAPTER):
        assert adapter is not None
        assert row.operators == (adapter.kind,)
    elif row.evidence == WRITTEN:
        assert adapter is None
        written = (DATA / "ms_networks.txt").read_text()
        assert all(f"\n  {kind}(" in written for kind in row.operators)
    else:
        assert row.evidence == PROTOTYPE
        # Where MindSpore goes elsewhere the row says why it does not.
        assert adapter is None or (row.note and adapter.kind not in row.operators[:1])
    assert all(kind in prototypes() for kind in row.operators)


def _found(value: object) -> str | None:
    """What the table of MindSpore's adapters has for an attribute of ours."""
    if isinstance(value, Arg):
        return str(value.position + 1)
    return value.name if isinstance(value, Attr) else None


@pytest.mark.parametrize(("name", "row"), _ROWS)
def test_attributes_come_from_where_mindspore_takes_them(name: str, row: Row) -> None:
    adapter = _evidence(name, row)
    if adapter is None or row.operators != (adapter.kind,):
        return
    known = prototypes()[adapter.kind].attributes
    assert all(ge in known for ge, _ in adapter.attributes)
    for ge, value in row.attributes.items():
        found = _found(value)
        sources = [ms for other, ms in adapter.attributes if other == ge]
        assert found is None or not sources or found in sources, ge


@pytest.mark.parametrize("name", _MINDSPORE)
def test_inputs_are_those_of_the_prototype(name: str) -> None:
    """The names that MindSpore's adapter gives are GE's, so that positions can be compared."""
    adapter = _MINDSPORE[name]
    ports = prototypes()[adapter.kind].inputs
    names = {port.name + "*" * port.dynamic for port in ports}
    assert set(adapter.inputs) <= names
