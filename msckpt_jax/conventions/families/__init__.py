"""Families of language models: what reads their tables, and matches trees with files by them."""
