from __future__ import annotations

import subprocess
import sys

import pytest

from lga_model.config import ImageConfig, ModelConfig


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"classes": ()}, "classes"),
        ({"classes": ("run", "run")}, "classes"),
        ({"output_stride": 20}, "output_stride"),
        ({"localisation_channels": (8, 2)}, "localisation_channels"),
        ({"action_channels": 10**9}, "action_channels"),
    ],
)
def test_a_model_that_cannot_be_built_is_refused_by_the_name_of_the_field(fields, name):
    """
    The message names the field that is wrong.
    """
    with pytest.raises(ValueError, match=name):
        ModelConfig(**{"backbone": "resnet50", "classes": ("run",), **fields})


@pytest.mark.parametrize("fields", [{"size_px": 1}, {"size_px": 10**6}, {"std_RGB": (1.0, 0.0, 1.0)}])
def test_an_image_size_or_scale_out_of_range_is_refused(fields):
    """
    No network can take such images, or no memory can hold them.
    """
    with pytest.raises(ValueError, match=next(iter(fields))):
        ImageConfig(**fields)


@pytest.mark.parametrize(
    ("variant", "localisation", "expected"),
    [("lga", True, True), ("lga", False, False), ("plain", True, False)],
)
def test_only_lga_with_localisation_has_a_heatmap(variant, localisation, expected):
    """
    The plain classifier never has one, whatever the other field says.
    """
    config = ModelConfig(backbone="resnet50", classes=("run",), variant=variant, localisation=localisation)

    assert expected == config.has_heatmap


@pytest.mark.parametrize("module", ["config", "calibration", "checkpoint"])
def test_settings_calibration_and_records_are_read_without_torch(module):
    """
    Listing a registry or writing tags must not cost the seconds that importing torch takes.
    """
    code = f"import sys, lga_model.{module}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert "False\n" == done.stdout
