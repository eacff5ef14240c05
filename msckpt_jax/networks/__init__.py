"""Networks in Flax nnx whose parameters MindSpore's own CheckPoints fit."""
