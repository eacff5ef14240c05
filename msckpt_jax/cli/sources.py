"""The checkpoints that commands read and write, and where, in the words of their help."""

from __future__ import annotations

DESCRIPTION = """\
  FILE.ckpt, FILE.safetensors   a file; its content counts, not its name
  FOLDER                        safetensors files as Hugging Face's libraries write them, with or
                                without an index, which may be named itself
  FOLDER                        an Orbax checkpoint; of a run's steps name one: run/1000
"""
#: Where files and folders may lie.
STORES = """\

Files and folders may also lie in an object store: s3://bucket/run, gs://bucket/run, az://box/run.
"""
