"""Labels, loss and schedule of the topic: against tables, torch, and the loss that models train with; right answers."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from vitlab.ade20k import poly_learning_rate, segmentation_loss, shift_labels, train_shapes
from vitlab.bench import streets
from vitlab.checks.ade20k import EXERCISES, training
from vitlab.checks.engine.candidate import LocalCandidate
from vitlab.checks.engine.judge import judge
from vitlab.checks.engine.training import judge_training
from vitlab.data import Split
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


# ---- Right answers, written in other ways: every one gets full marks.


def shifted_by_a_table(labels):
    table = torch.cat([torch.tensor([255]), torch.arange(150), torch.full((105,), 255)])
    return table[labels.long()].to(torch.uint8)


def shifted_in_place_of_a_copy(labels):
    result = labels.clone()
    result[labels == 0] = 255
    result[result != 255] -= 1
    return result


def shifted_in_int64(labels):
    wide = labels.long() - 1
    wide[(wide < 0) | (wide == 254)] = 255
    return wide.to(torch.uint8)


def shifted_with_numpy(labels):
    wide = labels.numpy().astype(int)
    return torch.from_numpy(np.where((wide == 0) | (wide == 255), 255, wide - 1)).to(torch.uint8)


def shifted_modulo(labels):
    return torch.where(labels == 255, 255, (labels.int() - 1) % 256).to(torch.uint8)


def shifted_with_loops(labels):
    new = [(label - 1) if 0 < label < 255 else 255 for label in labels.flatten().tolist()]
    return torch.tensor(new).reshape(labels.shape).to(torch.uint8)


def up(logits, labels):
    return F.interpolate(logits, labels.shape[-2:], mode="bilinear")


def loss_of_pytorch(logits, labels, ignore_index):
    return F.cross_entropy(up(logits, labels), labels.long(), ignore_index=ignore_index)


def loss_of_rows(logits, labels, ignore_index):
    rows, labels = up(logits, labels).movedim(1, -1).flatten(0, 2), labels.flatten()
    return F.cross_entropy(rows[labels != ignore_index], labels[labels != ignore_index].long())


def loss_with_one_hot(logits, labels, ignore_index):
    counted = labels != ignore_index
    classes = labels.masked_fill(~counted, 0).long()
    y = F.one_hot(classes, logits.shape[1]) * counted[..., None]
    return -(y * up(logits, labels).permute(0, 2, 3, 1).log_softmax(-1)).sum() / counted.sum()


def loss_with_loops(logits, labels, ignore_index):
    total, count = 0.0, 0
    for scores, classes in zip(up(logits, labels), labels, strict=True):
        counted = classes != ignore_index
        of_pixels = scores[:, counted]  # (N, V)
        of_label = of_pixels[classes[counted].long(), torch.arange(of_pixels.shape[1])]
        total = total + (of_pixels.logsumexp(0) - of_label).sum()
        count += of_pixels.shape[1]
    return total / count


def loss_with_nll(logits, labels, ignore_index):
    return F.nll_loss(F.log_softmax(up(logits, labels), 1), labels.to(torch.int64), ignore_index=ignore_index)


def loss_with_weights(logits, labels, ignore_index):
    counted = (labels != ignore_index).to(logits.dtype)
    classes = (labels * (labels != ignore_index)).long()
    losses = F.cross_entropy(up(logits, labels), classes, reduction="none")
    return (losses * counted).sum() / counted.sum()


def rate_in_one_line(step, steps, warmup_steps, peak):
    return peak * (
        (step + 1) / warmup_steps if step < warmup_steps else 1 - (step - warmup_steps) / (steps - warmup_steps)
    )


def rate_of_what_is_left(step, steps, warmup_steps, peak):
    return peak * (step + 1) / warmup_steps if step < warmup_steps else peak * (steps - step) / (steps - warmup_steps)


def rate_as_a_tensor(step, steps, warmup_steps, peak):
    t = torch.tensor((step - warmup_steps) / (steps - warmup_steps), dtype=torch.float64)
    return torch.where(torch.tensor(step < warmup_steps), peak * (step + 1) / max(1, warmup_steps), peak * (1 - t))


def rate_with_numpy(step, steps, warmup_steps, peak):
    if step < warmup_steps:
        return np.float64(peak) / warmup_steps * (step + 1)
    return np.interp(step, [warmup_steps, steps], [peak, 0.0])


def rate_with_a_power(step, steps, warmup_steps, peak):
    if step < warmup_steps:
        return peak * ((step + 1) / warmup_steps)
    return peak * (1 - (step - warmup_steps) / (steps - warmup_steps)) ** 1.0


def rate_with_min(step, steps, warmup_steps, peak):
    rising = (step + 1) / warmup_steps if warmup_steps else 1.0
    return peak * (rising if step < warmup_steps else min(1.0, (steps - step) / (steps - warmup_steps)))


CORRECT = {
    "shift_labels": (shifted_by_a_table, shifted_in_place_of_a_copy, shifted_in_int64, shifted_with_numpy,
                     shifted_modulo, shifted_with_loops),
    "segmentation_loss": (loss_of_pytorch, loss_of_rows, loss_with_one_hot, loss_with_loops, loss_with_nll,
                          loss_with_weights),
    "poly_learning_rate": (rate_in_one_line, rate_of_what_is_left, rate_as_a_tensor, rate_with_numpy,
                           rate_with_a_power, rate_with_min),
}  # fmt: skip


# ---- The training


def background(images, masks, test_images):
    return torch.full((len(test_images), *masks.shape[1:]), int(masks.flatten().mode().values))


@pytest.mark.parametrize("function, points", [(train_shapes, 4), (background, 0)])
def test_a_training_is_paid_by_what_it_has_learned(function, points):
    result = judge_training(training, LocalCandidate({"train_shapes": function}), seed=1)
    assert result.points == points, result.sentences


def test_labels_that_are_no_bytes_any_more_are_refused():
    result = judge(EXERCISES[0], LocalCandidate({"shift_labels": lambda labels: shift_labels(labels).long()}), 0)
    assert result.points == 0 and "returns torch.int64 for inputs of torch.uint8" in result.sentences[0]


# ---- Streets.


def test_mistakes_are_counted_and_those_at_edges_are_found():
    labels = torch.zeros(1, 12, 16, dtype=torch.int64)
    labels[:, :, 8:] = 1
    labels[:, 0] = 255
    said = labels.where(labels != 255, 0)
    said[:, 5, 0], said[:, 6, 9], said[:, 0, 3] = 1, 0, 1  # inside, at an edge, ignored

    class Model(torch.nn.Module):
        def segment(self, images):
            assert images.shape == (1, 3, 12, 16) and images.dtype == torch.float32
            return said

    predictor = SimpleNamespace(model=Model(), classes=("a", "b"), normalization=lambda images: images)
    found = streets.mistakes(predictor, Split(torch.zeros(1, 3, 12, 16, dtype=torch.uint8), labels))
    assert found["counts"] == [[87, 1], [1, 87]]
    assert (found["wrong"], found["wrong_at_edges"]) == (2, 1)
    at_edges = torch.zeros(12, 16, dtype=torch.bool)
    at_edges[:, 6:10] = at_edges[:3] = True  # within two pixels of another label, an ignored one, too
    assert torch.equal(streets.edges(labels[0]), at_edges)
    assert found["edges"] == int((at_edges & (labels[0] != 255)).sum())
