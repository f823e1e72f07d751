from __future__ import annotations

import numpy as np
import pytest
import torch

from lga_model.activations import focus, predicting_activation_map, spatial_activation_map


def test_sam_is_the_sum_of_the_channels():
    """
    Eq. 2 without normalisation.
    """
    features = torch.tensor([[[[1.0, 2.0]], [[10.0, 40.0]]]])

    assert [[[11.0, 42.0]]] == spatial_activation_map(features).tolist()


def test_normalised_sam_weighs_every_channel_alike_and_a_flat_one_not_at_all():
    """
    Each channel is scaled to [0, 1] before the sum.
    """
    features = torch.tensor([[[[1.0, 2.0, 3.0]], [[40.0, 10.0, 10.0]], [[7.0, 7.0, 7.0]]]])

    assert [[[1.0, 0.5, 1.0]]] == spatial_activation_map(features, normalise=True).tolist()


def test_pam_is_the_weighted_sum_of_the_features_for_the_action():
    """
    Eq. 2, cell by cell, for another action in each image.
    """
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(2, 3, 2, 2, generator=generator)
    weight = torch.randn(4, 3, generator=generator)
    cam = torch.nn.functional.conv2d(features, weight[:, :, None, None])
    pam = predicting_activation_map(cam, torch.tensor([3, 1]))
    for image, action in enumerate((3, 1)):
        expected = sum(weight[action, k] * features[image, k] for k in range(3))

        torch.testing.assert_close(pam[image], expected)


@pytest.mark.parametrize("array", [torch.tensor, lambda rows: np.array(rows, dtype=np.float32)], ids=["torch", "numpy"])
def test_focus_is_the_share_of_the_positive_evidence_on_the_person(array):
    """
    Evidence against the action does not count, half a person counts half, and more than a person is one.
    """
    pam = array([[[3.0, -9.0], [1.0, 0.0]], [[1.0, 1.0], [2.0, 0.0]]])
    person = array([[[1.0, 1.0], [0.0, 0.0]], [[0.5, 7.0], [0.0, 1.0]]])

    assert [0.75, 0.375] == focus(pam, person).tolist()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("array", [torch.tensor, lambda rows: np.array(rows, dtype=np.float32)], ids=["torch", "numpy"])
def test_focus_of_nothing_is_nan_without_a_warning(array):
    """
    When no cell speaks for the action there is nothing to attribute; the tag says null.
    """
    shares = focus(array([[[-1.0, 0.0]], [[0.0, 1.0]]]), array([[[1.0, 1.0]], [[1.0, 1.0]]]))

    assert np.isnan(float(shares[0]))
    assert 1.0 == float(shares[1])
