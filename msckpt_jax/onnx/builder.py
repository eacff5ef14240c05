"""ONNX's nodes by the schemas of one opset, with casts where onnxruntime has no kernel."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper
from onnx.defs import OpSchema

from msckpt_jax.dtypes import of_array
from msckpt_jax.errors import UnsupportedError
from msckpt_jax.graph.values import Const, Dim, Parameter, Size, Tensor, Value
from msckpt_jax.names import Unique
from msckpt_jax.onnx import kernels, lite, opsets

#: Operators whose result does not follow from the bits of their operands.
_ORDERED = frozenset(
    {"Less", "LessOrEqual", "Greater", "GreaterOrEqual", "Max", "Min", "Div", "Mod", "TopK"}
    | {"ReduceMax", "ReduceMin", "ArgMax", "ArgMin", "Sign", "Abs"}
)


class Names:
    """The names of a model, which ONNX wants unique across nested graphs, and its opset.

    Attributes:
        opset: the version of its operators.
        later: the opsets that it may have instead.
        lite: whether the model is for MindSpore Lite.
        types: the types of its values.
    """

    def __init__(self, opset: int, later: Iterable[int] = (), for_lite: bool = False):
        self.opset, self.later, self.lite = opset, later, for_lite
        self.types: dict[str, Tensor] = {}
        self.unique = Unique()
        self.constants: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self.initializers: list[TensorProto] = []

    def arrays(self) -> dict[str, np.ndarray]:
        """The constants by name; weights are none."""
        return {tensor.name: numpy_helper.to_array(tensor) for tensor in self.initializers}


class Builder:
    """A graph under construction.

    Attributes:
        nodes: its ``NodeProto`` so far.
        infos: the types of the values that nodes compute.
    """

    def __init__(self, names: Names, outer: Builder | None = None):
        self.names, self._inner = names, outer is not None
        self.nodes: list[NodeProto] = []
        self.infos: list[ValueInfoProto] = []
        self._known: dict[Value, str] = {} if outer is None else dict(outer._known)
        #: Values that were converted to a wider dtype, by the name of the result.
        self._narrow: dict[str, Value] = {} if outer is None else dict(outer._narrow)
        #: Sizes that the graph asks for, and vectors of sizes, by the names of which they are made.
        self._sizes: dict[tuple[Any, ...], Value] = {} if outer is None else dict(outer._sizes)
        #: Constants that are nodes of this body.
        self._constants: dict[tuple[str, tuple[int, ...], bytes], str] = {}

    def __call__(self, op: str, *inputs: Any, type: Tensor, **attributes: Any) -> Value:
        """Add a node with one result.

        Args:
            op: ONNX's operator.
            inputs: values, arrays (which become initializers), None for optional operands left out.
            type: the type of the result.
            attributes: ONNX's attributes.

        Raises:
            UnsupportedError: the opset lacks the operator, or onnxruntime a kernel for the dtypes.
            TooEarlyError: a later opset, which the model may have, lacks neither.
        """
        return self.several(op, *inputs, types=[type], **attributes)[0]

    def several(
        self, op: str, *inputs: Any, types: Sequence[Tensor], **attributes: Any
    ) -> list[Value]:
        """Add a node with several results."""
        given = {name: value for name, value in attributes.items() if value is not None}
        schema, dtypes, wider = opsets.first(
            self.names.opset, self.names.later, lambda n: self._form(n, op, inputs, types, given)
        )
        if self.names.lite:  # its parsers have defaults of their own
            given = {**kernels.defaults(op, schema.since_version), **given}
            if op == "Where":
                inputs, wider = self._where(inputs, types[0]), {**wider, **lite.wider(types[0])}
        operands = [
            self._as(operand, wider.get(letter, dtypes.get(letter)))
            for operand, letter in zip(inputs, _letters(schema.inputs, len(inputs)), strict=True)
        ]
        letters = _letters(schema.outputs, len(types))
        inner = [
            Value(Tensor(wider.get(letter, t.dtype), t.shape))
            for t, letter in zip(types, letters, strict=True)
        ]
        self.node(op, [self.name(x) for x in operands], inner, given)
        return [
            value if value.type == t else self.cast(value, t.dtype)
            for value, t in zip(inner, types, strict=True)
        ]

    def node(
        self, op: str, inputs: Sequence[str], results: Sequence[Value], attributes: Any
    ) -> None:
        """Add a node as it is."""
        outputs = [self.define(value, op) for value in results]
        node = helper.make_node(op, list(inputs), outputs, name=outputs[0], **attributes)
        if self.names.lite:
            self._for_lite(node)
        self.nodes.append(node)
        self.infos += [info(n, v.type) for n, v in zip(outputs, results, strict=True)]

    def _for_lite(self, node: NodeProto) -> None:
        """Give a node with bodies a name beside its results', and refuse what is misread.

        Raises:
            UnsupportedError: MindSpore Lite has no parser of it, or its parser misreads it.
        """
        if any(each.HasField("g") for each in node.attribute):
            node.name = self.names.unique(f"{node.name}_{node.op_type}")
        for reason in lite.reasons(node, self.names.types):
            raise UnsupportedError(f"{node.op_type}: {reason}, {lite.SOURCE}")

    def _where(self, operands: Sequence[Any], whole: Tensor) -> tuple[Any, ...]:
        """The operands of Where, of its shape: MindSpore Lite's kernel takes others at rank 0."""
        condition, *values = operands
        fine = [(condition, (whole.shape,)), *((x, ((), whole.shape)) for x in values)]
        if all(self.type(x).shape in shapes for x, shapes in fine):
            return tuple(operands)
        sizes = self._sizes_of(condition, *values, whole=whole)
        return tuple(
            x if (t := self.type(x)).shape in shapes
            else self("Expand", x, sizes, type=Tensor(t.dtype, whole.shape))
            for x, shapes in fine
        )  # fmt: skip

    def _sizes_of(self, condition: Any, x: Any, y: Any, whole: Tensor) -> Any:
        """The sizes of what three operands make together, as a vector."""
        if all(isinstance(size, int) for size in whole.shape):
            return np.array(whole.shape, np.int64)
        shapes = [self.type(each).shape for each in (condition, x, y)]
        if whole.shape in shapes:
            known = (condition, x, y)[shapes.index(whole.shape)]
        else:
            bools = np.dtype(bool)
            known = self("Equal", x, y, type=Tensor(bools, _together(*shapes[1:])))
            known = self("Or", condition, known, type=Tensor(bools, whole.shape))
        return self("Shape", known, type=Tensor(np.dtype(np.int64), (len(whole.shape),)))

    def define(self, value: Value, hint: str) -> str:
        """Give a value a name of its own, unless it has one that was kept for it."""
        if value not in self._known:
            self._known[value] = self.names.unique(value.name or hint)
        name = self._known[value]
        self.names.types[name] = value.type
        return name

    def keep(self, value: Value, name: str) -> None:
        """Give a value a name that nothing else has."""
        self._known[value] = name

    def same(self, value: Value, operand: Any) -> None:
        """Give ``value`` the name of ``operand``, which is the same."""
        self._known[value] = self.name(operand)

    def name(self, operand: Any) -> str:
        if operand is None:
            return ""
        operand = _known(operand)
        if isinstance(operand, np.ndarray):
            return self._constant(operand)
        return self._known[operand]

    def type(self, operand: Any) -> Tensor:
        array = _known(operand)
        if isinstance(array, np.ndarray):
            return Tensor(array.dtype, array.shape)
        return array.type

    def narrow(self, operand: Any) -> Any:
        """The operand before a conversion that loses nothing."""
        return self._narrow.get(self.name(operand), operand)

    def cast(self, operand: Any, dtype: Any) -> Value:
        """The operand in another dtype; conversions before it that lose nothing are left out."""
        type_ = Tensor(np.dtype(dtype), self.type(operand).shape)
        if not isinstance(operand, Value):
            return self("Cast", operand, type=type_, to=number(type_.dtype))
        operand = self.narrow(operand)
        if operand.type == type_:
            return operand
        converted = self("Cast", operand, type=type_, to=number(type_.dtype))
        if np.can_cast(operand.type.dtype, type_.dtype, "safe"):
            self._narrow[self.name(converted)] = operand
        return converted

    def vector(self, operand: Any) -> Any:
        """A shape-like operand as an int64 tensor: an array, or a value if sizes are dynamic."""
        if isinstance(operand, Value):
            return operand if operand.type.dtype == np.int64 else self.cast(operand, np.int64)
        if isinstance(operand, Const):
            return np.atleast_1d(np.asarray(operand.value, np.int64))
        parts = [operand] if isinstance(operand, Size) else list(operand)
        pieces = list(map(self._piece, parts))
        if all(isinstance(piece, np.ndarray) for piece in pieces):
            return np.array([piece.item() for piece in pieces], np.int64)
        if len(pieces) == 1:
            return pieces[0]
        key = tuple(map(self.name, pieces))
        if key not in self._sizes:
            type_ = Tensor(np.dtype(np.int64), (len(pieces),))
            self._sizes[key] = self("Concat", *pieces, type=type_, axis=0)
        return self._sizes[key]

    def _piece(self, part: Any) -> Any:
        """A number of a shape as a vector."""
        if isinstance(part, Const):
            return np.array([part.value], np.int64)
        if isinstance(part, Size):
            return self._size(part)
        t = Tensor(np.dtype(np.int64), (1,))
        return self("Reshape", self.vector(part), np.array([1], np.int64), type=t)

    def scalar(self, operand: Any) -> Any:
        """A number of MindSpore's as a tensor of rank 0."""
        if isinstance(operand, Value):
            return operand
        vector = self.vector(operand)
        if isinstance(vector, np.ndarray):
            return Const(np.asarray(vector[0]))
        zero = np.array([0], np.int64)
        return self("Squeeze", vector, zero, type=Tensor(np.dtype(np.int64), ()))

    def _size(self, size: Size) -> Value:
        """The size of an axis of a value, as a vector of one number."""
        key = self.name(size.of), size.axis
        if key not in self._sizes:
            self._sizes[key] = self._size_of(size.of, size.axis)
        return self._sizes[key]

    def _size_of(self, of: Value, axis: int) -> Value:
        """The size of an axis, as a vector; MindSpore Lite leaves start and end of Shape unread."""
        t = Tensor(np.dtype(np.int64), (1,))
        if not self.names.lite:
            return self("Shape", of, type=t, start=axis, end=axis + 1)
        rank = len(of.type.shape)
        sizes = self("Shape", of, type=Tensor(t.dtype, (rank,)))
        return self("Gather", sizes, np.array([axis % rank], np.int64), type=t, axis=0)

    def _form(
        self, opset: int, op: str, inputs: Sequence[Any], types: Sequence[Tensor],
        attributes: Mapping[str, Any],
    ) -> tuple[OpSchema, dict[str, np.dtype], dict[str, np.dtype]]:  # fmt: skip
        """The operator in an opset, the dtypes of its type letters, and those that are wider."""
        try:
            schema = onnx.defs.get_schema(op, opset)
        except onnx.defs.SchemaError:
            raise UnsupportedError(f"opset {opset} has no {op}") from None
        if unknown := attributes.keys() - schema.attributes.keys():
            raise UnsupportedError(f"{op} has no {', '.join(sorted(unknown))} in opset {opset}")
        dtypes = self._dtypes(schema, inputs, types)
        for dtype in dtypes.values():
            opsets.check_dtype(dtype, opset)
        return schema, dtypes, self._wider(schema, dtypes, attributes, opset)

    def _wider(
        self, schema: OpSchema, dtypes: Mapping[str, np.dtype], attributes: Mapping[str, Any],
        opset: int,
    ) -> dict[str, np.dtype]:  # fmt: skip
        """The type letters whose dtype has to change for a kernel to exist, with the new dtypes."""
        able = kernels.able(schema, attributes)
        if able is None:
            raise UnsupportedError(f"onnxruntime has no kernel of {schema.name}")
        changes: dict[str, np.dtype] = {}
        for letter, dtype in dtypes.items():
            if letter not in able:
                continue
            to = kernels.computing(dtype, able[letter], ordered=schema.name in _ORDERED)
            if to is None:
                raise UnsupportedError(
                    f"onnxruntime has no kernel of {schema.name} for {dtype.name} in opset {opset}"
                )
            if to != dtype:
                changes[letter] = to
        return changes

    def _dtypes(
        self, schema: OpSchema, inputs: Sequence[Any], types: Sequence[Tensor]
    ) -> dict[str, np.dtype]:
        """The dtype of each type letter: MindSpore promotes operands, ONNX does not."""
        by_letter: dict[str, np.dtype] = {}
        for operand, letter in zip(inputs, _letters(schema.inputs, len(inputs)), strict=True):
            if operand is not None:
                dtype = self.type(operand).dtype
                by_letter[letter] = np.result_type(by_letter.get(letter, dtype), dtype)
        return by_letter | {
            letter: t.dtype
            for letter, t in zip(_letters(schema.outputs, len(types)), types, strict=True)
        }

    def _as(self, operand: Any, dtype: np.dtype | None) -> Any:
        if operand is None or dtype is None or self.type(operand).dtype == dtype:
            return operand
        array = _known(operand)
        return array.astype(dtype) if isinstance(array, np.ndarray) else self.cast(array, dtype)

    def _constant(self, array: np.ndarray) -> str:
        key = array.dtype.name, array.shape, array.tobytes()
        own = self.names.lite and self._inner  # its parsers look for constants in the body
        known = self._constants if own else self.names.constants
        if key not in known:
            if self.names.lite and (reason := lite.of_constant(array)):
                raise UnsupportedError(f"{reason}, {lite.SOURCE}")
            known[key] = self.names.unique(f"constant_{len(known)}")
            self.names.types[known[key]] = Tensor(array.dtype, array.shape)
            tensor = TensorProto(
                name=known[key], data_type=number(array.dtype), dims=array.shape, raw_data=key[2]
            )
            if own:
                self.nodes.append(
                    helper.make_node("Constant", [], [known[key]], name=known[key], value=tensor)
                )
            else:
                self.names.initializers.append(tensor)
        return known[key]


def _together(*shapes: tuple[Dim, ...]) -> tuple[Dim, ...]:
    """The shape of what operands of these shapes make together."""
    axes = itertools.zip_longest(*(shape[::-1] for shape in shapes), fillvalue=1)
    return tuple(next((size for size in axis if size != 1), 1) for axis in axes)[::-1]


def _known(operand: Any) -> Any:
    """A constant operand as an array; other operands as they are."""
    if not isinstance(operand, Const):
        return operand
    try:
        return operand.array
    except TypeError as error:
        raise UnsupportedError(f"a tensor is needed, but {error}") from None


def _letters(formal: Sequence[OpSchema.FormalParameter], count: int) -> list[str]:
    """The type constraint of each of ``count`` operands; the last operand may repeat."""
    return [formal[min(index, len(formal) - 1)].type_str for index in range(count)]


def number(dtype: np.dtype) -> int:
    """``TensorProto.DataType`` of a dtype."""
    row = of_array(dtype)
    if row is None or row.onnx is None:
        raise UnsupportedError(f"no ONNX file is made of {dtype.name}; cast it in the function")
    return row.onnx


def info(name: str, type_: Tensor) -> ValueInfoProto:
    """A ``ValueInfoProto``; dynamic sizes are named."""
    return helper.make_tensor_value_info(name, number(type_.dtype), _dims(type_.shape))


def dims_of(info: ValueInfoProto) -> tuple[Any, ...]:
    """The sizes of a ``ValueInfoProto``: a number, a name, or None."""
    dims = info.type.tensor_type.shape.dim
    return tuple(getattr(dim, kind) if (kind := dim.WhichOneof("value")) else None for dim in dims)


def _dims(shape: Sequence[Dim]) -> list[Any]:
    """Sizes; a size that nobody named (a reader's begins with ``?``) is unknown."""
    named = (dim if isinstance(dim, str) else int(dim) for dim in shape)
    return [None if isinstance(dim, str) and dim.startswith("?") else dim for dim in named]


def initializer(name: str, parameter: Parameter) -> TensorProto:
    """A weight without its data."""
    type_ = parameter.type
    dims = [int(dim) for dim in type_.shape]
    return TensorProto(name=name, data_type=number(type_.dtype), dims=dims)
