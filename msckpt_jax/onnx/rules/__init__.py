"""Rules by family."""
