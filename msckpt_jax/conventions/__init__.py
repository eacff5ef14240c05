"""Flax and MindSpore: the names and layouts of one framework's parameters in the other.

docs/conventions.md has all layers and optimizers.
"""
