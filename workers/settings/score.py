"""Settings of `lga score`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from workers.settings.shared import ClusterSettings, Count, DecodeOn, EngineChoice, ModelSettings, Reason, Share


class ScoreSettings(ClusterSettings, ModelSettings):
    """Tag every photograph under a prefix: exactly one row for each object. Running it again continues it."""

    input: str
    """Prefix or folder of photographs: s3://BUCKET/PREFIX or a path."""
    output: str
    """URI or path that the tags and the run's record are written under."""
    run: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")
    """Name of the run; without it an unfinished run with the same input and engine is continued, or a new one
    starts."""
    engine: EngineChoice = "best"
    """Engine of the version to use; `best` takes the fastest that fits this machine."""
    compile_if_missing: bool = False
    """When no engine fits, compile one where it will run (`lga compile`); one machine builds, the others wait."""
    inventory: str | None = None
    """List of the objects, instead of asking the store: manifest.json of S3 Inventory, or a file of keys (.parquet,
    .csv, .txt; .gz)."""
    include: tuple[str, ...] = ("*",)
    """Patterns of keys to score, as in a shell (repeat the flag for more)."""
    exclude: tuple[str, ...] = ()
    """Patterns of keys to leave out."""
    suffix: tuple[str, ...] = ()
    """Ends of keys to score, such as .jpg, in any case; without it the bytes decide what is an image."""
    min_object_bytes: Annotated[int, Field(ge=0)] = 0
    """Smaller objects are left out."""
    sample: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Score this share of the objects, chosen by their keys: the same ones every time."""
    limit: Count | None = None
    """Score at most this many objects."""
    skip_quarantined: bool = False
    """Leave out objects that failed before, unchanged, for a reason that lies in themselves."""
    dry_run: bool = False
    """Only say what would be scored: objects, bytes, requests, and how long it takes by the speed of earlier runs."""
    price_per_hour: Annotated[float, Field(ge=0)] | None = None
    """Price of the machines for an hour, for the cost of a dry run and of what runs."""
    scores: bool = True
    """Write every class's probability."""
    shard_rows: Annotated[int, Field(ge=1, le=1_000_000)] = 2048
    """Objects in one shard, the unit of commit and of resuming."""
    batch_size: Count | None = None
    """Images in one engine call; without it the fewest that a short trial before the run finds as fast as any."""
    engines: Count | None = None
    """Number of engine actors; without it one for each GPU, or, without GPUs, as many on each node as the trial finds
    to keep its cores busy."""
    fetch_concurrency: Count = 16
    """Requests in flight in each fetch task."""
    decode_on: DecodeOn = "cpu"
    """Where JPEGs are decoded; `gpu` takes some of the engines' GPUs for it, when CPUs cannot keep up with them. Pixels
    differ by a level or two."""
    image_timeout_s: Annotated[float, Field(gt=0)] = 60.0
    """Seconds before one object is given up (reason: timeout)."""
    max_object_bytes: Count = 64 * 1024 * 1024
    """Larger objects are not fetched (reason: too_large)."""
    max_image_pixels: Count = 178_956_970
    """Larger images are not decoded (reason: too_large)."""
    max_failure_rate: Share = 1.0
    """Exit with 3 when a larger share of the objects failed; stop early when that is certain to happen."""
    max_reason_rate: dict[Reason, Share] = Field(default={})
    """The same for single reasons, for example denied=0.01 (repeat the flag for more)."""
    if_running: Literal["wait", "exit", "take-over"] = "wait"
    """When another attempt is at this run: wait until it ends or is dead, exit with 0, or take its place at once."""
    lease_s: Annotated[float, Field(ge=1)] = 30.0
    """Seconds without a sign of life after which an attempt counts as dead."""
