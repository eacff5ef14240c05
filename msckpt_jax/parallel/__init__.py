"""Layouts of sharded tensors over ranks: MindSpore's strategy files, merging and resharding.

docs/layout.md tells what users see of it, docs/scaling.md what it costs many hosts.
"""
