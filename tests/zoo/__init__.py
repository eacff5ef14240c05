"""Networks of whole repositories: MindSpore builds and exports them, we load and compare them.

``python -m tests.zoo --help``. No part of the default run of tests.
"""
