"""``lga prepare``: a raw data set, or a rendered one, -> a training manifest."""
