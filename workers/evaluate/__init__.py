"""``lga evaluate``: how good a model is on one split of a manifest."""
