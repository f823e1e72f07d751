from __future__ import annotations

import dataclasses

import pytest
import torch

from lga_model.config import FAST, PAPER, ModelConfig
from lga_model.network import build_network
from workers.train.optimiser import build_optimiser, pace, set_pace

CONFIG = ModelConfig(backbone="resnet10t", classes=("a", "b"), action_channels=8, localisation_channels=(4, 1))


@pytest.fixture(scope="module")
def network():
    return build_network(CONFIG)


def test_every_trainable_weight_learns_once(network):
    """
    No parameter is forgotten, none is in two groups.
    """
    groups = build_optimiser(network, FAST).param_groups
    members = [id(parameter) for group in groups for parameter in group["params"]]

    assert len(set(members)) == len(members)
    assert {id(parameter) for parameter in network.parameters() if parameter.requires_grad} == set(members)


def test_norms_and_biases_are_not_decayed(network):
    """
    Weight decay is for matrices and kernels.
    """
    for group in build_optimiser(network, FAST).param_groups:
        shapes = {parameter.ndim > 1 for parameter in group["params"]}

        assert {group["weight_decay"] == FAST.weight_decay} == shapes


def test_the_backbone_learns_at_its_own_rate(network):
    """
    ImageNet's weights move slower than the new branches.
    """
    rates = {
        id(parameter): group["lr"]
        for group in build_optimiser(network, FAST).param_groups
        for parameter in group["params"]
    }

    assert {FAST.backbone_learning_rate} == {rates[id(parameter)] for parameter in network.backbone_parameters()}
    assert {FAST.head_learning_rate} == {rates[id(parameter)] for parameter in network.head_parameters()}


def test_layers_near_the_image_learn_slower(network):
    """
    Each layer at half the rate of the one behind it; the head at its own; no weight is forgotten.
    """
    recipe = dataclasses.replace(FAST, layer_decay=0.5)
    groups = build_optimiser(network, recipe).param_groups
    rates = {id(parameter): group["lr"] for group in groups for parameter in group["params"]}
    body = network.backbone.body
    stem, late, last = (rates[id(weight)] for weight in (
        body.conv1[0].weight, body.layer3[0].conv1.weight, body.layer4[0].conv1.weight,
    ))  # fmt: skip

    assert len(list(network.parameters())) == len(rates)
    assert pytest.approx(FAST.backbone_learning_rate) == last
    assert pytest.approx(last / 2) == late
    assert stem < late / 2
    assert {FAST.head_learning_rate} == {rates[id(parameter)] for parameter in network.head_parameters()}
    assert FAST.head_learning_rate == groups[-1]["lr"]


def test_the_paper_learns_at_a_constant_rate():
    """
    Recipe `paper`: the same rate in each step, Adam's own momentum.
    """
    assert {(1.0, None)} == {tuple(pace(step, 100, PAPER)) for step in range(100)}


@pytest.mark.parametrize("schedule", ["cosine", "one_cycle"])
def test_the_rate_rises_then_falls(schedule):
    """
    It peaks where the warm-up ends and comes down to almost nothing; no step stands still.
    """
    recipe = dataclasses.replace(FAST, schedule=schedule, warmup_share=0.2)
    rates = [pace(step, 100, recipe).learning_rate for step in range(100)]

    assert rates[:20] == sorted(rates[:20])
    assert rates[20:] == sorted(rates[20:], reverse=True)
    assert 0.99 < max(rates) <= 1
    assert 0 < min(rates) == rates[-1] < 0.001


def test_one_cycle_moves_momentum_against_the_rate():
    """
    Momentum is low where the rate is high.
    """
    middle, end = pace(20, 100, FAST), pace(99, 100, FAST)

    assert middle.beta1 == pytest.approx(0.85, abs=1e-3)
    assert end.beta1 == pytest.approx(0.95, abs=1e-3)


def test_a_training_of_one_step_moves():
    """
    Warm-up of a very short training does not make its only step a step of nothing.
    """
    assert pace(0, 1, FAST).learning_rate > 0


def test_pace_scales_each_group_from_its_own_peak():
    """
    Half the pace is half of every group's rate.
    """
    weight = torch.nn.Parameter(torch.zeros(2))
    optimiser = torch.optim.Adam([{"params": [weight], "lr": 1.0, "peak_lr": 4.0}])
    set_pace(optimiser, pace(0, 1, dataclasses.replace(FAST, schedule="cosine", warmup_share=0.0)))

    assert optimiser.param_groups[0]["lr"] == pytest.approx(2.0)
