"""Normalization against torch's own mean and deviation."""

import torch

from vitlab.data import Normalization


def test_each_channel_gets_the_mean_0_and_the_deviation_1():
    generator = torch.Generator().manual_seed(0)
    images = [torch.randint(0, 256, (3, *size), generator=generator).to(torch.uint8) for size in ((4, 5), (6, 7))]
    images = [image // torch.tensor([1, 2, 3], dtype=torch.uint8).view(3, 1, 1) for image in images]
    normalization = Normalization.of(images)
    pixels = torch.cat([image.flatten(1) for image in images], dim=1) / 255  # (3, 62)
    torch.testing.assert_close(normalization.mean, pixels.mean(1))
    torch.testing.assert_close(normalization.deviation, pixels.std(1, correction=0))
    normalized = torch.cat([normalization(image[None] / 255).flatten(2)[0] for image in images], dim=1)
    torch.testing.assert_close(normalized.mean(1), torch.zeros(3), atol=1e-6, rtol=0)
    torch.testing.assert_close(normalized.std(1, correction=0), torch.ones(3))
