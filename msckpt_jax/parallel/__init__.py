"""Layouts of sharded tensors over ranks: MindSpore's strategy files, merging and resharding.

.. include:: ../../docs/layout.md
.. include:: ../../docs/scaling.md
"""
