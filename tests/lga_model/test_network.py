from __future__ import annotations

import pytest
import torch

from lga_model.config import PAPER, ImageConfig, ModelConfig
from lga_model.losses import lga_loss
from lga_model.network import LocalisationBranch, build_network


def config(**fields):
    return ModelConfig(
        **{
            "backbone": "test_resnet",
            "classes": ("run", "climb", "fish"),
            "image": ImageConfig(size_px=96),
            "action_channels": 16,
            "localisation_channels": (8, 1),
            **fields,
        },
    )


def photographs(count=2, size_px=96):
    return torch.randint(0, 256, (count, size_px, size_px, 3), dtype=torch.uint8)


@pytest.mark.parametrize("variant", ["lga", "plain"])
def test_logits_are_the_mean_of_the_class_activation_maps_plus_the_bias(variant):
    """
    And equal what a global average pool and a linear layer give: the same computation in the other order.
    """
    torch.manual_seed(0)
    network = build_network(config(variant=variant)).eval()
    torch.nn.init.normal_(network.action.classifier.bias)
    with torch.no_grad():
        said = network(photographs())
        pooled = network.action.classifier(said.features_BKHW.mean(dim=(2, 3)))

    torch.testing.assert_close(said.logits_BA, said.cam_BAHW.mean(dim=(2, 3)) + network.action.classifier.bias)
    torch.testing.assert_close(said.logits_BA, pooled)


def test_every_output_has_the_declared_shape():
    """
    All maps share the cells that the network declares.
    """
    network = build_network(config(output_stride=16)).eval()
    with torch.no_grad():
        said = network(photographs(5))

    assert (6, 6) == network.feature_size
    assert (5, 3) == said.logits_BA.shape
    assert (5, 3, 6, 6) == said.cam_BAHW.shape
    assert (5, 6, 6) == said.heatmap_BHW.shape
    assert (5, 16, 6, 6) == said.features_BKHW.shape


@pytest.mark.parametrize("fields", [{"variant": "plain"}, {"localisation": False}])
def test_without_a_localisation_branch_there_is_no_heatmap(fields):
    """
    Nor any weight for it.
    """
    network = build_network(config(**fields)).eval()
    with torch.no_grad():
        assert network(photographs()).heatmap_BHW is None

    assert not any(name.startswith("localisation") for name in network.state_dict())


def test_plain_pools_the_features_of_the_backbone():
    """
    Table 1's first row: no added convolution.
    """
    network = build_network(config(variant="plain")).eval()
    image = photographs(1)
    with torch.no_grad():
        features = network.backbone((image / 255 - 0.5).permute(0, 3, 1, 2))

        assert features.shape == network(image).features_BKHW.shape


@pytest.mark.parametrize(("source", "reached"), [("backbone", False), ("action", True)])
def test_the_mask_loss_reaches_the_map_that_is_pooled_when_the_branch_stands_on_it(source, reached):
    """
    As published both branches stand side by side on the backbone, and the added convolution learns of actions alone.
    """
    network = build_network(config(localisation_source=source))
    network(photographs()).heatmap_BHW.sum().backward()

    assert reached == (network.action.conv[0].weight.grad is not None)
    assert any(parameter.grad is not None for parameter in network.backbone_parameters())


def test_pooling_by_person_is_the_mean_weighted_by_the_heatmap():
    """
    The logits of F_cls that counts eleven times where somebody is for sure (1 + 0.1) against where nobody is (0.1).
    """
    network = build_network(config(pooling="person", output_stride=16)).eval()
    heatmap = torch.zeros(2, 6, 6)
    heatmap[:, 1:3, 4:] = torch.tensor([[1.0, 0.5], [3.0, 0.0]])
    network.localisation = torch.nn.Module()
    network.localisation.forward = lambda _: heatmap
    features = torch.rand(2, network.backbone.channels, 6, 6)
    with torch.no_grad():
        said = network.recognise(features)
        action_features = network.action.conv(features)
        weight = (heatmap.clamp(max=1) + 0.1)[:, None]
        pooled = (action_features * weight).sum(dim=(2, 3)) / weight.sum(dim=(2, 3))

    torch.testing.assert_close(said.logits_BA, network.action.classifier(pooled))
    torch.testing.assert_close(said.logits_BA, said.cam_BAHW.mean(dim=(2, 3)) + network.action.classifier.bias)


@pytest.mark.parametrize("everywhere", [0.0, 0.7])
def test_pooling_by_person_is_the_mean_where_the_heatmap_tells_nothing(everywhere):
    """
    A dead heatmap, or one that sees a person in every cell, leaves the published pool.
    """
    network = build_network(config(pooling="person")).eval()
    features = torch.rand(2, network.backbone.channels, 3, 3)
    network.localisation = torch.nn.Module()
    network.localisation.forward = lambda _: torch.full((2, 3, 3), everywhere)
    with torch.no_grad():
        pooled = network.action.conv(features).mean(dim=(2, 3))

        torch.testing.assert_close(network.recognise(features).logits_BA, network.action.classifier(pooled))


def test_the_normalisation_is_that_of_the_config():
    """
    (x / 255 - mean) / std for each channel, before the backbone sees the image.
    """
    image_config = ImageConfig(size_px=96, mean_RGB=(0.1, 0.2, 0.3), std_RGB=(0.5, 0.25, 2.0))
    network = build_network(config(image=image_config))
    seen = []
    network.backbone.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    image = photographs(1)
    network.eval()(image)
    expected = (image / 255 - torch.tensor([0.1, 0.2, 0.3])) / torch.tensor([0.5, 0.25, 2.0])

    torch.testing.assert_close(seen[0].permute(0, 2, 3, 1), expected)
    assert seen[0].is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    "image", [torch.zeros(1, 96, 96, 3), torch.zeros(1, 3, 96, 96, dtype=torch.uint8), torch.zeros(96, 96, 3).byte()]
)
def test_images_in_another_form_are_refused(image):
    """
    Floats would be normalised twice, channels first taken for pixels: wrong scores without an error.
    """
    with pytest.raises(ValueError, match="uint8"):
        build_network(config())(image)


@pytest.mark.parametrize("activation", ["relu", "sigmoid"])
@pytest.mark.parametrize("seed", range(3))
def test_the_heatmap_starts_undecided_and_alive(activation, seed):
    """
    Near 0.5 in every cell, whatever the seed: a relu that starts below zero would never get a gradient.
    """
    torch.manual_seed(seed)
    network = build_network(config(localisation_activation=activation, localisation_channels=(512, 64, 32, 1)))
    heatmap = network.eval()(photographs()).heatmap_BHW
    heatmap.sum().backward()

    assert heatmap.min() > 0.1
    assert heatmap.max() < 0.9
    assert network.localisation.hidden[0][0].weight.grad.abs().sum() > 0


def dead_branch(activation):
    """A localisation branch whose last relu cuts everything off, in training."""
    torch.manual_seed(0)
    branch = LocalisationBranch(8, (4, 1), activation).train()
    torch.nn.init.constant_(branch.last.bias, -1.0)
    return branch


@pytest.mark.parametrize(("activation", "revived"), [("relu", False), ("straight_through", True)])
def test_a_dead_branch_comes_back_only_with_the_straight_through_gradient(activation, revived):
    """
    The published relu gets no gradient and stays at zero for ever; the remedy finds the person, and only the person.
    """
    branch, features, mask = dead_branch(activation), torch.rand(4, 8, 4, 4), torch.zeros(4, 4, 4)
    features[:, 0, :, :2] += 2
    mask[:, :, :2] = 1
    optimiser = torch.optim.Adam(branch.parameters(), lr=0.02)
    for _ in range(150):
        optimiser.zero_grad()
        (mask - branch(features)).square().sum().backward()
        optimiser.step()
    heatmap = branch.eval()(features)

    assert revived == bool(heatmap.max() > 0)
    assert revived == bool((mask - heatmap).square().mean() < 0.1)


def test_the_remedy_changes_no_heatmap():
    """
    In training but for rounding, and afterwards to the last bit, it is the published relu.
    """
    torch.manual_seed(0)
    published, remedy = (LocalisationBranch(8, (4, 1), activation) for activation in ("relu", "straight_through"))
    remedy.load_state_dict(published.state_dict())
    features = torch.randn(2, 8, 4, 4)
    for branch in (published, remedy):
        torch.nn.init.constant_(branch.last.bias, 0.0)
    expected = published(features)

    assert (expected == 0).any()
    torch.testing.assert_close(remedy.train()(features), expected, rtol=0, atol=1e-7)
    assert expected.equal(remedy.eval()(features))


def test_backbone_and_head_parameters_are_all_that_is_trained():
    """
    Each trainable parameter belongs to exactly one of the two learning rates, and gets a gradient.
    """
    network = build_network(config(backbone="mobilenetv3_small_100"))
    backbone, head = list(network.backbone_parameters()), list(network.head_parameters())
    trainable = {id(parameter) for parameter in network.parameters() if parameter.requires_grad}
    said = network(photographs())
    lga_loss(said, torch.tensor([0, 1]), torch.ones(2, 3, 3), torch.tensor([True, True]), PAPER).total.backward()

    assert trainable == {id(parameter) for parameter in (*backbone, *head)}
    assert len(trainable) == len(backbone) + len(head)
    assert all(parameter.grad is not None for parameter in (*backbone, *head))


def test_a_few_steps_learn_action_and_person():
    """
    Four photographs, two actions told apart by colour, a person on the left: the loss falls to a fraction.
    """
    torch.manual_seed(0)
    network = build_network(config(output_stride=16))
    image, action = photographs(4), torch.tensor([0, 1, 0, 1])
    image[action == 1, ..., 0] //= 4
    mask = torch.zeros(4, 6, 6)
    mask[:, :, :3] = 1
    optimiser = torch.optim.Adam(network.parameters(), lr=2e-3)
    totals = []
    for _ in range(30):
        terms = lga_loss(network(image), action, mask, torch.ones(4, dtype=torch.bool), PAPER)
        optimiser.zero_grad()
        terms.total.backward()
        optimiser.step()
        totals.append(terms.total.item())

    assert totals[-1] < totals[0] / 3


def test_outputs_are_float32_under_bf16():
    """
    The loss and the tags are computed in full precision, whatever the forward pass.
    """
    network = build_network(config()).eval()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        said = network(photographs())

    assert [torch.float32] * 3 == [said.logits_BA.dtype, said.cam_BAHW.dtype, said.heatmap_BHW.dtype]
    assert torch.bfloat16 == said.features_BKHW.dtype
