"""Tables of language models, a file of rows a family; ``conventions/families`` reads them.

.. include:: ../../docs/language-models.md
"""
