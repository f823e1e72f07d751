"""``lga models``: look at the registry, move an alias, move it back."""
