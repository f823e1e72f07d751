from __future__ import annotations

import dataclasses
import math

import pytest

from lga_model.config import FAST, ImageConfig
from workers.errors import SettingsError
from workers.settings import TrainSettings, read_settings
from workers.train.plan import Plan, choose_config, choose_micro_batch, choose_recipe, finite, new_run_name


def settings(**changes) -> TrainSettings:
    return TrainSettings(manifest="m.jsonl", name="model", **changes)


def config_of(**changes):
    chosen = settings(**changes)
    return choose_config(chosen, choose_recipe(chosen), ("a", "b"), ImageConfig())


def test_settings_replace_single_values_of_the_recipe():
    """
    What is not given stays as the recipe has it.
    """
    expected = dataclasses.replace(FAST, epochs=3, mask_reduction="sum")

    assert expected == choose_recipe(settings(epochs=3, mask_reduction="sum"))


def test_without_a_mask_loss_there_is_no_localisation_branch():
    """
    Nobody would train it: weight 0 and the plain variant have none.
    """
    assert config_of().localisation
    assert not config_of(mask_weight=0).localisation
    assert not config_of(variant="plain").localisation
    assert 0 == choose_recipe(settings(variant="plain")).mask_weight
    assert 0 == choose_recipe(settings(mask_weight=0.0, nobody_share=0.1)).nobody_share


def test_the_published_network_is_the_default_and_its_variants_are_settings():
    """
    Both branches on the backbone, and a plain mean, unless asked otherwise.
    """
    published, other = config_of(), config_of(localisation_source="action", pooling="person")

    assert ("backbone", "mean") == (published.localisation_source, published.pooling)
    assert ("action", "person") == (other.localisation_source, other.pooling)


def test_half_precision_needs_a_gpu():
    """
    fp16 on a CPU is refused with what to take instead.
    """
    with pytest.raises(SettingsError, match="bf16"):
        choose_recipe(settings(precision="fp16"))

    assert "fp16" == choose_recipe(settings(precision="fp16", gpu=True)).precision


def test_workers_share_a_batch_equally():
    """
    A batch that the workers cannot share is refused.
    """
    with pytest.raises(SettingsError, match=r"batch of 32 .* 3 workers"):
        choose_micro_batch(settings(workers=3), 32)

    assert 16 == choose_micro_batch(settings(workers=2), 32)


def test_fewer_workers_than_have_to_be_there_are_refused():
    """
    The least is not more than the most.
    """
    with pytest.raises(SettingsError, match="--min-workers 3 is more than --workers 2"):
        choose_micro_batch(settings(workers=2, min_workers=3), 32)


@pytest.mark.parametrize(("micro_batch", "workers"), [(5, 1), (16, 3), (64, 1)])
def test_micro_batches_fill_the_batch_and_reach_every_worker(micro_batch, workers):
    """
    Others are refused; unequal shares are not, for three workers may share four of them.
    """
    with pytest.raises(SettingsError, match="micro-batch"):
        choose_micro_batch(settings(workers=workers, micro_batch_size=micro_batch), 32)

    assert 8 == choose_micro_batch(settings(workers=3, micro_batch_size=8), 32)


def test_a_new_run_has_a_new_name():
    """
    Even two runs of the same second differ: Ray would silently continue the first.
    """
    names = {new_run_name("model") for _ in range(20)}

    assert len(names) > 15
    assert all(name.startswith("model-") for name in names)


def test_a_longer_training_is_the_same_run():
    """
    More epochs may continue a run; another batch size is another run.
    """

    def identity(**changes):
        recipe = dataclasses.replace(FAST, **changes)
        plan = Plan(config=config_of(), recipe=recipe, micro_batch=8, seed=0, manifest_digest="d", weights_sha256=None)
        return plan.identity()

    assert identity() == identity(epochs=99)
    assert identity() != identity(batch_size=8)


def test_json_gets_no_nan():
    """
    What could not be measured is null, at any depth.
    """
    assert {"a": [None, 1.5, {"b": None}], "c": "x"} == finite({"a": (math.nan, 1.5, {"b": math.inf}), "c": "x"})


def test_a_flag_gives_the_stride():
    """
    On the command line everything is text.
    """
    arguments = ["--manifest", "m", "--name", "n", "--output-stride"]

    assert 16 == read_settings(TrainSettings, "train", [*arguments, "16"]).output_stride
    with pytest.raises(SettingsError, match="8, 16 or 32"):
        read_settings(TrainSettings, "train", [*arguments, "12"])


@pytest.mark.parametrize("flags", [["--ema-decay", "0.999995"], ["--action-channels", "10000"]])
def test_what_recipe_and_network_refuse_is_a_wrong_setting(flags):
    """
    Told with the flag, as every other one.
    """
    with pytest.raises(SettingsError, match=rf"{flags[0]} '{flags[1]}': Input should be less than or equal"):
        read_settings(TrainSettings, "train", ["--manifest", "m", "--name", "n", *flags])
