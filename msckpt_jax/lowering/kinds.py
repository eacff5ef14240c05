"""Kinds of objects in a callable, and how to look into each: a row for a kind.

The variables of a closure, the arguments of a partial, the object of a bound method, the attributes
of an instance, the leaves of a pytree.
"""

from __future__ import annotations

import copy
import functools
import inspect
import sys
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np

from msckpt_jax import names
from msckpt_jax.graph.function import ModelFunction

#: The packages whose instances hold no weights, beside the standard library.
_LIBRARIES = frozenset({"builtins", "google", "jax", "jaxlib", "ml_dtypes", "msckpt_jax", "numpy"})
#: The types of functions of JAX, Flax, Equinox and Python that keep what they did before.
JITS = frozenset({"PjitFunction", "JitWrapped", "_JitWrapper", "_lru_cache_wrapper"})
#: The number of entries from which on a list or a dict is looked into no more.
_MANY = 100_000
_PLAIN = frozenset({bool, bytes, complex, float, int, str})
_EMPTY = types.CellType()


class Variable(str):
    """A variable's name in a path: where all paths begin with it, it says nothing."""


class Part(NamedTuple):
    """A part of an object: its segment in paths, none where that is empty."""

    segment: str
    value: Any


class Making(Protocol):
    """The step from the parts of an object to those of a like object."""

    def __call__(self, value: Any) -> Any:
        """Return what takes the place of a part: itself, if it holds nothing that changes."""

    def parts(self, value: Any) -> Sequence[Part]:
        """Return the parts of an object, the same ones each time."""
        ...

    def changes(self, value: Any) -> bool:
        """Tell whether something takes the place of this part."""
        ...

    def begin(self, value: Any, made: Any) -> Any:
        """Note and return an object before its parts are there: they may refer to it."""

    def keep(self, value: Any) -> Any:
        """Note and return an object that cannot be made again: its parts stay."""


class Kind(NamedTuple):
    """A kind of object.

    Attributes:
        is_of: tells whether an object is of it, those before it left out.
        parts: the parts in which arrays may be.
        remade: a like object whose parts went through a function; None where that is never needed.
    """

    is_of: Callable[[Any], bool]
    parts: Callable[[Any], Iterator[Part]]
    remade: Callable[[Any, Making], Any] | None = None


def is_array(value: Any) -> bool:
    """Tell whether a leaf is an array of numbers or keys; all else is part of the program."""
    if isinstance(value, jax.Array):
        return True
    if isinstance(value, np.ndarray | np.generic):
        return value.dtype == bool or jax.numpy.issubdtype(value.dtype, np.number)
    if isinstance(value, type) or _around(value) is not None:
        return False
    return all(hasattr(value, name) for name in ("__array__", "dtype", "shape"))


def kind_of(value: Any) -> Kind | None:
    return next((kind for kind in KINDS if kind.is_of(value)), None)


def is_module(value: Any) -> bool:
    """Tell whether a value is a module, of Flax nnx or of Equinox, with a mode of its own."""
    if names.is_module(value):
        return True
    return _is_a("equinox", "Module", value) and not (_is_method(value) or _is_wrapper(value))


# Functions.


def _is_partial(value: Any) -> bool:
    return isinstance(value, functools.partial)


def _of_partial(value: functools.partial) -> Iterator[Part]:
    yield Part("", value.func)
    own = parameters(value.func)
    for number, argument in enumerate(value.args):
        name = own[number] if number < len(own) else f"argument_{number}"
        yield Part(Variable(name), argument)
    for name, argument in value.keywords.items():
        yield Part(Variable(name), argument)


def _partial_remade(value: functools.partial, make: Making) -> Any:
    keywords = {name: make(argument) for name, argument in value.keywords.items()}
    return functools.partial(make(value.func), *map(make, value.args), **keywords)


def _is_method(value: Any) -> bool:
    return hasattr(value, "__func__") and hasattr(value, "__self__")


def _of_method(value: Any) -> Iterator[Part]:
    yield Part("", value.__self__)
    yield Part("", value.__func__)


def _method_remade(value: Any, make: Making) -> Any:
    return functools.partial(make(value.__func__), make(value.__self__))


def _is_wrapper(value: Any) -> bool:
    plain = isinstance(value, types.FunctionType | type | functools.partial)
    return not plain and callable(value) and hasattr(value, "__wrapped__")


def _of_wrapper(value: Any) -> Iterator[Part]:
    yield Part("", value.__wrapped__)
    if type(value).__name__ not in JITS:
        yield from _attributes(value)


def _wrapper_remade(value: Any, make: Making) -> Any:
    """The function itself where caches know the other object; else a wrapper around it."""
    if type(value).__name__ in JITS:
        return make(make.parts(value)[0].value)
    return (_pytree_remade if _is_pytree(value) else _instance_remade)(value, make)


def _is_function(value: Any) -> bool:
    return isinstance(value, types.FunctionType)


def _of_function(value: types.FunctionType) -> Iterator[Part]:
    wrapped = getattr(value, "__wrapped__", None)
    for name, cell in zip(value.__code__.co_freevars, value.__closure__ or (), strict=True):
        if cell != _EMPTY:
            inner = cell.cell_contents
            yield Part("" if inner is wrapped else Variable(name), inner)
    for name, default in _defaults(value).items():
        yield Part(Variable(name), default)
    for name in _globals(value):
        yield Part(Variable(name), value.__globals__[name])


def _defaults(value: types.FunctionType) -> dict[str, Any]:
    code, given = value.__code__, value.__defaults__ or ()
    last = code.co_varnames[code.co_argcount - len(given) : code.co_argcount]
    return {**dict(zip(last, given, strict=True)), **(value.__kwdefaults__ or {})}


def _globals(value: types.FunctionType) -> list[str]:
    """The globals that a function of the user's reads: data, and functions beside it."""
    root = (value.__module__ or "").partition(".")[0]
    if root in sys.stdlib_module_names or "site-packages" in value.__code__.co_filename:
        return []
    known = value.__globals__
    return [name for name in _read(value.__code__) if name in known and _is_own(known[name], known)]


def _read(code: types.CodeType) -> list[str]:
    """The names that code and the code in it read, attributes among them."""
    inner = [const for const in code.co_consts if isinstance(const, types.CodeType)]
    return [*dict.fromkeys([*code.co_names, *(name for each in inner for name in _read(each))])]


def _is_own(value: Any, known: Mapping[str, Any]) -> bool:
    """Tell whether a global may hold weights: scalars such as EPSILON are part of the program."""
    if isinstance(value, type | types.ModuleType) or (is_array(value) and not value.ndim):
        return False
    inner = inspect.unwrap(value) if callable(value) else None
    return not isinstance(inner, types.FunctionType) or inner.__globals__ is known


def _function_remade(value: types.FunctionType, make: Making) -> Any:
    changed = [name for name in _globals(value) if make.changes(value.__globals__[name])]
    known = {**value.__globals__} if changed else value.__globals__
    cells = tuple(types.CellType() for _ in value.__closure__ or ())
    made = types.FunctionType(value.__code__, known, value.__name__, None, cells or None)
    make.begin(value, made)
    made.__dict__.update(value.__dict__)
    made.__module__, made.__qualname__ = value.__module__, value.__qualname__
    for cell, old in zip(cells, value.__closure__ or (), strict=True):
        if old != _EMPTY:
            cell.cell_contents = make(old.cell_contents)
    made.__defaults__ = value.__defaults__ and tuple(map(make, value.__defaults__))
    kwdefaults = value.__kwdefaults__ or {}
    made.__kwdefaults__ = {name: make(default) for name, default in kwdefaults.items()}
    known.update({name: make(value.__globals__[name]) for name in changed})
    return made


def parameters(function: Any) -> list[str]:
    """Return the names of the parameters that take arrays by position; none if nobody knows."""
    try:
        signature = inspect.signature(function)
    except Exception:  # a callable without a signature, or whose attributes fail
        return []
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [p.name for p in signature.parameters.values() if p.kind in kinds]


# What holds arrays.


def _is_a(package: str, name: str, value: Any) -> bool:
    """Tell whether a value is of a class of a package; of none that nobody has imported."""
    owner = sys.modules.get(package)
    kind = getattr(owner, name, None)
    # By type: nnx.Variable's own instance check is slow, and asked for each leaf.
    return kind is not None and issubclass(type(value), kind)


def _of_nnx(value: Any) -> Iterator[Part]:
    for leaf in names.flatten(value).leaves:
        yield Part(leaf.name, leaf.value)


def _is_keras(value: Any) -> bool:
    return _is_a("keras", "Layer", value)


def _of_keras(value: Any) -> Iterator[Part]:
    for variable in value.variables:
        yield Part(variable.path.replace("/", "."), variable.value)


def _of_loaded(value: ModelFunction) -> Iterator[Part]:
    for name, array in value.on_device.items():
        yield Part(name, array)


def _is_bound(value: Any) -> bool:
    return _is_a("flax.linen", "Module", value) and value.scope is not None


def _of_bound(value: Any) -> Iterator[Part]:
    yield Part("", value.variables)


#: Objects around one value, and the attribute that is this.
_AROUND = {
    ("flax.nnx", "Variable"): "get_value",
    ("keras", "Variable"): "value",
    ("penzai.core.variables", "AbstractVariable"): "value",
    ("penzai.core.named_axes", "NamedArrayBase"): "data_array",
}


def _around(value: Any) -> str | None:
    return next((name for of, name in _AROUND.items() if _is_a(*of, value)), None)


def _of_variable(value: Any) -> Iterator[Part]:
    inner = getattr(value, _around(value) or "")
    yield Part("", inner() if callable(inner) else inner)


def _is_pytree(value: Any) -> bool:
    """Tell whether it is a node of a tree; lists of so many things are data, and take long."""
    if isinstance(value, list | tuple | dict) and len(value) > _MANY:
        return False
    return not jax.tree_util.all_leaves([value])


def _leaves(value: Any) -> tuple[list[tuple[Any, Any]], Any]:
    """The leaves of a pytree, modules and variables whole."""

    def is_leaf(node: Any) -> bool:
        return node is not value and (is_module(node) or _around(node) is not None)

    return jax.tree_util.tree_flatten_with_path(value, is_leaf=is_leaf)


def _of_pytree(value: Any) -> Iterator[Part]:
    for path, leaf in _leaves(value)[0]:
        if type(leaf) not in _PLAIN:
            yield Part(".".join(map(names.segment, path)), leaf)


def _pytree_remade(value: Any, make: Making) -> Any:
    leaves, structure = _leaves(value)
    return structure.unflatten([make(leaf) for _, leaf in leaves])


def _is_instance(value: Any) -> bool:
    root = str(type(value).__module__).partition(".")[0]
    known = root in _LIBRARIES or root in sys.stdlib_module_names
    return not known and not isinstance(value, type) and hasattr(value, "__dict__")


def _attributes(value: Any) -> Iterator[Part]:
    for name, attribute in getattr(value, "__dict__", {}).items():
        yield Part(name, attribute)


def _copied(value: Any) -> Any:
    try:
        return copy.copy(value)
    except Exception:  # a class whose instances are made otherwise, such as JAX's custom_vjp
        return object.__new__(type(value))


def _instance_remade(value: Any, make: Making) -> Any:
    made = value if hasattr(type(value), "__del__") else _copied(value)
    if made is value:
        return make.keep(value)
    make.begin(value, made)
    made.__dict__.update({name: make(attribute) for name, attribute in vars(value).items()})
    return made


KINDS = (
    Kind(_is_partial, _of_partial, _partial_remade),
    Kind(_is_method, _of_method, _method_remade),
    Kind(_is_wrapper, _of_wrapper, _wrapper_remade),
    Kind(_is_function, _of_function, _function_remade),
    Kind(names.is_module, _of_nnx),
    Kind(lambda value: isinstance(value, ModelFunction), _of_loaded),
    Kind(_is_keras, _of_keras),
    Kind(_is_bound, _of_bound),
    Kind(lambda value: _around(value) is not None, _of_variable),
    Kind(_is_pytree, _of_pytree, _pytree_remade),
    Kind(_is_instance, _attributes, _instance_remade),
)
