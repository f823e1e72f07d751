"""The speed of light of a run: what this hardware allows, how near the run came, and which setting to change.

Each stage has a rate of its own, as if nothing else ran on the cluster. Stages on the CPU share its cores: together
they allow ``cores / (sum of their CPU seconds for one image)``. An engine on a GPU has its own rate. The smallest of
what is allowed is the speed of light (DESIGN 5). Ray's own processes are not in it: they are what it costs to use Ray.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Stage = Literal["fetch", "decode", "engine", "write"]

ADVICE: dict[Stage, str] = {
    "fetch": "more requests at once (--fetch-concurrency), or run nearer to the bucket",
    "decode": "more CPU cores, decoding uses all of them; on a GPU host --decode-on gpu",
    "engine": "int8 unless it is (lga compile --precision int8), more cores, or a GPU and --target tensorrt",
    "write": "fewer columns (--no-scores), or larger shards (--shard-rows)",
}
"""What helps when a stage is the bottleneck."""


class _Speed(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Rates(_Speed):
    """What one image costs in each stage: measured before the run on some of its objects, each stage alone."""

    images: Annotated[int, Field(ge=1)]
    """Images that were measured."""
    request_s: float
    """From asking for an object to its last byte."""
    fetch_cpu_s: float
    decode_cpu_s: float
    engine_s: float
    """By the clock, with the engine's own threads: one for each core of a node, unless engines share it."""
    engine_cpu_s: float
    """With making the rows."""
    batch_size: int | None = None
    """Images in one engine call; None in records of before it was measured."""


class Hardware(_Speed):
    """What the cluster has, and how the run used it."""

    cores: float
    engines: int
    on_gpu: bool
    fetchers: int
    """Fetch tasks that may run at once."""
    concurrency: int
    """Requests in flight in each of them."""


class SpeedOfLight(_Speed):
    """The report. Rates are images/s."""

    fetch: float
    decode: float
    engine: float
    write: float
    light: float
    """What the hardware allows with all stages at work."""
    achieved: float
    """Of the run, from its first request for a photograph to its last rows."""
    efficiency: float
    """``achieved / light``."""
    bottleneck: Stage
    advice: str


def speed_of_light(rates: Rates, hardware: Hardware, write_cpu_s: float, achieved: float) -> SpeedOfLight:
    """Work out the report.

    Args:
        rates: As measured before the run.
        hardware: What it ran on.
        write_cpu_s: CPU seconds for one image of making and sending shards, on the driver.
        achieved: Images/s of the run.
    """
    cpu_s: dict[Stage, float] = {"fetch": rates.fetch_cpu_s, "decode": rates.decode_cpu_s, "write": write_cpu_s}
    if not hardware.on_gpu:
        cpu_s["engine"] = rates.engine_cpu_s
    by_cores = {stage: hardware.cores / max(cost, 1e-9) for stage, cost in cpu_s.items()}
    by_requests = hardware.fetchers * hardware.concurrency / max(rates.request_s, 1e-9)
    own: dict[Stage, float] = by_cores | {"fetch": min(by_cores["fetch"], by_requests)}
    own.setdefault("engine", hardware.engines / max(rates.engine_s, 1e-9))
    shared = hardware.cores / max(sum(cpu_s.values()), 1e-9)
    light = min(shared, *own.values())
    # Of stages that share the cores, the one that takes most of them; else the one that alone is slowest.
    bottleneck = max(cpu_s, key=cpu_s.__getitem__) if shared <= light else min(own, key=own.__getitem__)
    return SpeedOfLight(
        **{stage: round(rate, 2) for stage, rate in own.items()},
        light=round(light, 2),
        achieved=round(achieved, 2),
        efficiency=round(achieved / light, 4),
        bottleneck=bottleneck,
        advice=ADVICE[bottleneck],
    )
