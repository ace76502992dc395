"""Labels, loss and schedule of the topic: against tables, torch, and the loss that models train with."""

import pytest
import torch
from torch.nn import functional as F

from vitlab.ade20k import poly_learning_rate, segmentation_loss, shift_labels
from vitlab.decoder import upsampled_cross_entropy


def test_labels_are_shifted_and_those_that_do_not_count_are_255():
    labels = torch.tensor([[[0, 1, 2], [149, 150, 255]]], dtype=torch.uint8)
    before = labels.clone()
    shifted = shift_labels(labels)
    assert shifted.dtype == torch.uint8 and shifted.tolist() == [[[255, 0, 1], [148, 149, 255]]]
    assert torch.equal(labels, before)


def example(dtype: torch.dtype, labels_dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = 5 * torch.randn(2, 6, 3, 4, generator=generator, dtype=dtype)
    labels = torch.randint(0, 6, (2, 10, 17), generator=generator)
    labels[torch.rand(labels.shape, generator=generator) < 0.3] = 99
    return logits.requires_grad_(), labels.to(labels_dtype)


@pytest.mark.parametrize("labels_dtype", [torch.uint8, torch.int64])
def test_the_loss_is_torchs_and_the_models_own_in_value_and_gradient(labels_dtype):
    logits, labels = example(torch.float64, labels_dtype)
    mine = segmentation_loss(logits, labels, 99)
    upsampled = F.interpolate(logits, size=(10, 17), mode="bilinear", align_corners=False)
    for theirs in (
        F.cross_entropy(upsampled, labels.long(), ignore_index=99),
        upsampled_cross_entropy(logits, labels.long(), 99),
    ):
        torch.testing.assert_close(mine, theirs)
        mine_gradient = torch.autograd.grad(mine, logits, retain_graph=True)[0]
        torch.testing.assert_close(mine_gradient, torch.autograd.grad(theirs, logits, retain_graph=True)[0])


def test_ignored_pixels_make_no_difference():
    logits, labels = example(torch.float32, torch.int64)
    everywhere = segmentation_loss(logits, torch.where(labels == 99, 3, labels), 99)
    assert segmentation_loss(logits, labels, 99) != everywhere
    assert torch.equal(segmentation_loss(logits, labels, 99), segmentation_loss(logits, labels.where(labels < 6, 7), 7))
    assert segmentation_loss(logits, torch.full_like(labels, 99), 99).isnan()


def test_the_learning_rate_rises_in_a_line_and_falls_in_another():
    rates = [poly_learning_rate(step, 14, 4, 0.8) for step in range(14)]
    assert rates[:4] == pytest.approx([0.2, 0.4, 0.6, 0.8])
    assert rates[4:] == pytest.approx([0.8 * (10 - i) / 10 for i in range(10)])
    assert poly_learning_rate(0, 10, 0, 0.5) == 0.5
