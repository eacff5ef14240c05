"""The lowering of a JAX function to MindSpore's operators: trace, canonical jaxpr, rules.

docs/operators.md lists the primitives.
"""
