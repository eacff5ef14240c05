"""The doors: the functions that users call. All engines lie below (docs/architecture.md)."""
