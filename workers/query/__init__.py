"""Asking the written tags: SQL, exports, and how good they are."""
