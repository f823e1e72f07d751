"""``lga review``: tags -> what is worth a person's label -> a manifest and a sheet."""
