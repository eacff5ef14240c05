"""The doors: what users call. All engines lie below."""
