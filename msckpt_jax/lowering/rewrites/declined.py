"""The exception by which a rewrite says that an equation stays as it is."""


class Declined(Exception):  # noqa: N818 (it is no error)
    """Raised by a rewrite that does not cover these operands or parameters."""
