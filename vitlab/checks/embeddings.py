"""Checks of the exercise `embeddings`: patchify, embed_patches, assemble_sequence."""

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from vitlab.checks.engine.exercise import Case, Exercise, FollowThrough, Misconception, Part
from vitlab.embeddings import assemble_sequence, embed_patches, patchify

# ---- Cases. Sizes are distinct from each other wherever a mix-up could hide behind equal ones.


def _images(generator: Generator, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.rand(shape, generator=generator, dtype=dtype)


def _normal(generator: Generator, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=generator, dtype=dtype)


def _one_square_image(g: Generator) -> list[Case]:
    return [Case("one image of 8 x 8 pixels in patches of 2 x 2", (_images(g, 1, 3, 8, 8), 2))]


def _other_images(g: Generator) -> list[Case]:
    return [
        Case("two images of 4 x 6 pixels, wider than tall", (_images(g, 2, 3, 4, 6), 2)),
        Case("three images of 12 x 8 pixels, taller than wide, in patches of 4 x 4", (_images(g, 3, 3, 12, 8), 4)),
    ]


def _other_channels(g: Generator) -> list[Case]:
    return [
        Case("images with one channel", (_images(g, 2, 1, 6, 9), 3)),
        Case("images with 5 channels, in float64 and with gradients",
             (_images(g, 2, 5, 4, 6, dtype=torch.float64), 2), gradient=True),
    ]  # fmt: skip


def _embedding_of_one(g: Generator) -> list[Case]:
    return [Case("one image of 6 x 6 pixels and d = 7", (_images(g, 1, 3, 6, 6), _normal(g, 12, 7), 2))]


def _embedding_of_many(g: Generator) -> list[Case]:
    return [
        Case("two images of 4 x 6 pixels, wider than tall", (_images(g, 2, 3, 4, 6), _normal(g, 12, 5), 2)),
        Case("three images of 9 x 6 pixels with 2 channels", (_images(g, 3, 2, 9, 6), _normal(g, 18, 8), 3)),
    ]


def _embedding_in_double(g: Generator) -> list[Case]:
    images, E = _images(g, 2, 3, 4, 6, dtype=torch.float64), _normal(g, 12, 5, dtype=torch.float64)
    return [Case("numbers in float64, with gradients", (images, E, 2), gradient=True)]


def _sequence(g: Generator, B: int, n: int, d: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, ...]:
    return _normal(g, B, n, d, dtype=dtype), _normal(g, d, dtype=dtype), _normal(g, n + 1, d, dtype=dtype)


def _sequence_of_one(g: Generator) -> list[Case]:
    return [Case("one image of 4 patches", _sequence(g, 1, 4, 6))]


def _sequence_of_many(g: Generator) -> list[Case]:
    return [
        Case("three images of 5 patches", _sequence(g, 3, 5, 8)),
        Case("two images of one patch", _sequence(g, 2, 1, 4)),
    ]


def _sequence_in_double(g: Generator) -> list[Case]:
    return [Case("numbers in float64, with gradients", _sequence(g, 2, 6, 5, torch.float64), gradient=True)]


# ---- patchify, done wrong. A grid has rows x columns patches; P is the patch size.


def _cut(images: Tensor, P: int) -> Tensor:
    B, C, H, W = images.shape
    return images.reshape(B, C, H // P, P, W // P, P)  # axes 0 B, 1 C, 2 patch row, 3 row, 4 patch column, 5 column


def _rearranged(images: Tensor, P: int, *axes: int) -> Tensor:
    B, C, H, W = images.shape
    return _cut(images, P).permute(axes).reshape(B, (H // P) * (W // P), P * P * C)


def _channels_first(images: Tensor, patch_size: int) -> Tensor:
    return _rearranged(images, patch_size, 0, 2, 4, 1, 3, 5)


def _patches_by_column(images: Tensor, patch_size: int) -> Tensor:
    return _rearranged(images, patch_size, 0, 4, 2, 3, 5, 1)


def _pixels_by_column(images: Tensor, patch_size: int) -> Tensor:
    return _rearranged(images, patch_size, 0, 2, 4, 5, 3, 1)


def _only_reshaped(images: Tensor, patch_size: int) -> Tensor:
    B, C, H, W = images.shape
    return images.reshape(B, H * W // patch_size**2, patch_size**2 * C)


def _runs_of_pixels(images: Tensor, patch_size: int) -> Tensor:
    B, C, H, W = images.shape
    return images.permute(0, 2, 3, 1).reshape(B, H * W // patch_size**2, patch_size**2 * C)


def _patches_last(images: Tensor, patch_size: int) -> Tensor:
    return patchify(images, patch_size).transpose(1, 2)


def _unfolded(images: Tensor, patch_size: int) -> Tensor:
    return F.unfold(images, patch_size, stride=patch_size)


def _images_are_square(images: Tensor, patch_size: int) -> Tensor:
    side, (B, C, _, _), P = images.shape[2] // patch_size, images.shape, patch_size
    return images.reshape(B, C, side, P, side, P).permute(0, 2, 4, 3, 5, 1).reshape(B, side * side, -1)


def _height_for_width(images: Tensor, patch_size: int) -> Tensor:
    (B, C, H, W), P = images.shape, patch_size
    return images.reshape(B, C, W // P, P, H // P, P).permute(0, 2, 4, 3, 5, 1).reshape(B, -1, P * P * C)


def _images_merged(images: Tensor, patch_size: int) -> Tensor:
    return patchify(images, patch_size).flatten(0, 1)


def _first_image_only(images: Tensor, patch_size: int) -> Tensor:
    return patchify(images[:1], patch_size)


def _grid_kept(images: Tensor, patch_size: int) -> Tensor:
    return _cut(images, patch_size).permute(0, 2, 4, 3, 5, 1).flatten(3)


def _patch_kept(images: Tensor, patch_size: int) -> Tensor:
    return _cut(images, patch_size).permute(0, 2, 4, 3, 5, 1).flatten(1, 2)


def _patches_as_images(images: Tensor, patch_size: int) -> Tensor:
    return _cut(images, patch_size).permute(0, 2, 4, 1, 3, 5).flatten(1, 2)


def _three_channels(images: Tensor, patch_size: int) -> Tensor:
    (B, _, H, W), P = images.shape, patch_size
    x = images.reshape(B, 3, H // P, P, W // P, P)
    return x.permute(0, 2, 4, 3, 5, 1).reshape(B, -1, P * P * 3)


def _overlapping(images: Tensor, patch_size: int) -> Tensor:
    P = patch_size
    windows = images.unfold(2, P, 1).unfold(3, P, 1)  # (B, C, H-P+1, W-P+1, P, P)
    return windows.permute(0, 2, 3, 4, 5, 1).flatten(3).flatten(1, 2)


def _mean_subtracted(images: Tensor, patch_size: int) -> Tensor:
    patches = patchify(images, patch_size)
    return patches - patches.mean(dim=-1, keepdim=True)


def _channels_reversed(images: Tensor, patch_size: int) -> Tensor:
    return patchify(images.flip(1), patch_size)


def _scaled_to_bytes(images: Tensor, patch_size: int) -> Tensor:
    return patchify(images, patch_size) / 255


CHANNELS_FIRST = (
    "The channels come first inside your patches: all red numbers, then all green, then all blue. The order is row, column, "
    "channel: move the channel axis behind the two pixel axes before you flatten."
)
ONLY_RESHAPED = (
    "A reshape alone cuts the numbers as they lie in memory, not the image into patches: split H into (rows, P) and W into "
    "(columns, P), permute so that the two patch axes come first, and flatten then."
)
RUNS_OF_PIXELS = (
    "Each of your patches is a run of P² pixels along the image's rows, not a P x P square: split H into (rows, P) and W "
    "into (columns, P) before you flatten."
)
PATCHES_BY_COLUMN = "Your patches come column by column; they should come row by row, from left to right and then down."
PIXELS_BY_COLUMN = "Each patch is flattened column by column; flatten row by row: row, column, channel."
HEIGHT_FOR_WIDTH = (
    "Height and width are exchanged: images are (B, C, H, W), so that shape[2] is the height and shape[3] the width."
)

PATCHIFY = (
    Misconception(_channels_first, CHANNELS_FIRST),
    Misconception(_patches_by_column, PATCHES_BY_COLUMN),
    Misconception(_pixels_by_column, PIXELS_BY_COLUMN),
    Misconception(_only_reshaped, ONLY_RESHAPED),
    Misconception(_runs_of_pixels, RUNS_OF_PIXELS),
    Misconception(
        _patches_last, "The patches are right but lie in the last axis: return (B, n, P²·C), not (B, P²·C, n)."
    ),
    Misconception(
        _unfolded,
        "unfold returns (B, C·P², n): the patches in the last axis, and the channels first inside each. Transpose, and put "
        "the channels last.",
    ),
    Misconception(
        _images_are_square,
        "The number of patch columns is computed from the height: that is right for square images only. "
        "rows = H / P, columns = W / P.",
    ),
    Misconception(_height_for_width, HEIGHT_FOR_WIDTH),
    Misconception(
        _images_merged,
        "The patches of all images are in one long list: keep the batch axis, (B, n, P²·C), one list an image.",
    ),
    Misconception(_first_image_only, "Only the first image of the batch is cut; all B images should be."),
    Misconception(
        _grid_kept,
        "The patches still lie in a grid, (B, rows, columns, P²·C): join rows and columns to one axis of n patches.",
    ),
    Misconception(
        _patch_kept, "The patches are cut but not flattened, (B, n, P, P, C): flatten the last three axes to P²·C."
    ),
    Misconception(
        _patches_as_images,
        "The patches are still small images, (B, n, C, P, P): put the channels last and flatten each to P²·C numbers.",
    ),
    Misconception(
        _three_channels, "The number of channels is taken to be 3; take it from images.shape: C may be anything."
    ),
    Misconception(
        _overlapping,
        "Your patches overlap: neighbours should start P pixels apart, so that there are n = H W / P² of them.",
    ),
    Misconception(
        _scaled_to_bytes, "The numbers are divided by 255; patchify only moves numbers, it does not change them."
    ),
)

# ---- embed_patches, done wrong.


def _embed_with(cut):
    def embed(images: Tensor, E: Tensor, patch_size: int) -> Tensor:
        return cut(images, patch_size) @ E

    return embed


def _after(cut, slip):
    def embed(images: Tensor, E: Tensor, patch_size: int) -> Tensor:
        return slip(cut(images, patch_size) @ E)

    return embed


def _convolve(images: Tensor, kernel: Tensor, stride: int) -> Tensor:
    return F.conv2d(images, kernel, stride=stride).flatten(2).transpose(1, 2)  # (B, n, d)


def _kernel_only_reshaped(images: Tensor, E: Tensor, patch_size: int) -> Tensor:
    return _convolve(images, E.reshape(E.shape[1], images.shape[1], patch_size, patch_size), patch_size)


def _kernel(images: Tensor, E: Tensor, patch_size: int) -> Tensor:
    return E.reshape(patch_size, patch_size, images.shape[1], -1).permute(3, 2, 0, 1)  # (d, C, P, P)


def _stride_one(images: Tensor, E: Tensor, patch_size: int) -> Tensor:
    return _convolve(images, _kernel(images, E, patch_size), 1)


def _feature_map(images: Tensor, E: Tensor, patch_size: int) -> Tensor:
    return F.conv2d(images, _kernel(images, E, patch_size), stride=patch_size)


def _feature_map_reshaped(images: Tensor, E: Tensor, patch_size: int) -> Tensor:
    features = _feature_map(images, E, patch_size)
    return features.reshape(len(images), -1, E.shape[1])


def _embeddings_transposed(images: Tensor, E: Tensor, patch_size: int) -> Tensor:
    return embed_patches(images, E, patch_size).transpose(1, 2)


def _not_projected(images: Tensor, E: Tensor, patch_size: int) -> Tensor:
    return patchify(images, patch_size)


def _activated(images: Tensor, E: Tensor, patch_size: int) -> Tensor:
    return F.relu(embed_patches(images, E, patch_size))


def _gelu(images: Tensor, E: Tensor, patch_size: int) -> Tensor:
    return F.gelu(embed_patches(images, E, patch_size))


def _averaged(images: Tensor, E: Tensor, patch_size: int) -> Tensor:
    return embed_patches(images, E, patch_size) / E.shape[0]


def _divided_by_root(images: Tensor, E: Tensor, patch_size: int) -> Tensor:
    return embed_patches(images, E, patch_size) / E.shape[0] ** 0.5


def _embeddings_merged(images: Tensor, E: Tensor, patch_size: int) -> Tensor:
    return embed_patches(images, E, patch_size).flatten(0, 1)


def _centred(images: Tensor, E: Tensor, patch_size: int) -> Tensor:
    patches = patchify(images, patch_size)
    return (patches - patches.mean(dim=-1, keepdim=True)) @ E


def _patches_summed(images: Tensor, E: Tensor, patch_size: int) -> Tensor:
    return embed_patches(images, E, patch_size).sum(dim=1)


def _elementwise_by_rows(images: Tensor, E: Tensor, patch_size: int) -> Tensor:
    return patchify(images, patch_size) @ E.reshape(E.shape[1], E.shape[0]).T


EMBED_PATCHES = (
    Misconception(_embed_with(_channels_first), "The patches are cut wrongly before the projection. " + CHANNELS_FIRST),
    Misconception(_embed_with(_only_reshaped), "The patches are cut wrongly before the projection. " + ONLY_RESHAPED),
    Misconception(_embed_with(_runs_of_pixels), "The patches are cut wrongly before the projection. " + RUNS_OF_PIXELS),
    Misconception(
        _embed_with(_patches_by_column), "The patches are cut wrongly before the projection. " + PATCHES_BY_COLUMN
    ),
    Misconception(
        _embed_with(_pixels_by_column), "The patches are cut wrongly before the projection. " + PIXELS_BY_COLUMN
    ),
    Misconception(
        _embed_with(_height_for_width), "The patches are cut wrongly before the projection. " + HEIGHT_FOR_WIDTH
    ),
    Misconception(
        _kernel_only_reshaped,
        "E is reshaped to (d, C, P, P), which shuffles its numbers: its rows are row, column, channel and its columns are d, "
        "so reshape to (P, P, C, d) and permute.",
    ),
    Misconception(_stride_one, "The convolution visits every pixel: patches do not overlap, so its stride must be P."),
    Misconception(
        _feature_map, "This is the convolution's feature map, (B, d, rows, columns): flatten the grid and put d last."
    ),
    Misconception(
        _embeddings_transposed, "The embeddings are right but lie in the columns: return (B, n, d), not (B, d, n)."
    ),
    Misconception(_not_projected, "These are the patches themselves: multiply them by E."),
    Misconception(
        _activated,
        "There is a ReLU after the projection: the patch embedding is linear, z = x E, with nothing after it.",
    ),
    Misconception(
        _gelu, "There is a GELU after the projection: the patch embedding is linear, z = x E, with nothing after it."
    ),
    Misconception(
        _averaged, "The result is divided by P²·C: x E is a sum over the numbers of a patch, not their mean."
    ),
    Misconception(_divided_by_root, "The result is divided by the square root of P²·C: z = x E has no scaling."),
    Misconception(
        _embeddings_merged, "The embeddings of all images are in one long list: keep the batch axis, (B, n, d)."
    ),
    Misconception(_centred, "The mean of each patch is subtracted first: z = x E projects the patch as it is."),
    Misconception(
        _patches_summed, "The patches of an image are summed up: every patch keeps its own embedding, (B, n, d)."
    ),
    Misconception(
        _elementwise_by_rows,
        "E is reshaped from (P²·C, d) to (d, P²·C), which shuffles it: patches @ E needs no change of E.",
    ),
)

# A patch cut wrongly, and then a slip after the projection.
EMBED_PATCHES_PAIRS = tuple(
    Misconception(_after(cut, slip), f"Two things. Before the projection: {cut_sentence} After it: {slip_sentence}")
    for cut, cut_sentence in (
        (_channels_first, CHANNELS_FIRST),
        (_only_reshaped, ONLY_RESHAPED),
        (_runs_of_pixels, RUNS_OF_PIXELS),
        (_patches_by_column, PATCHES_BY_COLUMN),
        (_pixels_by_column, PIXELS_BY_COLUMN),
    )
    for slip, slip_sentence in (
        (lambda Z: Z.transpose(1, 2), "the result is transposed: return (B, n, d)."),
        (
            lambda Z: Z.mT.reshape(Z.shape),
            "(B, d, n) is reshaped to (B, n, d), which mixes patches with their numbers: transpose it.",
        ),
        (F.relu, "there is a ReLU after the projection, which is linear: z = x E."),
        (F.gelu, "there is a GELU after the projection, which is linear: z = x E."),
    )
)

# ---- assemble_sequence, done wrong.


def _cat(class_tokens: Tensor, patches: Tensor) -> Tensor:
    return torch.cat([class_tokens.expand(len(patches), 1, -1), patches], dim=1)


def _class_last(patches: Tensor, x_class: Tensor, positions: Tensor) -> Tensor:
    return torch.cat([patches, x_class.expand(len(patches), 1, -1)], dim=1) + positions


def _class_without_position(patches: Tensor, x_class: Tensor, positions: Tensor) -> Tensor:
    return _cat(x_class, patches + positions[1:])


def _positions_of_patches_from_zero(patches: Tensor, x_class: Tensor, positions: Tensor) -> Tensor:
    return _cat(x_class, patches + positions[:-1])


def _no_positions(patches: Tensor, x_class: Tensor, positions: Tensor) -> Tensor:
    return _cat(x_class, patches)


def _no_class(patches: Tensor, x_class: Tensor, positions: Tensor) -> Tensor:
    return patches + positions[1:]


def _no_class_from_zero(patches: Tensor, x_class: Tensor, positions: Tensor) -> Tensor:
    return patches + positions[:-1]


def _positions_multiplied(patches: Tensor, x_class: Tensor, positions: Tensor) -> Tensor:
    return _cat(x_class, patches) * positions


def _class_added(patches: Tensor, x_class: Tensor, positions: Tensor) -> Tensor:
    return patches + x_class + positions[1:]


def _class_added_to_all(patches: Tensor, x_class: Tensor, positions: Tensor) -> Tensor:
    return _cat(x_class, patches + x_class) + positions


def _positions_concatenated(patches: Tensor, x_class: Tensor, positions: Tensor) -> Tensor:
    return torch.cat([_cat(x_class, patches), positions.expand(len(patches), -1, -1)], dim=-1)


def _class_replaces_patch(patches: Tensor, x_class: Tensor, positions: Tensor) -> Tensor:
    return _cat(x_class, patches[:, 1:]) + positions[:-1]


def _class_for_first_image(patches: Tensor, x_class: Tensor, positions: Tensor) -> Tensor:
    class_tokens = torch.cat([x_class[None], x_class.new_zeros(len(patches) - 1, len(x_class))])
    return torch.cat([class_tokens[:, None], patches], dim=1) + positions


def _positions_reversed(patches: Tensor, x_class: Tensor, positions: Tensor) -> Tensor:
    return _cat(x_class, patches) + positions.flip(0)


def _positions_twice(patches: Tensor, x_class: Tensor, positions: Tensor) -> Tensor:
    return _cat(x_class, patches) + 2 * positions


def _class_is_zero(patches: Tensor, x_class: Tensor, positions: Tensor) -> Tensor:
    return _cat(torch.zeros_like(x_class), patches) + positions


def _class_is_mean(patches: Tensor, x_class: Tensor, positions: Tensor) -> Tensor:
    return torch.cat([patches.mean(dim=1, keepdim=True), patches], dim=1) + positions


def _positions_counted(patches: Tensor, x_class: Tensor, positions: Tensor) -> Tensor:
    z = _cat(x_class, patches)
    return z + torch.arange(z.shape[1], dtype=z.dtype)[:, None]


def _positions_averaged(patches: Tensor, x_class: Tensor, positions: Tensor) -> Tensor:
    return (_cat(x_class, patches) + positions) / 2


def _position_of_class_everywhere(patches: Tensor, x_class: Tensor, positions: Tensor) -> Tensor:
    return _cat(x_class, patches) + positions[0]


ASSEMBLE_SEQUENCE = (
    Misconception(_class_last, "The class embedding stands at the end: it comes first, z_0 = [x_class; x_p^1 E; ...]."),
    Misconception(
        _class_without_position,
        "The class embedding gets no position: E_pos has n+1 rows, and its first row is added to the class embedding.",
    ),
    Misconception(
        _positions_of_patches_from_zero,
        "The positions are off by one: row 0 of E_pos belongs to the class embedding, row i to patch i.",
    ),
    Misconception(_no_positions, "The position embedding is not added: z_0 = [x_class; x_p^1 E; ...] + E_pos."),
    Misconception(_no_class, "The class embedding is missing: the sequence has n+1 terms, the class embedding first."),
    Misconception(
        _no_class_from_zero,
        "The class embedding is missing, and the patches take its row of E_pos: the sequence has n+1 terms, with it first.",
    ),
    Misconception(_positions_multiplied, "The position embedding is multiplied; it is added."),
    Misconception(
        _class_added,
        "The class embedding is added to every patch: it is a term of its own, put in front of the patches, n+1 terms together.",
    ),
    Misconception(_class_added_to_all, "The class embedding stands in front, but it is also added to every patch: only E_pos is added."),
    Misconception(
        _positions_concatenated, "The position embedding is put beside each term, 2d numbers: it is added, and d stays the same."
    ),
    Misconception(_class_replaces_patch, "The class embedding takes the place of the first patch: put it in front, and keep all n patches."),
    Misconception(_class_for_first_image, "Only the first image gets the class embedding: expand it to all B images."),
    Misconception(_positions_reversed, "The rows of the position embedding are added in reverse order."),
    Misconception(_positions_twice, "The position embedding is added twice."),
    Misconception(_class_is_zero, "The class term is zero: put the numbers of class_embedding there."),
    Misconception(_class_is_mean, "The mean of the patches stands in the first place: the class embedding is a tensor of its own, given to you."),
    Misconception(_positions_counted, "The position's number (0, 1, 2, ...) is added: add its row of position_embedding, which has been learned."),
    Misconception(_positions_averaged, "The sum is divided by 2: z_0 is the sum of the terms and their positions, not the mean."),
    Misconception(_position_of_class_everywhere, "Row 0 of the position embedding is added to every term: each term has a row of its own."),
)  # fmt: skip

EXERCISES = (
    Exercise(
        name="patchify",
        arguments=("images", "patch_size"),
        returns="(B, n, P²·C)",
        axes=("image", "patch", "number"),
        reference=patchify,
        parts=(
            Part("one square image", 1, _one_square_image),
            Part("several images, not square", 2, _other_images),
            Part("other channels, float64, gradients", 1, _other_channels),
        ),
        misconceptions=PATCHIFY,
    ),
    Exercise(
        name="embed_patches",
        arguments=("images", "E", "patch_size"),
        returns="(B, n, d)",
        axes=("image", "patch", "number"),
        reference=embed_patches,
        parts=(
            Part("one image", 1, _embedding_of_one),
            Part("several images, not square", 1, _embedding_of_many),
            Part("float64, gradients", 1, _embedding_in_double),
        ),
        misconceptions=EMBED_PATCHES,
        pairs=EMBED_PATCHES_PAIRS,
        builds_on=FollowThrough((patchify,), lambda patchify, images, E, P: patchify(images, P) @ E),
    ),
    Exercise(
        name="assemble_sequence",
        arguments=("patch_embeddings", "class_embedding", "position_embedding"),
        returns="(B, n+1, d)",
        axes=("image", "term", "number"),
        reference=assemble_sequence,
        parts=(
            Part("one image", 1, _sequence_of_one),
            Part("several images", 1, _sequence_of_many),
            Part("float64, gradients", 1, _sequence_in_double),
        ),
        misconceptions=ASSEMBLE_SEQUENCE,
    ),
)
