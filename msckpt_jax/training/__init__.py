"""Saving during training: when, under which names, what is kept, and how a run goes on."""
