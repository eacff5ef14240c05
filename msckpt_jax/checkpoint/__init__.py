"""Pytree to file and back: names, plan, write; index, boxes, load.

.. include:: ../../docs/formats.md
"""
