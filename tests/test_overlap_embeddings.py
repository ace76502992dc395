"""Overlapping patches: which pixels each holds, and that one convolution does the same."""

import pytest
import torch
from support.parity import assert_forms_agree
from torch.nn import functional as F

from vitlab.embeddings import patchify
from vitlab.overlap_embeddings import OverlapEmbeddings, embed_overlapping_patches, output_size, overlapping_patches


def test_a_patch_holds_its_pixels_and_zeros_beyond_the_border():
    images = torch.randn(2, 3, 9, 10)
    patches = overlapping_patches(images, 3, 2).unflatten(-1, (3, 3, 3))  # (B, rows, columns, k, k, C)
    assert patches.shape[:3] == (2, 5, 5)
    torch.testing.assert_close(patches[1, 2, 1], images[1, :, 3:6, 1:4].permute(1, 2, 0))  # the centre is (4, 2)
    assert (patches[:, 0, :, 0] == 0).all() and (patches[:, :, 0, :, 0] == 0).all()
    assert (patches[:, -1, :, -1] == 0).all()


def test_neighbours_share_pixels_where_vit_s_do_not():
    images = torch.ones(1, 1, 8, 8, requires_grad=True)
    (seen,) = torch.autograd.grad(overlapping_patches(images, 3, 2).sum(), images)
    assert seen.max() == 4
    (seen,) = torch.autograd.grad(patchify(images, 2).sum(), images)
    assert seen.max() == 1


@pytest.mark.parametrize("kernel_size, stride", [(7, 4), (3, 2)])
def test_the_two_forms_agree_in_value_and_gradient(kernel_size, stride):
    module = OverlapEmbeddings(3, 6, kernel_size=kernel_size, stride=stride)
    assert module(torch.randn(2, 3, 21, 18)).shape == (2, -(-21 // stride), -(-18 // stride), 6)
    assert_forms_agree(module, torch.randn(2, 3, 21, 18))


def test_another_number_of_channels_is_named():
    with pytest.raises(ValueError, match="have 4 channels, but this model was made for 3"):
        OverlapEmbeddings(3, 6, kernel_size=3, stride=2)(torch.randn(2, 4, 8, 8))


@pytest.mark.parametrize(
    "size, k, s, padding", [(21, 7, 4, 3), (18, 3, 2, 1), (8, 4, 4, 0), (5, 5, 1, 0), (9, 4, 3, 2)]
)
def test_the_output_size_is_that_of_a_convolution(size, k, s, padding):
    features = F.conv1d(torch.zeros(1, 1, size), torch.zeros(1, 1, k), stride=s, padding=padding)
    assert output_size(size, k, s, padding) == features.shape[-1]


@pytest.mark.parametrize("kernel_size, stride", [(7, 4), (3, 2)])
def test_embedded_patches_are_a_convolution(kernel_size, stride):
    images, kernel, bias = torch.randn(2, 3, 21, 18), torch.randn(6, 3, kernel_size, kernel_size), torch.randn(6)
    E = kernel.permute(2, 3, 1, 0).flatten(0, 2)
    expected = F.conv2d(images, kernel, bias, stride, padding=kernel_size // 2).permute(0, 2, 3, 1)
    tokens = embed_overlapping_patches(images, E, bias, kernel_size, stride)
    torch.testing.assert_close(tokens, expected, rtol=1e-4, atol=1e-4)
    rows, columns = (output_size(side, kernel_size, stride, kernel_size // 2) for side in (21, 18))
    assert tokens.shape == (2, rows, columns, 6)
