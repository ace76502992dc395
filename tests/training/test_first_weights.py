"""The weights that a training begins with."""

import pytest
import torch

from vitlab.training.first_weights import look_at_neighbours, step_back, waves
from vitlab.vit import ViT, ViTConfig


@pytest.mark.parametrize("d", [8, 32])
def test_a_step_back_moves_every_wave(d):
    places, offset = torch.rand(5, 2, dtype=torch.float64) * 9, torch.tensor([1.0, -1.0])
    torch.testing.assert_close(waves(places, d) @ step_back(offset, d), waves(places - offset, d))


def test_heads_begin_with_a_look_at_their_neighbours():
    torch.manual_seed(0)
    model = ViT(ViTConfig(2, 192, 6, 4, image_size=32, num_classes=10))
    look_at_neighbours(model)
    weights = model.attention_maps(torch.randn(2, 3, 32, 32))[0]  # (B, h, 65, 65) of the first block
    seen = weights[:, :, 1:, 1:].argmax(dim=-1)  # (B, h, 64)
    places = torch.cartesian_prod(torch.arange(8), torch.arange(8))  # (64, 2)
    inner = ((places > 0) & (places < 7)).all(dim=1)
    offsets = (places[seen] - places)[:, :, inner]  # (B, h, 36, 2)
    assert (offsets == offsets[:1, :, :1]).all()  # a head has one offset, in every image and at every place
    assert offsets.abs().max() == 1 and len(offsets[0, :, 0].unique(dim=0)) == 6
    assert weights[:, :, 0].max() < 2 / 65  # the class token looks at all alike


def test_heads_that_cannot_look_at_neighbours_are_refused():
    for d, heads in ((80, 10), (12, 2), (8, 2)):
        with pytest.raises(ValueError, match=f"here are {heads} heads of {d // heads}"):
            look_at_neighbours(ViT(ViTConfig(1, d, heads, 4, image_size=8, num_classes=3)))
