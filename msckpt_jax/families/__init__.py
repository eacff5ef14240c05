"""Tables of language models, a file of rows a family; ``conventions/families`` reads them.

docs/language-models.md says how a table is written.
"""
