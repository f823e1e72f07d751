"""A candidate beside the model in production: what a full re-tag would change, and what it would cost."""
