"""The file formats of checkpoints, one file each."""
