"""The speed of light, against sums made by hand."""

from __future__ import annotations

import pytest

from workers.runs.speed import ADVICE, Hardware, Rates, speed_of_light

RATES = Rates(
    images=64, request_s=0.02, fetch_cpu_s=0.001, decode_cpu_s=0.005, engine_s=0.002, engine_cpu_s=0.004,
)  # fmt: skip
CORES = Hardware(cores=2, engines=1, on_gpu=False, fetchers=2, concurrency=16)


def test_stages_on_the_cpu_share_its_cores():
    """
    Two cores, 0.001 + 0.005 + 0.004 CPU seconds for an image and none to write: 200 images/s, and 160 are 80 % of
    it. Fetching alone has 32 requests of 20 ms in flight: 1600.
    """
    speed = speed_of_light(RATES, CORES, write_cpu_s=0.0, achieved=160)

    assert (1600, 400, 500, 200) == (speed.fetch, speed.decode, speed.engine, speed.light)
    assert 0.8 == pytest.approx(speed.efficiency)
    assert ("decode", ADVICE["decode"]) == (speed.bottleneck, speed.advice)


def test_an_engine_on_a_gpu_takes_no_core():
    """
    A card that does 100 images/s limits cores that could feed it 333; three such cards no longer do.
    """
    rates = RATES.model_copy(update={"engine_s": 0.01})
    one = speed_of_light(rates, CORES.model_copy(update={"on_gpu": True}), write_cpu_s=0.0, achieved=95)
    four = CORES.model_copy(update={"on_gpu": True, "engines": 4})

    assert (100, "engine", 0.95) == (one.light, one.bottleneck, one.efficiency)
    assert "decode" == speed_of_light(rates, four, write_cpu_s=0.0, achieved=95).bottleneck


def test_a_store_that_is_far_away_limits_by_its_requests():
    """
    32 requests in flight, each of a second: 32 images/s, however many cores there are.
    """
    speed = speed_of_light(RATES.model_copy(update={"request_s": 1.0}), CORES, write_cpu_s=0.0, achieved=30)

    assert (32, "fetch") == (speed.light, speed.bottleneck)
    assert "--fetch-concurrency" in speed.advice


def test_every_bottleneck_has_its_advice():
    """
    A run that is held up by writing is told so.
    """
    speed = speed_of_light(RATES, CORES, write_cpu_s=0.02, achieved=10)

    assert ("write", 100) == (speed.bottleneck, speed.write)
    assert "--shard-rows" in speed.advice
