"""The loss, the schedule and the mixtures of the topic: against torch, formulas and numbers worked out by hand."""

import math

import pytest
import torch
from torch.nn import functional as F

from vitlab.cifar import cross_entropy, learning_rate, mixup, mixup_targets


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_cross_entropy_is_torchs_in_value_and_gradient(smoothing, dtype):
    generator = torch.Generator().manual_seed(0)
    logits = 20 * torch.randn(5, 7, generator=generator, dtype=dtype)  # large: a plain exp would lose them
    labels = torch.randint(0, 7, (5,), generator=generator, dtype=torch.int32)
    logits.requires_grad_()
    mine = cross_entropy(logits, labels, smoothing)
    theirs = F.cross_entropy(logits, labels.long(), label_smoothing=smoothing)
    assert mine.shape == () and mine.dtype == dtype
    torch.testing.assert_close(mine, theirs)
    torch.testing.assert_close(*(torch.autograd.grad(loss, logits)[0] for loss in (mine, theirs)))


def test_a_model_that_knows_nothing_loses_log_n():
    for smoothing in (0.0, 0.3):
        loss = cross_entropy(torch.zeros(3, 8), torch.tensor([0, 7, 2]), smoothing)
        assert loss.item() == pytest.approx(math.log(8))


def test_the_learning_rate_rises_in_a_line_and_falls_along_a_cosine():
    rates = [learning_rate(step, 14, 4, 0.8) for step in range(14)]
    assert rates[:4] == pytest.approx([0.2, 0.4, 0.6, 0.8])
    assert rates[4] == 0.8 and rates[9] == pytest.approx(0.4)  # the middle of the ten steps that are left
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=0.8)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=10)
    for rate in rates[4:]:
        assert rate == pytest.approx(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()


def test_without_a_warm_up_the_first_step_has_the_peak():
    assert learning_rate(0, 10, 0, 0.5) == 0.5


def test_mixup_by_hand():
    images = torch.tensor([0.0, 1.0, 10.0]).view(3, 1, 1, 1).expand(3, 2, 4, 5)
    targets, partner = torch.eye(3), torch.tensor([2, 1, 0])
    mixed = mixup(images, targets, 0.75, partner)
    assert mixed.shape == images.shape
    assert mixed[:, 0, 0, 0].tolist() == [2.5, 1.0, 7.5]
    expected = torch.tensor([[0.75, 0, 0.25], [0, 1, 0], [0.25, 0, 0.75]])
    assert torch.equal(mixup_targets(targets, 0.75, partner), expected)


def test_each_image_can_have_a_share_of_its_own():
    images, targets, partner = torch.rand(4, 3, 2, 5), torch.eye(4), torch.tensor([1, 0, 3, 2])
    lam = torch.tensor([0.0, 0.2, 0.5, 1.0])
    together = mixup(images, targets, lam[:, None, None, None], partner)
    together_targets = mixup_targets(targets, lam[:, None], partner)
    for i in range(4):
        torch.testing.assert_close(together[i], mixup(images, targets, lam[i].item(), partner)[i])
        torch.testing.assert_close(together_targets[i], mixup_targets(targets, lam[i].item(), partner)[i])
    assert torch.equal(together[3], images[3]) and torch.equal(together[0], images[1])
