"""Conversions from file to file: a source, the view of it in another stack, and a target."""
