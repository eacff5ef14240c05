"""The checks of an operator's dtypes: by GE's own rules, and by the kernels of a chip."""

from __future__ import annotations

from collections.abc import Iterator

from msckpt_jax.air import dtype_table
from msckpt_jax.air import prototypes as tables
from msckpt_jax.air.described import dtype_name
from msckpt_jax.air.operator_view import OperatorView
from msckpt_jax.air.wiring import DATA, Problem


def _dtypes_agree(view: OperatorView) -> Iterator[Problem]:
    for name, position in view.ports.items():
        source = view.source(position)
        if source is None:
            continue
        if position >= len(view.inputs):
            yield Problem(f"input {name!r} is not described")
            continue
        given, told = source[1], view.inputs[position]
        if given != told and given and told:
            text = f"described as {dtype_name(told)}, its source gives {dtype_name(given)}"
            yield Problem(f"input {name!r} is {text}")


def _results_have_ges_dtypes(view: OperatorView) -> Iterator[Problem]:
    given = dict(_used_dtypes(view))
    rules = dtype_table.table().get(view.operator.type, dtype_table.NONE).rules
    told = zip(rules, view.prototype.outputs, view.operator.output_desc, strict=False)
    for rule, port, described in told:
        wanted = rule(given) if rule else None
        name = dtype_name(described.dtype)
        if wanted and described.dtype and wanted != name:
            yield Problem(f"output {port.name!r} is described as {name}, GE gives {wanted}")


def _dtypes_are_allowed(view: OperatorView) -> Iterator[Problem]:
    allowed = dtype_table.table().get(view.operator.type, dtype_table.NONE)
    given = [*_used_dtypes(view), *((f">{port}", d) for port, d in _given_dtypes(view))]
    wrong = {p: d for p, d in given if allowed.enforced and d not in allowed.sets.get(p, {d})}
    for port, dtype in list(wrong.items())[:1]:  # the others mostly follow from it
        text = f"{port.removeprefix('>')!r} is {dtype}, GE refuses all but"
        yield Problem(f"{text} {' '.join(sorted(allowed.sets[port]))}")


_INTEGERS = frozenset(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))


def _indices_are_integers(view: OperatorView) -> Iterator[Problem]:
    """Refuse other numbers where the prototype has integers only: axes, sizes, indices."""
    sets = dtype_table.table().get(view.operator.type, dtype_table.NONE).sets
    for port, dtype in _used_dtypes(view):
        if port in sets and sets[port] <= _INTEGERS and dtype not in _INTEGERS:
            yield Problem(f"input {port!r} is {dtype}, GE takes {' '.join(sorted(sets[port]))}")


#: Operators that GE runs itself, or rewrites before it chooses kernels.
_NO_KERNEL = DATA | {
    *("Const", "Constant", "FileConstant", "Variable", "NetOutput", "PartitionedCall"),
    *("If", "While", "Case", "StatelessIf", "StatelessWhile", "StatelessCase"),
    *("ExpandDims", "Shape", "Size", "Rank"),
}


def _kernels_exist(view: OperatorView) -> Iterator[Problem]:
    if view.engine is None or view.operator.type in _NO_KERNEL:
        return
    engines = tables.kernels().get(view.operator.type, {})
    able = [name for name in (view.engine, *tables.CPU_ENGINES) if name in engines]
    if not able:
        yield Problem(f"no kernel on {view.engine}, and none on its CPU", fault=False)
        return
    listed = dtype_table.table().get(view.operator.type, dtype_table.NONE).sets
    used, given = dict(_used_dtypes(view)), dict(_given_dtypes(view))
    wanted = used | {f">{port}": dtype for port, dtype in given.items()}
    take = [
        name
        for name in able
        if all(
            dtype in engines[name].get(port, listed.get(port, {dtype}))
            for port, dtype in wanted.items()
        )
    ]
    text = f"takes {used} and gives {given}"
    if not take:
        yield Problem(f"no kernel on {view.engine} {text}")
    elif view.engine not in take:
        yield Problem(f"only the CPU ({', '.join(take)}) of {view.engine} {text}", fault=False)


def _used_dtypes(view: OperatorView) -> Iterator[tuple[str, str]]:
    dynamic = {port.name for port in view.prototype.inputs if port.dynamic}
    for name, position in view.ports.items():
        source = view.source(position)
        if source is not None and position < len(view.inputs):
            given = source[1] or view.inputs[position]
            family = name.rstrip("0123456789")
            if given:
                yield (family if family in dynamic else name), dtype_name(given)


def _given_dtypes(view: OperatorView) -> Iterator[tuple[str, str]]:
    ports = view.prototype.outputs
    for index, described in enumerate(view.operator.output_desc):
        if described.dtype:
            yield ports[min(index, len(ports) - 1)].name, dtype_name(described.dtype)


DTYPE_CHECKS = (
    _dtypes_agree,
    _results_have_ges_dtypes,
    _dtypes_are_allowed,
    _indices_are_integers,
    _kernels_exist,
)
