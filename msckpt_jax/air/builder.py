"""GE's messages, operator by operator: names, edges, descriptions, constants."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np

from msckpt_jax._protos import ge_ir_pb2
from msckpt_jax.air import narrowing
from msckpt_jax.air.prototypes import Prototype, prototypes
from msckpt_jax.dtypes import of_array
from msckpt_jax.errors import UnsupportedError
from msckpt_jax.graph.values import Parameter, Tensor, Value
from msckpt_jax.names import Unique

#: An input of an operator: a value, a constant, several (dynamic), nothing (optional).
Input: TypeAlias = "Value | np.ndarray | Sequence[Input] | None"

#: Operators whose tensors have a layout beyond "ND"; their filters are OIHW, which GE calls NCHW.
_LAID_OUT = {
    *("AvgPool", "AvgPool3D", "AvgPoolV2", "MaxPool", "MaxPool3D", "MaxPoolV3"),
    *("BatchNorm", "BiasAdd", "Conv2D", "Conv3D"),
}
_LAYOUTS = {4: "NCHW", 5: "NCDHW"}


class Builder:
    """A graph under construction.

    Args:
        message: an empty ``GraphDef``.
        dtypes: the dtypes to write instead of some.
        weights: names that nothing but the graph's weights may have.

    Attributes:
        message: the ``GraphDef``.
        dtypes: those that are written instead of some.
        has_unused: whether operators may have been left without a user.
        weights: name of a Const whose value is not in its message -> the parameter it is. In
            the message it has a ``length``, as a Const whose value is in another file.
    """

    def __init__(
        self, message: Any, dtypes: Mapping[np.dtype, np.dtype], weights: Iterable[str] = ()
    ):
        self.message = message
        self.has_unused = False
        self.weights: dict[str, Parameter] = {}
        self.dtypes = dtypes
        self._sources: dict[Value, tuple[str, int, Tensor]] = {}
        self._constants: dict[tuple[str, tuple[int, ...], bytes], Value] = {}
        self._descriptions: dict[tuple[Tensor, str], Any] = {}
        self._unique = Unique(weights)
        self._counts: Counter[str] = Counter()

    def argument(self, value: Value) -> None:
        """Add the next argument of the graph."""
        index = self._count("Data")
        op = self._operator("Data", self._unique(value.name or f"Data_{index}"))
        layout = _LAYOUTS.get(len(value.type.shape), "ND")
        op.input_desc.append(self._described(value.type, layout))
        self._set(op, "index", "Int", index)
        self._outputs(op, [value], [layout])
        op.MergeFrom(_bookkeeping(("x",), ("y",)))

    def parameter(self, value: Parameter) -> None:
        """Add a weight: a Const with its name, and without data yet."""
        name, type_ = value.name, value.type
        if type_.dtype in self.dtypes:
            type_ = Tensor(self.dtypes[type_.dtype], type_.shape)
            narrowing.check_weight(value.data, type_.dtype)
        op = self._operator("Const", name)
        op.attr["value"].t.desc.CopyFrom(self._described(value.type, "ND"))
        op.attr["length"].i = 0
        self._outputs(op, [value], ["ND"])
        op.MergeFrom(_bookkeeping((), ("y",)))
        self.weights[name] = Parameter(type_, name, value.data)

    def constant(self, array: np.ndarray) -> Value:
        array = np.ascontiguousarray(array).reshape(array.shape)
        if array.dtype in self.dtypes:
            array = narrowing.constant(array, self.dtypes[array.dtype])
        key = array.dtype.str + array.dtype.name, array.shape, array.tobytes()
        if key not in self._constants:
            value = Value(Tensor(array.dtype, array.shape))
            op = self._operator("Const", self._unique(f"Const_{len(self._constants)}"))
            op.attr["value"].t.desc.CopyFrom(self._described(value.type, "ND"))
            op.attr["value"].t.data = key[2]
            self._outputs(op, [value], ["ND"])
            op.MergeFrom(_bookkeeping((), ("y",)))
            self._constants[key] = value
        return self._constants[key]

    def operator(
        self,
        kind: str,
        inputs: Sequence[Input],
        results: Sequence[Value],
        attributes: Mapping[str, Any] | None = None,
        subgraphs: Sequence[str] = (),
    ) -> None:
        """Add an operator; ``inputs`` have the prototype's order, the last may be left out."""
        prototype = prototypes()[kind]
        named = list(_named(prototype, inputs))
        values = [self._value(operand) for _, operand in named]
        op = self._operator(kind, self._unique(f"{kind}_{self._count(kind)}"))
        layout = _LAYOUTS if kind in _LAID_OUT else {}
        for value in values:
            if value is None:
                op.input.append("")
                op.input_desc.add(layout="FORMAT_RESERVED")
                continue
            name, index, type_ = self._source(value)
            op.input.append(f"{name}:{index}")
            op.input_desc.append(self._described(type_, layout.get(len(type_.shape), "ND")))
        self._outputs(op, results, [layout.get(len(v.type.shape), "ND") for v in results])
        for name, attribute in prototype.attributes.items():  # defaults too, as MindSpore does
            given = (attributes or {}).get(name)
            if isinstance(given, np.dtype):
                given = self.dtypes.get(given, given)
            self._set(op, name, attribute.type, attribute.value if given is None else given)
        op.subgraph_name.extend(subgraphs)
        ports = tuple(port.name for port in prototype.outputs)
        if prototype.outputs and prototype.outputs[-1].dynamic:
            ports = tuple(f"{ports[0]}{index}" for index in range(len(results)))
        op.MergeFrom(_bookkeeping(tuple(name for name, _ in named), ports))

    def same(self, value: Value, known: Value) -> None:
        """Make ``value`` another name of ``known``."""
        self._sources[value] = self._sources[known]

    def missing(self, value: Value) -> None:
        """Note a value that could not be made; the graph is not going to be written."""
        self._sources[value] = "", 0, Tensor(np.dtype(bool), value.type.shape)

    def results(self, values: Sequence[Value | np.ndarray], names: Sequence[str] = ()) -> None:
        """Add the graph's results: an explicit NetOutput, since GE drops outputs given twice.

        ``names`` are those of the results, which their descriptions have; GE ignores them.
        """
        op = self._operator("NetOutput", self._unique("NetOutput"))
        for value in values:
            name, index, type_ = self._source(self._value(value))
            op.input.append(f"{name}:{index}")
            op.input_desc.append(self._described(type_, "ND"))
        for described, name in zip(op.input_desc, names, strict=False):
            described.name = name
        op.MergeFrom(_bookkeeping(tuple(f"input{index}" for index in range(len(values))), ()))

    def prune(self) -> None:
        """Remove operators without a user, but for arguments, weights and the end."""
        used: set[str] = set()
        kept = []
        for op in reversed(self.message.op):
            if op.name in used or op.name in self.weights or op.type in ("Data", "NetOutput"):
                used |= {text.rpartition(":")[0] for text in op.input}
                kept.append(op)
        kept.reverse()
        for index, op in enumerate(kept):
            op.id = index
        copies = [op.__deepcopy__({}) for op in kept]
        del self.message.op[:]
        self.message.op.extend(copies)

    def _value(self, operand: Any) -> Any:
        return self.constant(operand) if isinstance(operand, np.ndarray) else operand

    def _source(self, value: Value) -> tuple[str, int, Tensor]:
        return self._sources[value]

    def _operator(self, kind: str, name: str) -> Any:
        return self.message.op.add(name=name, type=kind, id=len(self.message.op))

    def _count(self, kind: str) -> int:
        """Count an operator of a kind; return how many there were before it."""
        self._counts[kind] += 1
        return self._counts[kind] - 1

    def _outputs(self, op: Any, values: Sequence[Value], layouts: Sequence[str]) -> None:
        for index, (value, layout) in enumerate(zip(values, layouts, strict=True)):
            op.output_desc.append(self._described(value.type, layout))
            self._sources[value] = op.name, index, value.type

    def _described(self, type_: Tensor, layout: str) -> Any:
        """The description of a tensor, to be copied: equal tensors share the message."""
        key = type_, layout
        if key not in self._descriptions:
            row = of_array(self.dtypes.get(type_.dtype, type_.dtype))
            if row is None or row.ge is None:
                text = f"AIR has no dtype {type_.dtype.name}; cast it in the function"
                raise UnsupportedError(text)
            message: Any = ge_ir_pb2.TensorDescriptor(layout=layout)
            message.dtype = row.ge
            message.shape.dim[:] = [dim if isinstance(dim, int) else -1 for dim in type_.shape]
            self._descriptions[key] = message
        return self._descriptions[key]

    def _set(self, op: Any, name: str, kind: str, value: Any) -> None:
        attribute = op.attr[name]
        if kind.startswith("List"):
            field, number = _LISTS[kind]
            attribute.list.val_type = number
            getattr(attribute.list, field).extend(_scalar(kind[4:], item) for item in value)
        else:
            setattr(attribute, _FIELDS[kind], _scalar(kind, value))


@lru_cache(maxsize=1024)
def _bookkeeping(inputs: tuple[str, ...], outputs: tuple[str, ...]) -> Any:
    """Attributes for the ports' names, which GE reads without an element type; to be merged."""
    op = ge_ir_pb2.OpDef()
    for key, names in (("input", inputs), ("output", outputs)):
        if names:
            op.attr[f"_{key}_name_key"].list.s.extend(name.encode() for name in names)
            op.attr[f"_{key}_name_value"].list.i.extend(range(len(names)))
    return op


_FIELDS = {"String": "s", "Int": "i", "Float": "f", "Bool": "b", "Type": "dt"}
_LISTS = {
    "ListString": ("s", 1),
    "ListInt": ("i", 2),
    "ListFloat": ("f", 3),
    "ListBool": ("b", 4),
    "ListType": ("dt", 10),
}


def _scalar(kind: str, value: Any) -> Any:
    if isinstance(value, np.dtype):  # ge::DataType in attributes, not the messages' numbers
        row = of_array(value)
        if row is None or row.ge_type is None:
            raise UnsupportedError(f"AIR has no dtype {value.name}; cast it in the function")
        return row.ge_type
    return value.encode() if kind == "String" else value


def _named(prototype: Prototype, inputs: Sequence[Input]) -> Any:
    """Each input with the name of its port."""
    for port, operand in zip(prototype.inputs, inputs, strict=False):
        if port.dynamic:
            assert isinstance(operand, Sequence)
            yield from ((f"{port.name}{index}", part) for index, part in enumerate(operand))
        else:
            yield port.name, operand
