"""From a JAX function to a graph of MindSpore operators: trace, canonical jaxpr, rules.

.. include:: ../../docs/operators.md
"""
