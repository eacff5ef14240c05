"""Networks in Flax nnx that MindSpore's own CheckPoints fit."""
