"""How many images an engine call takes, by a trial."""

from __future__ import annotations

from types import SimpleNamespace
from unittest.mock import Mock

import pyarrow as pa
import pytest
from ray.exceptions import RayError

from workers.score import rates

IMAGES = pa.table({"pixels": range(64)})


class Busy:
    """An engine that takes so long for a call and for each image of it, by a clock that it moves itself."""

    def __init__(self, call_s: float, image_s: float) -> None:
        self.call_s, self.image_s, self.now_s, self.sizes = call_s, image_s, 0.0, list[int]()

    def __call__(self, images: pa.Table) -> None:
        self.sizes.append(images.num_rows)
        self.now_s += self.call_s + self.image_s * images.num_rows


@pytest.fixture
def busy(monkeypatch):
    """Makes engines."""

    def make(call_s: float, image_s: float) -> Busy:
        engine = Busy(call_s, image_s)
        clock = SimpleNamespace(perf_counter=lambda: engine.now_s, process_time=lambda: 2 * engine.now_s)
        monkeypatch.setattr(rates, "time", clock)
        return engine

    return make


@pytest.mark.parametrize(
    ("call_s", "image_s", "batch"),
    [
        pytest.param(0.0, 0.01, 1, id="calls cost nothing"),
        pytest.param(0.03, 0.005, 32, id="35, 12.5, 6.9, 5.9 and 5.5 ms for each"),
        pytest.param(0.02, 0.01, 16, id="30, 15, 11.3 and 10.6 ms for each"),
        pytest.param(0.2, 0.0, 64, id="only calls cost"),
    ],
)
def test_a_batch_is_as_large_as_it_pays(busy, call_s, image_s, batch):
    """
    Fewer images come out sooner and need less memory, so a larger batch has to be clearly faster.
    """
    assert batch == rates.fitting_batch(busy(call_s, image_s), IMAGES)


def test_a_slow_engine_is_not_tried_with_large_batches(busy):
    """
    Half a second for one image: four of them take as long as a trial may; nobody waits for 64.
    """
    engine = busy(0.1, 0.4)

    assert 4 == rates.fitting_batch(engine, IMAGES)
    assert 4 == max(engine.sizes)


@pytest.mark.parametrize(("text", "told"), [("lost\nmore", "lost"), ("", "RayError()")])
def test_a_measurement_that_fails_is_a_line_in_the_log(monkeypatch, text, told):
    """
    The run goes on without, whatever the error has to say.
    """

    def lost(_task):
        raise RayError(*[text] * bool(text))

    monkeypatch.setattr(rates, "ray", SimpleNamespace(remote=Mock(), get=lost))
    log = Mock()
    found = rates.measure_rates(None, None, SimpleNamespace(rows=1), None, None, batch_size=1, gpus=0, log=log)

    assert found is None
    log.warning.assert_called_once_with("score.rates_not_measured", problem=told)


def test_no_batch_is_larger_than_what_was_loaded(busy):
    """
    Of three photographs nothing can be told about four at once.
    """
    engine = busy(0.01, 0.0)

    assert 1 == rates.fitting_batch(engine, IMAGES.slice(0, 3))
    assert {1} == set(engine.sizes)


def test_the_rate_is_that_of_the_chosen_batch(busy):
    """
    The call that comes first is left out, and so are images beyond the time.
    """
    engine = busy(0.0, 0.5)

    assert (4, 2.0, 4.0) == rates._cost(engine, IMAGES, 2, 2.0)
    assert [2, 2, 2] == engine.sizes
