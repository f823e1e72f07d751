"""Requests to S3, counted in the process that makes them, whichever client it uses.

A driver's metrics register ``REQUESTS``. The processes that fetch photographs have no registry: what they asked for
travels with their rows (``Unreported``) and is added to the driver's counter when the shard is written.
"""

from __future__ import annotations

from typing import Literal

from prometheus_client import Counter

Outcome = Literal["answered", "throttled"]
"""``throttled`` is every request that was refused for now, broke, or was called off without an answer."""

_OUTCOMES: tuple[Outcome, ...] = ("answered", "throttled")
_OPERATIONS = ("get", "put", "list", "head", "delete", "other")

REQUESTS = Counter(
    "lga_storage_requests",
    "Requests to S3, repeats included, by what became of them; those of fetching tasks when their shard is written.",
    ["operation", "outcome"],
    registry=None,
)
for _operation in _OPERATIONS:
    for _outcome in _OUTCOMES:
        REQUESTS.labels(_operation, _outcome)


def count_request(operation: str, outcome: Outcome, requests: int = 1) -> None:
    """Count requests of this process, or such as another one reported."""
    REQUESTS.labels(operation if operation in _OPERATIONS else "other", outcome).inc(requests)


class Unreported:
    """What this process asked for and has told nobody yet. One for each process."""

    def __init__(self, operation: str) -> None:
        self._operation = operation
        self._told = self._made()

    def _made(self) -> dict[str, int]:
        return {
            sample.labels["outcome"]: int(sample.value)
            for family in REQUESTS.collect()
            for sample in family.samples
            if sample.name.endswith("_total") and sample.labels["operation"] == self._operation
        }

    def take(self) -> dict[str, int]:
        """Requests since the last call, by outcome."""
        made = self._made()
        fresh = {outcome: number - self._told[outcome] for outcome, number in made.items()}
        self._told = made
        return fresh
