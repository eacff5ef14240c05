"""AIR files: GE's intermediate representation, which Ascend's offline compiler reads."""
