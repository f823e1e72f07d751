"""Settings of `lga shadow`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from workers.settings.shared import ClusterSettings, Count, ModelSettings, Target


class ShadowSettings(ClusterSettings, ModelSettings):
    """Score a sample with the model in production and with a candidate: what would a full re-tag change and cost?"""

    candidate: str
    """Model that may take over: NAME:VERSION, NAME@ALIAS, or a path or URI of a bundle."""
    input: str
    """Prefix or folder of photographs: s3://BUCKET/PREFIX or a path."""
    inventory: str | None = None
    """List of the objects, instead of asking the store; as of `lga score`."""
    include: tuple[str, ...] = ("*",)
    """Patterns of keys to consider, as in a shell (repeat the flag for more)."""
    exclude: tuple[str, ...] = ()
    """Patterns of keys to leave out."""
    suffix: tuple[str, ...] = ()
    """Ends of keys to consider, such as .jpg, in any case."""
    sample_size: Count = 1000
    """Photographs to score with both, from every folder its share; the same ones every time."""
    output: str | None = None
    """URI or path that both runs are written under, and continued from; without it a temporary folder, which only a
    Ray on this machine can reach."""
    engine: Literal["best", Target] = "best"
    """Engine of both models to use."""
    batch_size: Count | None = None
    """Images in one engine call; without it the fewest that a short trial before the run finds as fast as any."""
    price_per_hour: Annotated[float, Field(ge=0)] | None = None
    """Price of the machines for an hour, for the cost of a full re-tag."""
    html: str | None = None
    """Write the comparison as a page to this URI or path."""
    json_output: str | None = None
    """Write the comparison as JSON to this URI or path."""
