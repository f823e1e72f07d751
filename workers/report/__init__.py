"""``lga report``: one self-contained HTML page about a run, a model, or two models."""
