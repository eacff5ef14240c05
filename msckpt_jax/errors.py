"""The exceptions of the library. Each also is the builtin that a caller would expect."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msckpt_jax.visible import lines, visible


class FileError(ValueError):
    """A file, or an object that is to become a file, is not what it has to be.

    Attributes:
        file: path of the file, or None when no file is involved.
        offset: byte offset in the file at which the fault was found, or None.
        name: the parameter concerned, or None.
        node: the operator of a model concerned, by its place in the network, or None.
        expected, found: the two sides of the contradiction, or None.

    The message has the control characters of names written out; the attributes are as they are.
    """

    def __init__(
        self,
        problem: str,
        *,
        file: Any = None,
        offset: int | None = None,
        name: str | None = None,
        expected: Any = None,
        found: Any = None,
        more: Sequence[str] = (),
        node: str | None = None,
    ):
        self.problem = problem
        self._more = more
        self.file = None if file is None else str(file)
        self.offset = offset
        self.name = name
        self.node = node
        self.expected = expected
        self.found = found
        super().__init__(self._text())

    def _text(self) -> str:
        where = [
            *([self.file] if self.file is not None else []),
            *([f"byte {self.offset}"] if self.offset is not None else []),
            *([f"parameter {self.name!r}"] if self.name is not None else []),
            *([f"operator {self.node}"] if self.node is not None else []),
        ]
        text = f"{', '.join(where)}: {self.problem}" if where else self.problem
        sides = {"expected": self.expected, "found": self.found}
        told = [f"{side} {value}" for side, value in sides.items() if value is not None]
        if told:
            text += f" ({', '.join(told)})"
        return lines([text, *self._more])

    def tell(self, *, file: Any = None, name: str | None = None, node: str | None = None) -> None:
        """Add the names of file, parameter and operator to the message, where it has none."""
        self.file = str(file) if self.file is None and file is not None else self.file
        self.name, self.node = self.name or name, self.node or node
        self.args = (self._text(),)


class CheckpointError(FileError):
    """A CheckPoint file, or a tree to be saved as one, is not what it has to be.

    Example:
        >>> with open("bad.ckpt", "wb") as file:
        ...     _ = file.write(bytes(9))
        >>> try:
        ...     ms.load_checkpoint("bad.ckpt")
        ... except ms.CheckpointError as error:
        ...     print(error.file, error.offset)
        bad.ckpt 0
    """

    def within(self, file: Any, name: str | None = None) -> CheckpointError:
        """The problem with the names of file and parameter, unless it has them."""
        return CheckpointError(
            self.problem,
            file=self.file or file,
            offset=self.offset,
            name=self.name or name,
            expected=self.expected,
            found=self.found,
            more=self._more,
        )


class StoreError(CheckpointError, OSError):
    """An object store does not do what was asked; the message names the path, and what to do.

    There is no such bucket, the credentials are missing, wrong or lack a permission, the store
    cannot be reached, or the package that speaks to it is not installed. An object that is not
    there is a FileNotFoundError, as a file is.

    Example:
        >>> try:
        ...     ms.open_checkpoint("s3://bucket/model.ckpt")  # doctest: +SKIP
        ... except ms.StoreError as error:
        ...     print(error.file)
        s3://bucket/model.ckpt
    """


class AirError(FileError):
    """An AIR file is not what it has to be.

    Example:
        >>> with open("bad.air", "wb") as file:
        ...     _ = file.write(b"no model")
        >>> try:
        ...     ms.load("bad.air")
        ... except ms.AirError as error:
        ...     print(error.file)
        bad.air
    """


class MindIRError(FileError):
    """A MindIR file is not what it has to be, or holds something without a counterpart in JAX.

    Example:
        >>> with open("bad.mindir", "wb") as file:
        ...     _ = file.write(b"no model")
        >>> try:
        ...     ms.load("bad.mindir")
        ... except ms.MindIRError as error:
        ...     print(error.file)
        bad.mindir
    """


class PreprocessorError(FileError):
    """A data set, or its section in a MindIR file, does not consist of MindSpore's transforms."""


class AsyncSaveError(CheckpointError):
    """An asynchronous save failed; ``__cause__`` is the error of the saving thread or process.

    Example:
        >>> save = ms.save_checkpoint({"w": np.ones(3)}, "/dev/full", async_save=True)
        >>> try:
        ...     ms.save_checkpoint({"w": np.ones(3)}, "next.ckpt")
        ... except ms.AsyncSaveError as error:
        ...     print(repr(error.__cause__))
        OSError(28, 'No space left on device')
    """


class RewriteError(TypeError):
    """A rewrite of a primitive does not return what the primitive does."""

    def __init__(self, problem: str):
        super().__init__(visible(problem))


class ExportError(ValueError):
    """A function cannot be exported; nothing was written, unless the message says which file.

    An error of ours or of a runtime that is the reason is its ``__cause__``.

    Attributes:
        problems: each problem by itself; the message has all of them.

    Example:
        >>> try:
        ...     ms.export(lambda x: jax.pure_callback(np.sin, x, x), jnp.ones(2), file_name="net")
        ... except ms.ExportError as error:
        ...     print(error.problems[0].partition(": ")[2].partition(",")[0])
        pure_callback: Python code computes its results
    """

    def __init__(self, problem: str, *, problems: tuple[str, ...] = ()):
        self.problems = tuple(map(visible, problems or (problem,)))
        super().__init__("\n  ".join([visible(problem), *(self.problems if problems else ())]))


class UnsupportedError(ExportError):
    """An equation cannot be expressed in the target's operators."""


class TransformError(RuntimeError):
    """A transform of ``msckpt_jax.transforms`` cannot take the data that it was given.

    MindSpore raises a ``RuntimeError``, too.
    """

    def __init__(self, problem: str):
        super().__init__(visible(problem))


class AmbiguousLeafError(CheckpointError):
    """A leaf of a Flax tree can be read in several ways, and nothing says which is meant.

    Attributes:
        readings: the possible readings of each such leaf.

    Example:
        >>> tree = {"layer": {"kernel": np.ones((3, 3, 8, 8), np.float32)}}
        >>> try:
        ...     ms.save_checkpoint(tree, "model.ckpt", convention="mindspore")
        ... except ms.AmbiguousLeafError as error:
        ...     print(list(error.readings))
        ['layer.kernel']
    """

    def __init__(self, problem: str, readings: dict[str, list[str]], **where: Any):
        super().__init__(problem, **where)
        self.readings = readings
