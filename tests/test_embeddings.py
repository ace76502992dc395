"""Patches, embeddings and positions: the lecture's formulas, and every right way to write the exercise."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from vitlab import checks
from vitlab.embeddings import (
    Embeddings,
    assemble_sequence,
    embed_patches,
    interpolate_positions,
    kernel_as_projection,
    patchify,
    projection_as_kernel,
    unpatchify,
)


def test_patches_come_row_by_row_and_are_flattened_row_column_channel():
    image = torch.arange(4 * 6 * 2).reshape(1, 4, 6, 2).permute(0, 3, 1, 2)  # the number at (row, column, channel)
    patches = patchify(image, 2)
    for i in range(6):
        row, column = 2 * (i // 3), 2 * (i % 3)
        for r in range(2):
            for c in range(2):
                for channel in range(2):
                    expected = ((row + r) * 6 + column + c) * 2 + channel
                    assert patches[0, i, (r * 2 + c) * 2 + channel] == expected


@pytest.mark.parametrize(("size", "P"), [((8, 8), 2), ((6, 9), 3), ((16, 4), 4), ((5, 7), 1)])
def test_unpatchify_undoes_patchify(size, P):
    images = torch.randn(2, 3, *size)
    assert torch.equal(unpatchify(patchify(images, P), P, size), images)


def test_the_projection_equals_a_strided_convolution():
    images = torch.randn(2, 3, 8, 12, dtype=torch.float64)
    E = torch.randn(48, 10, dtype=torch.float64)
    features = F.conv2d(images, projection_as_kernel(E, 4), stride=4)  # (B, d, H/P, W/P)
    torch.testing.assert_close(features.flatten(2).transpose(1, 2), embed_patches(images, E, 4))
    assert torch.equal(kernel_as_projection(projection_as_kernel(E, 4)), E)


def test_z_0_has_the_class_embedding_first_and_the_positions_added():
    patches, x_class, positions = torch.randn(2, 3, 4), torch.randn(4), torch.randn(4, 4)
    z_0 = assemble_sequence(patches, x_class, positions)
    assert torch.equal(z_0[1, 0], x_class + positions[0])
    assert torch.equal(z_0[1, 3], patches[1, 2] + positions[3])


def test_interpolated_positions_keep_the_class_row_and_a_constant():
    positions = torch.cat([torch.full((1, 5), 7.0), torch.full((6, 5), 3.0)])
    stretched = interpolate_positions(positions, (2, 3), (4, 5))
    assert stretched.shape == (21, 5)
    torch.testing.assert_close(stretched, torch.cat([torch.full((1, 5), 7.0), torch.full((20, 5), 3.0)]))
    assert torch.equal(interpolate_positions(positions, (2, 3), (2, 3)), positions)


def test_interpolation_follows_rows_and_columns():
    rows = torch.arange(4.0).repeat_interleave(3)  # each patch's row, on a 4 x 3 grid
    positions = torch.cat([torch.zeros(1), rows])[:, None]
    stretched = interpolate_positions(positions, (4, 3), (8, 3))[1:].reshape(8, 3)
    assert bool((stretched.diff(dim=0) > 0).all()), "a finer grid still counts the rows from top to bottom"
    torch.testing.assert_close(stretched, stretched[:, :1].expand(8, 3))


def test_the_module_computes_the_lecture_s_z_0():
    module = Embeddings(image_size=(8, 12), patch_size=4, d=10).double()
    images = torch.randn(2, 3, 8, 12, dtype=torch.float64)
    patch_embeddings = embed_patches(images, module.E, 4) + module.projection.bias
    expected = assemble_sequence(patch_embeddings, module.class_embedding, module.position_embedding)
    torch.testing.assert_close(module(images), expected)
    assert module(torch.randn(1, 3, 16, 4, dtype=torch.float64)).shape == (1, 5, 10)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: patchify(torch.zeros(1, 3, 8, 9), 4), "multiples of 4"),
        (lambda: patchify(torch.zeros(3, 8, 8), 4), r"\(B, C, H, W\)"),
        (lambda: unpatchify(torch.zeros(1, 5, 12), 2, (4, 4)), "2 x 2 patches"),
        (lambda: embed_patches(torch.zeros(1, 3, 8, 8), torch.zeros(47, 5), 4), "48"),
        (lambda: assemble_sequence(torch.zeros(1, 4, 6), torch.zeros(6), torch.zeros(4, 6)), "interpolate"),
        (lambda: interpolate_positions(torch.zeros(5, 6), (2, 3), (4, 4)), "6"),
        (lambda: Embeddings(image_size=(8, 8), patch_size=4, d=6)(torch.zeros(1, 1, 8, 8)), "channels"),
    ],
)
def test_bad_input_gets_a_sentence(call, words):
    with pytest.raises(ValueError, match=words):
        call()


# ---- Right answers, written in other ways: every one gets full marks.


def patchify_with_loops(images, patch_size):
    B, _, H, W = images.shape
    patches = [
        images[:, :, r : r + patch_size, c : c + patch_size].permute(0, 2, 3, 1).reshape(B, -1)
        for r in range(0, H, patch_size)
        for c in range(0, W, patch_size)
    ]
    return torch.stack(patches, dim=1)


def patchify_with_unfold(images, patch_size):
    B, C, _, _ = images.shape
    columns = F.unfold(images, patch_size, stride=patch_size).transpose(1, 2)  # (B, n, C·P²)
    return columns.reshape(B, -1, C, patch_size**2).transpose(2, 3).reshape(B, -1, C * patch_size**2)


def patchify_with_windows(images, patch_size):
    windows = images.unfold(2, patch_size, patch_size).unfold(3, patch_size, patch_size)
    return windows.permute(0, 2, 3, 4, 5, 1).flatten(3).flatten(1, 2)


def patchify_with_einsum(images, patch_size):
    B, C, H, W = images.shape
    P = patch_size
    return torch.einsum("bchpwq->bhwpqc", images.view(B, C, H // P, P, W // P, P)).reshape(B, -1, P * P * C)


def patchify_with_chunks(images, patch_size):
    strips = images.split(patch_size, dim=2)
    patches = [patch for strip in strips for patch in strip.split(patch_size, dim=3)]
    return torch.stack([patch.movedim(1, -1).flatten(1) for patch in patches], 1)


def patchify_through_float64(images, patch_size):
    return patchify(images.double(), patch_size).to(images.dtype)


def embed_with_loops(images, E, patch_size):
    return torch.stack([torch.stack([x @ E for x in patches]) for patches in patchify_with_loops(images, patch_size)])


def embed_with_convolution(images, E, patch_size):
    kernel = E.T.reshape(E.shape[1], patch_size, patch_size, images.shape[1]).permute(0, 3, 1, 2)
    return F.conv2d(images, kernel, stride=patch_size).flatten(2).mT


def embed_with_einsum(images, E, patch_size):
    return torch.einsum("bnp,pd->bnd", patchify_with_einsum(images, patch_size), E)


def embed_with_linear(images, E, patch_size):
    return F.linear(patchify_with_unfold(images, patch_size), E.T)


def embed_in_float64(images, E, patch_size):
    return (patchify(images.double(), patch_size) @ E.double()).to(images.dtype)


def embed_with_sums(images, E, patch_size):
    return (patchify(images, patch_size).unsqueeze(-1) * E).sum(dim=-2)


def assemble_with_stack(patch_embeddings, class_embedding, position_embedding):
    rows = [class_embedding.repeat(len(patch_embeddings), 1), *patch_embeddings.unbind(1)]
    return torch.stack(rows, dim=1) + position_embedding


def assemble_with_loops(patch_embeddings, class_embedding, position_embedding):
    images = [torch.cat([class_embedding[None], image]) for image in patch_embeddings]
    return torch.stack([image + position_embedding for image in images])


def assemble_in_place(patch_embeddings, class_embedding, position_embedding):
    B, n, d = patch_embeddings.shape
    z = patch_embeddings.new_empty(B, n + 1, d)
    z[:, 0] = class_embedding
    z[:, 1:] = patch_embeddings
    z += position_embedding
    return z


def assemble_by_padding(patch_embeddings, class_embedding, position_embedding):
    z = F.pad(patch_embeddings, (0, 0, 1, 0)) + position_embedding
    first = F.one_hot(torch.tensor(0), z.shape[1]).to(z)
    return z + first[:, None] * class_embedding


def assemble_positions_first(patch_embeddings, class_embedding, position_embedding):
    first = (class_embedding + position_embedding[0]).expand(len(patch_embeddings), 1, -1)
    return torch.cat([first, patch_embeddings + position_embedding[1:]], dim=1)


def assemble_in_float64(patch_embeddings, class_embedding, position_embedding):
    z = assemble_sequence(patch_embeddings.double(), class_embedding.double(), position_embedding.double())
    return z.to(patch_embeddings.dtype)


CORRECT = {
    "patchify": (patchify_with_loops, patchify_with_unfold, patchify_with_windows, patchify_with_einsum,
                 patchify_with_chunks, patchify_through_float64),
    "embed_patches": (embed_with_loops, embed_with_convolution, embed_with_einsum, embed_with_linear,
                      embed_in_float64, embed_with_sums),
    "assemble_sequence": (assemble_with_stack, assemble_with_loops, assemble_in_place, assemble_by_padding,
                          assemble_positions_first, assemble_in_float64),
}  # fmt: skip


def test_a_wrong_function_is_blamed_once_and_not_the_one_that_builds_on_it():
    def patchify(images: Tensor, patch_size: int) -> Tensor:
        return patchify_with_loops(images, patch_size).flip(1)

    def embed_patches(images: Tensor, E: Tensor, patch_size: int) -> Tensor:
        return patchify(images, patch_size) @ E

    report = checks.run("embeddings", {"patchify": patchify, "embed_patches": embed_patches})
    assert "reverse order" in report.exercises[0].sentences[0] and report.exercises[0].points == 0
    assert "Right, given the results of your `patchify`" in report.exercises[1].sentences[0]
    assert report.exercises[1].points == report.exercises[1].possible


def test_an_own_mistake_still_costs_where_an_earlier_function_is_wrong_too():
    def patchify(images: Tensor, patch_size: int) -> Tensor:
        return patchify_with_loops(images, patch_size).flip(1)

    def embed_patches(images: Tensor, E: Tensor, patch_size: int) -> Tensor:
        return 2 * patchify(images, patch_size) @ E

    report = checks.run("embeddings", {"patchify": patchify, "embed_patches": embed_patches})
    assert report.points == 0
