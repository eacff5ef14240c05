"""Formats and libraries of others."""
