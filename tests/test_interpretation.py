"""Attention rollout: by hand, by loops, and on a model's own maps."""

import pytest
import torch

from vitlab import ViT
from vitlab.interpretation import attention_rollout
from vitlab.vit import ViTConfig


def random_maps(B: int, L: int, h: int, n: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(B, L, h, n, n, generator=generator, dtype=torch.float64).softmax(dim=-1)


def test_two_blocks_by_hand():
    first = torch.tensor([[[1.0, 0.0], [1.0, 0.0]], [[0.0, 1.0], [1.0, 0.0]]])  # two heads; their mean: 1/2 1/2, 1 0
    second = torch.tensor([[[0.0, 1.0], [0.0, 1.0]], [[0.0, 1.0], [0.0, 1.0]]])
    # half the mean, half the identity: (3/4 1/4, 1/2 1/2) and (1/2 1/2, 0 1); their product, the second one leftmost
    expected = torch.tensor([[[0.625, 0.375], [0.5, 0.5]]])
    assert torch.equal(attention_rollout(torch.stack([first, second])[None]), expected)


@pytest.mark.parametrize("B, L, h, n", [(2, 3, 4, 5), (1, 1, 2, 3), (3, 4, 1, 2)])
def test_it_is_the_sum_over_all_ways_through_the_blocks(B, L, h, n):
    maps = random_maps(B, L, h, n)
    expected = torch.zeros(B, n, n, dtype=torch.float64)
    for b in range(B):
        for start in range(n):
            reached = torch.eye(n, dtype=torch.float64)[start]  # how much of the token `start` each token holds
            for block in range(L):
                mean = sum(maps[b, block, head] for head in range(h)) / h
                reached = torch.stack([0.5 * reached[i] + 0.5 * (mean[i] * reached).sum() for i in range(n)])
            expected[b, :, start] = reached
    torch.testing.assert_close(attention_rollout(maps), expected)


def test_rows_sum_to_one_and_the_maps_stay_as_they_were():
    maps = random_maps(2, 6, 3, 7)
    before = maps.clone()
    assert torch.allclose(attention_rollout(maps).sum(-1), torch.ones(2, 7, dtype=torch.float64))
    assert torch.equal(maps, before)


def test_the_maps_of_a_model_roll_out():
    model = ViT(ViTConfig(depth=3, d=12, num_heads=3, patch_size=4, image_size=8, num_classes=0))
    maps = torch.stack(model.attention_maps(torch.randn(2, 3, 8, 8)), dim=1)
    rollout = attention_rollout(maps)
    assert rollout.shape == (2, 5, 5)
    torch.testing.assert_close(rollout.sum(-1), torch.ones(2, 5))
