"""The doors: the functions that users call. All engines lie below.

.. include:: ../../docs/architecture.md
"""
