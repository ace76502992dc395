"""Overlapping patches: which pixels each holds, that one convolution does the same, every right way to write it."""

import math

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


@pytest.mark.parametrize("form", ["forward", "as_taught"])
def test_an_image_without_batch_axis_is_named(form):
    module = OverlapEmbeddings(3, 6, kernel_size=3, stride=2)
    with pytest.raises(ValueError, match=r"must be \(B, C, H, W\), but these have the shape \(3, 16, 16\)"):
        getattr(module, form)(torch.randn(3, 16, 16))


def test_an_even_kernel_is_refused():
    with pytest.raises(ValueError, match="kernel_size is 4, but it must be odd"):
        OverlapEmbeddings(3, 6, kernel_size=4, stride=4)


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


# ---- Right answers, written in other ways: every one gets full marks.


def size_by_placing(size, kernel_size, stride, padding):
    count, left = 0, -padding
    while left + kernel_size <= size + padding:
        count, left = count + 1, left + stride
    return count


def size_with_a_range(size, kernel_size, stride, padding):
    return len(range(0, size + 2 * padding - kernel_size + 1, stride))


def size_rounded_up(size, kernel_size, stride, padding):
    return math.ceil((size + 2 * padding - kernel_size + 1) / stride)


def size_as_a_tensor(size, kernel_size, stride, padding):
    return torch.tensor((size + 2 * padding - kernel_size) / stride + 1).floor().long()


def size_of_a_convolution(size, kernel_size, stride, padding):
    line = torch.zeros(1, 1, size)
    return F.conv1d(line, torch.zeros(1, 1, kernel_size), stride=stride, padding=padding).shape[-1]


def size_as_pytorch_writes_it(size, kernel_size, stride, padding):
    return math.floor((size + 2 * padding - 1 * (kernel_size - 1) - 1) / stride + 1)


def patches_with_loops(images, kernel_size, stride):
    k, s = kernel_size, stride
    B, C, H, W = images.shape
    rows, columns = (output_size(side, k, s, k // 2) for side in (H, W))
    padded = images.new_zeros(B, C, H + 2 * (k // 2), W + 2 * (k // 2))
    padded[:, :, k // 2 : k // 2 + H, k // 2 : k // 2 + W] = images
    patches = images.new_zeros(B, rows, columns, k * k * C)
    for i in range(rows):
        for j in range(columns):
            patch = padded[:, :, i * s : i * s + k, j * s : j * s + k]
            patches[:, i, j] = patch.permute(0, 2, 3, 1).reshape(B, -1)
    return patches


def patches_with_unfold(images, kernel_size, stride):
    k, s = kernel_size, stride
    B, C, H, W = images.shape
    rows, columns = (output_size(side, k, s, k // 2) for side in (H, W))
    x = F.unfold(images, k, padding=k // 2, stride=s)
    return x.view(B, C, k, k, rows, columns).permute(0, 4, 5, 2, 3, 1).reshape(B, rows, columns, -1)


def patches_from_strides(images, kernel_size, stride):
    k, s, border = kernel_size, stride, kernel_size // 2
    x = torch.nn.ZeroPad2d(border)(images).permute(0, 2, 3, 1).contiguous()
    B, H, W, C = x.shape
    rows, columns = (H - k) // s + 1, (W - k) // s + 1
    b, h, w, c = x.stride()
    return x.as_strided((B, rows, columns, k, k, C), (b, s * h, s * w, h, w, c)).flatten(3)


def patches_with_a_convolution(images, kernel_size, stride):
    k, C = kernel_size, images.shape[1]
    picks = torch.eye(k * k * C, dtype=images.dtype).view(k, k, C, -1).permute(3, 2, 0, 1)
    return F.conv2d(images, picks, stride=stride, padding=k // 2).movedim(1, -1)


def patches_pixel_by_pixel(images, kernel_size, stride):
    k, s = kernel_size, stride
    rows, columns = (output_size(side, k, s, k // 2) for side in images.shape[2:])
    padded = F.pad(images, [k // 2] * 4)
    ends = (rows - 1) * s + 1, (columns - 1) * s + 1
    pixels = [padded[:, :, u : u + ends[0] : s, v : v + ends[1] : s] for u in range(k) for v in range(k)]
    return torch.cat(pixels, dim=1).permute(0, 2, 3, 1)


def patches_by_index(images, kernel_size, stride):
    k, s = kernel_size, stride
    x = F.pad(images, (k // 2,) * 4).permute(0, 2, 3, 1)
    y = torch.arange(0, x.shape[1] - k + 1, s).unsqueeze(1) + torch.arange(k)
    z = torch.arange(0, x.shape[2] - k + 1, s).unsqueeze(1) + torch.arange(k)
    return x[:, y][:, :, :, z].transpose(2, 3).flatten(3)


def embedded_with_loops(images, E, b, kernel_size, stride):
    patches = patches_with_loops(images, kernel_size, stride)
    return torch.stack([torch.stack([row @ E + b for row in image]) for image in patches])


def embedded_with_a_convolution(images, E, b, kernel_size, stride):
    kernel = E.T.reshape(-1, kernel_size, kernel_size, images.shape[1]).permute(0, 3, 1, 2)
    return F.conv2d(images, kernel, b, stride, kernel_size // 2).permute(0, 2, 3, 1)


def embedded_with_linear(images, E, b, kernel_size, stride):
    return F.linear(patches_with_unfold(images, kernel_size, stride), E.T, b)


def embedded_with_einsum(images, E, b, kernel_size, stride):
    k = kernel_size
    windows = F.pad(images, (k // 2,) * 4).unfold(2, k, stride).unfold(3, k, stride)
    return torch.einsum("bchwij,ijcd->bhwd", windows, E.view(k, k, images.shape[1], -1)) + b


def embedded_in_one_product(images, E, b, kernel_size, stride):
    patches = overlapping_patches(images, kernel_size, stride)
    return torch.addmm(b, patches.reshape(-1, len(E)), E).reshape(*patches.shape[:3], len(b))


def embedded_shift_by_shift(images, E, b, kernel_size, stride):
    k, C = kernel_size, images.shape[1]
    patches = patches_pixel_by_pixel(images, k, stride)
    return sum(patches[..., i * C : (i + 1) * C] @ E[i * C : (i + 1) * C] for i in range(k * k)) + b


CORRECT = {
    "output_size": (size_by_placing, size_with_a_range, size_rounded_up, size_as_a_tensor, size_of_a_convolution,
                    size_as_pytorch_writes_it),
    "overlapping_patches": (patches_with_loops, patches_with_unfold, patches_from_strides, patches_with_a_convolution,
                            patches_pixel_by_pixel, patches_by_index),
    "embed_overlapping_patches": (embedded_with_loops, embedded_with_a_convolution, embedded_with_linear,
                                  embedded_with_einsum, embedded_in_one_product, embedded_shift_by_shift),
}  # fmt: skip
