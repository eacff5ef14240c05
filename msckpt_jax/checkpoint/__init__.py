"""Pytree to file and back: names, plan, write; index, boxes, load (docs/formats.md)."""
