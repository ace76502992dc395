"""Loss, schedule and mixtures against torch, formulas and numbers by hand; every right way to write the exercise."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from vitlab.checks.cifar import training
from vitlab.checks.engine.candidate import LocalCandidate
from vitlab.checks.engine.training import judge_training
from vitlab.cifar import cross_entropy, learning_rate, mixup, mixup_targets, train_digits
from vitlab.training.cnn import CNN, CNNConfig
from vitlab.training.recipe import read_recipe


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


# ---- Right answers, written in other ways: every one gets full marks.


def loss_of_pytorch(logits, labels, smoothing):
    return F.cross_entropy(logits, labels, label_smoothing=smoothing)


def loss_with_loops(logits, labels, smoothing):
    N, total = logits.shape[1], 0.0
    for scores, label in zip(logits, labels, strict=True):
        log_p = scores - scores.logsumexp(dim=0)
        for j in range(N):
            y = smoothing / N + (1 - smoothing if j == label else 0)
            total = total - y * log_p[j]
    return total / len(logits)


def loss_with_targets(logits, labels, smoothing):
    targets = torch.full_like(logits, smoothing / logits.shape[1])
    targets[torch.arange(len(labels)), labels] += 1 - smoothing
    return F.cross_entropy(logits, targets)


def loss_with_nll(logits, labels, smoothing):
    log_p = torch.log_softmax(logits, 1)
    return (1 - smoothing) * F.nll_loss(log_p, labels) - smoothing * log_p.mean()


def loss_with_largest_taken_away(logits, labels, smoothing):
    x = logits - logits.max(dim=1, keepdim=True).values
    log_p = x - x.exp().sum(1, keepdim=True).log()
    picked = log_p.gather(1, labels[:, None])[:, 0]
    return torch.mean(-(1 - smoothing) * picked - smoothing * log_p.mean(1))


def loss_in_float64(logits, labels, smoothing):
    return F.cross_entropy(logits.double(), labels, label_smoothing=smoothing).to(logits.dtype)


def rate_in_one_line(step, steps, warmup_steps, peak):
    return (
        peak * (step + 1) / warmup_steps
        if step < warmup_steps
        else peak * (0.5 + 0.5 * math.cos(math.pi * (step - warmup_steps) / (steps - warmup_steps)))
    )


def rate_as_a_tensor(step, steps, warmup_steps, peak):
    t = torch.tensor((step - warmup_steps) / (steps - warmup_steps), dtype=torch.float64)
    falling = peak * (1 + torch.cos(math.pi * t)) / 2
    return torch.where(torch.tensor(step < warmup_steps), peak * (step + 1) / max(1, warmup_steps), falling)


def rate_with_numpy(step, steps, warmup_steps, peak):
    if step < warmup_steps:
        return np.float64(peak) / warmup_steps * (step + 1)
    return peak / 2 * (1 + np.cos(np.pi * (step - warmup_steps) / (steps - warmup_steps)))


def rate_with_a_square(step, steps, warmup_steps, peak):
    if step < warmup_steps:
        return peak * ((step + 1) / warmup_steps)
    t = (step - warmup_steps) / (steps - warmup_steps)
    return peak * math.cos(math.pi * t / 2) ** 2  # the half angle


def rate_from_a_list(step, steps, warmup_steps, peak):
    rates = [peak * (i + 1) / warmup_steps for i in range(warmup_steps)]
    left = steps - warmup_steps
    return (rates + [peak * (1 + math.cos(math.pi * i / left)) / 2 for i in range(left)])[step]


def rate_with_a_clamp(step, steps, warmup_steps, peak):
    t = max(0, step - warmup_steps) / max(1, steps - warmup_steps)
    return min(1, (step + 1) / max(1, warmup_steps)) * peak * (1 + math.cos(math.pi * t)) / 2


def mixup_with_loops(images, targets, lam, partner):
    return torch.stack([lam * images[i] + (1 - lam) * images[j] for i, j in enumerate(partner.tolist())])


def mixup_with_lerp(images, targets, lam, partner):
    return images.lerp(images[partner], 1 - lam)


def mixup_with_difference(images, targets, lam, partner):
    return images + (1 - lam) * (images[partner] - images)


def mixup_in_place_of_a_copy(images, targets, lam, partner):
    result = images.clone() * lam
    result += (1 - lam) * images.index_select(0, partner)
    return result


def mixup_with_a_matrix(images, targets, lam, partner):
    shares = lam * torch.eye(len(images)) + (1 - lam) * F.one_hot(partner, len(images))
    return torch.einsum("ij,jchw->ichw", shares.to(images.dtype), images)


def mixup_with_gather(images, targets, lam, partner):
    index = partner.reshape(-1, 1, 1, 1).expand_as(images)
    return images * lam + images.gather(0, index) * (1 - lam)


def _of_targets(function):
    """A way to mix images, for targets."""

    def mixed(targets, lam, partner):
        return function(targets[:, :, None, None], None, lam, partner)[..., 0, 0]

    return mixed


CORRECT = {
    "cross_entropy": (loss_of_pytorch, loss_with_loops, loss_with_targets, loss_with_nll,
                      loss_with_largest_taken_away, loss_in_float64),
    "learning_rate": (rate_in_one_line, rate_as_a_tensor, rate_with_numpy, rate_with_a_square, rate_from_a_list,
                      rate_with_a_clamp),
    "mixup": (mixup_with_loops, mixup_with_lerp, mixup_with_difference, mixup_in_place_of_a_copy,
              mixup_with_a_matrix, mixup_with_gather),
}  # fmt: skip
CORRECT["mixup_targets"] = tuple(map(_of_targets, CORRECT["mixup"]))


# ---- The training


def nearest_digit(images, labels, test_images):
    return labels[torch.cdist(test_images.flatten(1), images.flatten(1)).argmin(dim=-1)]


def untrained(images, labels, test_images):
    return train_digits(images[:1], labels[:1], test_images)


@pytest.mark.parametrize("function, points", [(train_digits, 4), (nearest_digit, 4), (untrained, 0)])
def test_a_training_is_paid_by_what_it_has_learned(function, points):
    result = judge_training(training, LocalCandidate({"train_digits": function}), seed=1)
    assert result.points == points, result.sentences


def test_the_cnn_and_the_vit_that_are_compared_differ_in_the_model_alone():
    vit, cnn = read_recipe("cifar10-once"), read_recipe("cifar10-cnn-once")
    assert replace(vit, name="", model={}) == replace(cnn, name="", model={})


def test_the_cnn_halves_the_resolution_at_every_level():
    model = CNN(CNNConfig(num_classes=7, width=4, levels=3, channels=1)).eval()
    images = torch.rand(2, 1, 12, 16)
    assert model(images).shape == (2, 7)
    shapes = []
    for level in model.levels:
        level.register_forward_hook(lambda level, inputs, output: shapes.append(tuple(output.shape[1:])))
    model(images)
    assert shapes == [(4, 12, 16), (8, 6, 8), (16, 3, 4)]
