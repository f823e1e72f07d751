from __future__ import annotations

import dataclasses
import json

import pytest
import torch

from lga_model.network import build_network
from workers.errors import SettingsError
from workers.registry import Registry
from workers.train.parent import load_parent


@pytest.fixture
def parent(make_bundle, tmp_path, own_cache):
    registry = Registry(str(tmp_path / "registry"))
    registry.publish("pose", make_bundle())
    return load_parent("pose:1", registry.uri)


def child(parent, **changes):
    torch.manual_seed(7)
    return build_network(dataclasses.replace(parent.network.config, **changes))


def test_actions_that_the_parent_knows_keep_their_weights(parent):
    """
    In whatever order they come now; a new action keeps the weights that it was given at random.
    """
    network = child(parent, classes=("running", "swimming", "climbing"))
    fresh = network.action.classifier.weight.detach().clone()
    parent.pass_on(network)
    weight, source = network.action.classifier.weight, parent.network.action.classifier.weight

    assert weight[0].equal(source[2])
    assert weight[1].equal(fresh[1])
    assert weight[2].equal(source[0])
    for name, tensor in network.state_dict().items():
        if not name.startswith("action.classifier"):
            assert tensor.equal(parent.network.state_dict()[name]), name


def test_another_architecture_is_refused(parent):
    """
    The message names each setting that differs, and the way out.
    """
    with pytest.raises(
        SettingsError, match=r"pose:1 has another .*backbone is test_resnet, here test_convnext; .*start"
    ):
        parent.pass_on(child(parent, backbone="test_convnext", action_channels=8))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 99}, r"model\.json: format: this release reads 1, not 99"),
        ({"preprocessing": "another"}, "it learnt from photographs prepared as 'another'"),
    ],
)
def test_a_parent_of_another_release_is_refused(make_bundle, change, message):
    """
    This release says which format it reads, and how it prepares photographs.
    """
    bundle = make_bundle()
    record = json.loads((bundle / "model.json").read_text())
    (bundle / "model.json").write_text(json.dumps(record | change))
    with pytest.raises(SettingsError, match=rf"--start-from .*{message}"):
        load_parent(str(bundle), str(bundle.parent))
