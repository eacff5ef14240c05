"""MindIR: MindSpore's model files."""
