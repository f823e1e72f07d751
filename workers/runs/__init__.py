"""A run of scoring: what it has to do, what it did, and where every object went.

Jobs share this, not each other: scoring writes it; the history, reports and metrics read it.

    <output>/runs/<run_id>/plan.json    what is to be done; written once
    <output>/runs/<run_id>/run.json     what was done
"""
