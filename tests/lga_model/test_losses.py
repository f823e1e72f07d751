from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from lga_model.config import PAPER
from lga_model.losses import NOBODY, lga_loss
from lga_model.network import Prediction

ALL = torch.tensor([True, True])


def prediction(heatmap=None, logits=None):
    logits = torch.tensor([[2.0, 0.0, -1.0], [0.0, 0.0, 0.0]]) if logits is None else logits
    return Prediction(logits, torch.zeros(2, 3, 2, 2), heatmap, torch.zeros(2, 1, 2, 2))


def test_eq_1_by_hand():
    """
    Cross-entropy plus the squared error summed over the cells of an image, both averaged over the images.
    """
    heatmap = torch.tensor([[[0.0, 0.5], [1.0, 2.0]], [[0.0, 0.0], [0.0, 0.0]]])
    mask = torch.tensor([[[0.0, 1.0], [1.0, 1.0]], [[1.0, 1.0], [1.0, 0.0]]])
    terms = lga_loss(prediction(heatmap), torch.tensor([0, 2]), mask, ALL, PAPER)

    by_hand = (-torch.tensor([2.0, 0.0, -1.0]).log_softmax(0)[0] + torch.tensor(3.0).log()) / 2

    assert pytest.approx(by_hand.item()) == terms.classification.item()
    assert (0.25 + 1 + 3) / 2 == terms.mask.item()
    assert pytest.approx(by_hand.item() + 4.25 / 2) == terms.total.item()


def test_the_gradient_of_the_mask_loss_by_hand():
    """
    Each cell is pulled by 2 (M* - M) / B, times the weight.
    """
    heatmap = torch.tensor([[[0.25, 0.5]], [[1.0, 3.0]]], requires_grad=True)
    mask = torch.tensor([[[1.0, 0.5]], [[1.0, 0.0]]])
    lga_loss(prediction(heatmap), torch.tensor([0, 0]), mask, ALL, replace(PAPER, mask_weight=10.0)).total.backward()

    assert [[[-7.5, 0.0]], [[0.0, 30.0]]] == heatmap.grad.tolist()


def test_the_mean_over_the_cells_is_the_sum_divided_by_their_number():
    """
    196 times lighter at 14x14.
    """
    heatmap, mask = torch.rand(2, 14, 14), torch.rand(2, 14, 14).round()
    summed, mean = (
        lga_loss(prediction(heatmap), torch.tensor([0, 1]), mask, ALL, replace(PAPER, mask_reduction=reduction)).mask
        for reduction in ("sum", "mean")
    )

    torch.testing.assert_close(summed, 196 * mean)


def test_an_image_without_boxes_teaches_the_heatmap_nothing_and_counts_as_an_image():
    """
    Its cells get no gradient; the pull on the other image is the same as if this one had boxes.
    """
    heatmap = torch.full((2, 2, 2), 0.5, requires_grad=True)
    mask = torch.stack([torch.ones(2, 2), torch.zeros(2, 2)])
    terms = lga_loss(prediction(heatmap), torch.tensor([0, 1]), mask, torch.tensor([True, False]), PAPER)
    terms.total.backward()

    assert 4 * 0.25 / 2 == terms.mask.item()
    assert [-0.5] * 4 + [0.0] * 4 == heatmap.grad.flatten().tolist()


def test_an_image_of_nobody_teaches_silence_and_no_action():
    """
    Its heatmap is pulled to 0 though it has no box; its logits get no gradient; it counts as an image.
    """
    logits = torch.zeros(2, 3, requires_grad=True)
    heatmap = torch.full((2, 2, 2), 0.5, requires_grad=True)
    mask = torch.stack([torch.ones(2, 2), torch.zeros(2, 2)])
    action, has_boxes = torch.tensor([1, NOBODY]), torch.tensor([True, False])
    terms = lga_loss(prediction(heatmap, logits), action, mask, has_boxes, PAPER)
    terms.total.backward()

    assert pytest.approx(np.log(3) / 2) == terms.classification.item()
    assert [-0.5] * 4 + [0.5] * 4 == heatmap.grad.flatten().tolist()
    assert 0 == logits.grad[1].abs().sum()


def test_the_loss_of_a_batch_is_the_average_of_its_halves():
    """
    So that workers may each take a part, whichever images have boxes.
    """
    generator = torch.Generator().manual_seed(0)
    logits, heatmap = torch.randn(4, 3, generator=generator), torch.rand(4, 2, 2, generator=generator)
    mask, action, has_boxes = torch.ones(4, 2, 2), torch.tensor([0, 1, 2, 0]), torch.tensor([True, True, True, False])

    def loss(part):
        said = prediction(heatmap[part], logits[part])
        return lga_loss(said, action[part], mask[part], has_boxes[part], PAPER).total

    torch.testing.assert_close(loss(slice(None)), (loss(slice(0, 2)) + loss(slice(2, 4))) / 2)


def test_without_a_heatmap_only_the_classification_is_left():
    """
    The plain variant trains with the same function; label smoothing is the recipe's.
    """
    said, action = prediction(), torch.tensor([0, 1])
    terms = lga_loss(said, action, torch.ones(2, 2, 2), ALL, replace(PAPER, label_smoothing=0.1))

    assert 0 == terms.mask.item()
    assert cross_entropy(said.logits_BA, action, label_smoothing=0.1).item() == terms.total.item()


def test_weight_zero_leaves_the_heatmap_alone():
    """
    The paper's "without human-mask loss": still in the graph, as distributed training wants it, with no pull.
    """
    heatmap = torch.full((2, 2, 2), 0.5, requires_grad=True)
    recipe = replace(PAPER, mask_weight=0.0)
    lga_loss(prediction(heatmap), torch.tensor([0, 1]), torch.ones(2, 2, 2), ALL, recipe).total.backward()

    assert torch.zeros(2, 2, 2).equal(heatmap.grad)


def test_masks_on_another_grid_are_refused():
    """
    A mask [B, 1, 1] would otherwise spread over all cells without a word.
    """
    with pytest.raises(ValueError, match="do not fit"):
        lga_loss(prediction(torch.zeros(2, 2, 2)), torch.tensor([0, 1]), torch.ones(2, 1, 1), ALL, PAPER)
