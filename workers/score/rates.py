"""What each stage can do on this cluster: measured before a run on a few of its objects, and never guessed.

The rates decide how many processes decode, and say afterwards how near the run came to what the hardware allows
(DESIGN 5). CPU seconds count, not the clock: they are the same whatever else runs on the machine.
"""

from __future__ import annotations

from dataclasses import dataclass

from workers.runs.plan import Plan
from workers.score.fetch import FetchOptions
from workers.score.predict import OpenEngine
from workers.storage import Store
from workers.tags import Lineage, TagForm

_SAMPLE = 48  # Objects; the first ones of each stage only warm it up.
"""Objects that are scored for nothing."""


@dataclass(frozen=True, kw_only=True)
class Sampled:
    """What the measurement needs; the same as the pipeline."""

    source: Store
    output: Store
    plan: Plan
    options: FetchOptions
    opener: OpenEngine
    form: TagForm
    lineage: Lineage
