"""``lga compile``: a version becomes an engine, which is proven equal to the model before anybody can use it."""
