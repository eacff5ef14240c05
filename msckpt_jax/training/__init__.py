"""Saving during training: times, names, the files that are kept, and the resumption of a run."""
