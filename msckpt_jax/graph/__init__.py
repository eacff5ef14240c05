"""The graph of MindSpore's operators, the operators' meanings, and how it is run and checked."""
