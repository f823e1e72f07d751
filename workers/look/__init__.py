"""``lga look``: what a model sees in one or a few photographs."""
