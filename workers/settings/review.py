"""Settings of `lga review`."""

from __future__ import annotations

from workers.settings.shared import Count, OutputSettings


class ReviewSettings(OutputSettings):
    """Pick the photographs of a tagged archive that are most worth a person's label.

    Unsure ones, those decided from the background, those that two models judge differently and rare actions take turns;
    of copies only one is taken.
    """

    manifest: str
    """Manifest to write, ending in .parquet or .jsonl: the links, with the present label to be mended."""
    html: str | None = None
    """Write a sheet with the photographs to this file as well."""
    engine: str | None = None
    """Read only the tags of the engine with this fingerprint."""
    limit: Count = 100
    """Photographs to pick."""
    photographs: str | None = None
    """Bucket or folder of the photographs, when they lie elsewhere than they were scored."""
