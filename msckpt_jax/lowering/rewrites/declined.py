"""How a rewrite says that an equation is left as it is."""


class Declined(Exception):  # noqa: N818 (it is no error)
    """Raised by a rewrite that does not cover these operands or parameters."""
