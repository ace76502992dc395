"""Training a segmentation: labels that can be ignored, the loss of a pixel, the learning rate of every step, a loop.

Lecture: "Training"; "SegFormer Decoder (All-MLP Head)", step 4.
Papers: Zhou et al., "Scene Parsing through ADE20K Dataset", 2017; Xie et al., "SegFormer", 2021, section 4.1.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from vitlab.mit import MiTConfig
from vitlab.segformer import SegFormer, SegFormerConfig


def shift_labels(labels: Tensor) -> Tensor:
    """From the labels in ADE20K's files to the numbers of classes.

        0, no class  ->  255, which is ignored
        1 ... 150    ->  0 ... 149
        255          ->  255

    Args:
        labels: (B, H, W) in uint8.

    Returns:
        (B, H, W) in uint8.

    Source: Zhou et al.; Xie et al., section 4.1.
    """
    classes = labels - 1  # in uint8, 0 - 1 is 255
    return torch.where(labels == 255, 255, classes)


def segmentation_loss(logits: Tensor, labels: Tensor, ignore_index: int) -> Tensor:
    """The mean cross-entropy over the pixels that count, after upsampling to their number.

        L = -1/|V| Σ_{p in V} log softmax(upsample(logits))_{p, labels_p},    V = the pixels that are not ignored

    `SegFormer.loss` is the same number in a fraction of the memory.

    Args:
        logits: (B, N, h, w), a score for each class.
        labels: (B, H, W), integers.
        ignore_index: the label of pixels that do not count.

    Returns:
        L, a number; not a number where every pixel is ignored.

    Source: lecture, "SegFormer Decoder (All-MLP Head)", step 4, and "Training".
    """
    upsampled = F.interpolate(logits, size=labels.shape[-2:], mode="bilinear", align_corners=False)  # (B, N, H, W)
    log_p = upsampled.log_softmax(dim=1)  # (B, N, H, W)
    counted = labels != ignore_index  # (B, H, W)
    classes = torch.where(counted, labels, 0).long()  # (B, H, W), with some class where none counts
    losses = -log_p.gather(1, classes[:, None])[:, 0]  # (B, 1, H, W) -> (B, H, W)
    return losses[counted].mean()


def poly_learning_rate(step: int, steps: int, warmup_steps: int, peak: float) -> float:
    """The learning rate of a step: up to the peak in a straight line, and in another one down to 0.

        peak · (step + 1) / warmup_steps                  while step < warmup_steps
        peak · (1 - t)                                    afterwards

    where t runs from 0 to 1 over the steps that are left. It is called poly because 1 - t can have a power; SegFormer's
    is 1.

    Args:
        step: from 0.
        steps: how many there are, more than `warmup_steps`.
        warmup_steps: how many of them the way up takes; 0 for none.
        peak: the highest learning rate.

    Source: Xie et al., section 4.1.
    """
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    t = (step - warmup_steps) / (steps - warmup_steps)
    return peak * (1 - t)


def train_shapes(images: Tensor, masks: Tensor, test_images: Tensor) -> Tensor:
    """Build a small SegFormer, train it on drawn scenes, and let it name every pixel of others: a minute of a core.

    Args:
        images: (T, 3, H, W), in 0 ... 1.
        masks: (T, H, W), integers in 0 ... 5.
        test_images: (S, 3, H, W), in 0 ... 1.

    Returns:
        (S, H, W), the class with the largest score in each pixel.

    Source: lecture, "Training".
    """
    steps, warmup_steps, peak, batch_size = 600, 30, 3e-3, 16
    mean, deviation = images.mean(), images.std()
    stages = {"sr_ratios": (4, 2, 1), "kernel_sizes": (5, 3, 3), "strides": (2, 2, 2)}
    encoder = MiTConfig(d=(24, 48, 96), depths=(1, 1, 1), num_heads=(1, 2, 4), num_classes=0, **stages)
    model = SegFormer(SegFormerConfig(encoder, C=48, num_classes=6))
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.01)
    for step in range(steps):
        batch = torch.randint(len(images), (batch_size,))
        logits = model((images[batch] - mean) / deviation, upsample=False)  # (batch_size, 6, h, w)
        loss = segmentation_loss(logits, masks[batch], ignore_index=255)
        optimizer.zero_grad()
        loss.backward()
        for group in optimizer.param_groups:
            group["lr"] = poly_learning_rate(step, steps, warmup_steps, peak)
        optimizer.step()
    model.eval()
    return model.segment((test_images - mean) / deviation)
