"""Bulk tagging: one row for every photograph under a prefix."""
