"""The lowering of a JAX function to MindSpore's operators: trace, canonical jaxpr, rules.

.. include:: ../../docs/operators.md
"""
