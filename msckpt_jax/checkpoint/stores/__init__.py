"""Object stores: a driver for each kind, paths, uploads in parts, and reads of ranges."""

from __future__ import annotations
