"""Families of language models: a table of names for each, and what reads the tables."""
