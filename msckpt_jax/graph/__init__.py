"""The graph of MindSpore's operators, what they compute, and how it is run and checked."""
