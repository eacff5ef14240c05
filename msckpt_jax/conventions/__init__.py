"""Flax and MindSpore: the names and layouts of one framework's parameters in the other.

.. include:: ../../docs/conventions.md
"""
