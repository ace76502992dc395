"""Checks of the exercise `embeddings`: patchify, embed_patches, assemble_sequence."""

import torch
from torch.nn import functional as F

from vitlab.checks.engine.exercise import Exercise, FollowThrough, Part, Sizes
from vitlab.embeddings import assemble_sequence, embed_patches, patchify

IMAGES = {"H": "rows*P", "W": "columns*P", "n": "rows*columns"}

# ---- patchify

cut = Exercise(
    patchify,
    takes={"images": "B C H W", "patch_size": "P"},
    where=IMAGES,
    returns="B n P*P*C",
    axes="image patch number",
    parts=(
        Part("one square image", 1, Sizes("one square image", B=1, C=3, P=2, rows=2, columns=2)),
        Part(
            "several images, not square",
            2,
            Sizes("wide images", C=3, P=2, rows=2, columns=4),
            Sizes("high images", C=3, P=3, rows=3, columns=2),
            Sizes("many patches", P=2, C=3, columns="large"),
        ),
        Part(
            "other channels, float64, gradients",
            1,
            Sizes("grey images", C=1),
            Sizes("five channels", C=5, P=2),
            Sizes("large numbers", lambda images, P: (100 * images, P), P=2, gradient=True),
        ),
    ),
    pinned={"P": 2, "rows": 3, "columns": 5, "C": 7},
)


@cut.formulation
def _(images, patch_size):
    B, C, H, W = images.shape
    P = patch_size
    x = images.unfold(2, P, P).unfold(3, P, P)  # (B, C, rows, columns, P, P)
    x = x.permute(0, 2, 3, 4, 5, 1)  # (B, rows, columns, P, P, C)
    return x.reshape(B, (H // P) * (W // P), P * P * C)


@cut.formulation
def _(images, patch_size):
    P = patch_size
    C = images.shape[1]
    columns = F.unfold(images, kernel_size=P, stride=P)  # (B, C·P², n)
    x = columns.transpose(1, 2).unflatten(2, (C, P * P))  # (B, n, C, P²)
    return x.transpose(2, 3).flatten(2)


@cut.misconception(
    "Each patch holds all of one channel, then all of the next: put the channels last, so that the first C numbers are "
    "those of the top left pixel."
)
def channels_first(images, patch_size):
    B, C, H, W = images.shape
    P = patch_size
    x = images.reshape(B, C, H // P, P, W // P, P)
    return x.permute(0, 2, 4, 1, 3, 5).reshape(B, (H // P) * (W // P), C * P * P)


@cut.misconception(
    "The numbers are only reshaped, which cuts the image into runs of memory and not into squares: split H and W into "
    "(rows, P) and (columns, P), and move the axes before you flatten."
)
def only_reshaped(images, patch_size):
    B, C, H, W = images.shape
    P = patch_size
    return images.reshape(B, (H // P) * (W // P), P * P * C)


@cut.misconception(
    "Each patch is a run of pixels along a row (or across rows) of the image, and not a P x P square: split H into (rows, P) "
    "and W into (columns, P), and bring rows and columns together."
)
def runs_of_pixels(images, patch_size):
    B, C, H, W = images.shape
    P = patch_size
    return images.permute(0, 2, 3, 1).reshape(B, (H // P) * (W // P), P * P * C)


@cut.misconception("The patches come column by column: they should come row by row from the top left.")
def patches_by_column(images, patch_size):
    B, C, H, W = images.shape
    P = patch_size
    x = images.reshape(B, C, H // P, P, W // P, P)
    return x.permute(0, 4, 2, 3, 5, 1).reshape(B, (H // P) * (W // P), P * P * C)


@cut.misconception("Within each patch the pixels come column by column: they should come row by row.")
def pixels_by_column(images, patch_size):
    B, C, H, W = images.shape
    P = patch_size
    x = images.reshape(B, C, H // P, P, W // P, P)
    return x.permute(0, 2, 4, 5, 3, 1).reshape(B, (H // P) * (W // P), P * P * C)


@cut.misconception(
    "The number of patch columns is computed from the height: that is right for square images only. rows = H / P, "
    "columns = W / P."
)
def _(images, patch_size):
    P = patch_size
    rows = images.shape[2] // P
    patches = [
        images[:, :, i * P : (i + 1) * P, j * P : (j + 1) * P].permute(0, 2, 3, 1).flatten(1)
        for i in range(rows)
        for j in range(rows)
    ]
    return torch.stack(patches, dim=1)


@cut.misconception(
    "The last row and the last column of patches are missing: the top left corners go up to H - P and W - P, which "
    "range(0, H, P) and range(0, W, P) give."
)
def _(images, patch_size):
    P = patch_size
    return patchify(images[:, :, :-P, :-P], P)


@cut.misconception(
    "The number of rows is used for the columns and the other way round, which is right for square images only: "
    "rows = H / P, columns = W / P."
)
def _(images, patch_size):
    B, C, H, W = images.shape
    P = patch_size
    x = images.reshape(B, C, W // P, P, H // P, P)
    return x.permute(0, 2, 4, 3, 5, 1).reshape(B, (H // P) * (W // P), P * P * C)


@cut.misconception(
    "The image is transposed before it is cut: its height is used as the width, so that rows become columns."
)
def _(images, patch_size):
    return patchify(images.transpose(2, 3), patch_size)


@cut.misconception(
    "Your patches overlap: neighbours should start P pixels apart, so that there are n = H W / P² of them."
)
def _(images, patch_size):
    x = images.unfold(2, patch_size, 1).unfold(3, patch_size, 1)  # (B, C, H-P+1, W-P+1, P, P)
    return x.permute(0, 2, 3, 4, 5, 1).flatten(3).flatten(1, 2)


THREE_CHANNELS = "The number of channels is taken to be 3; take it from images.shape: C may be anything."


@cut.misconception(THREE_CHANNELS)
def _(images, patch_size):
    B, _, H, W = images.shape
    P = patch_size
    x = images.reshape(B, 3, H // P, P, W // P, P)
    return x.permute(0, 2, 4, 3, 5, 1).reshape(B, (H // P) * (W // P), P * P * 3)


@cut.misconception(THREE_CHANNELS)
def _(images, patch_size):
    P = patch_size
    return patchify(images, P).reshape(len(images), -1, P * P * 3)


@cut.misconception(
    "The patches still lie in a grid, (B, rows, columns, P²·C): join rows and columns to one axis of n patches."
)
def _(images, patch_size):
    B, C, H, W = images.shape
    P = patch_size
    return patchify(images, P).reshape(B, H // P, W // P, P * P * C)


@cut.misconception("The patches are cut but not flattened, (B, n, P, P, C): flatten the last three axes to P²·C.")
def _(images, patch_size):
    P = patch_size
    return patchify(images, P).unflatten(2, (P, P, images.shape[1]))


@cut.misconception(
    "torch.chunk(images, P) makes P pieces, and not pieces of P pixels: images.split(P, dim) does that, and unflatten both "
    "axes at once."
)
def _(images, patch_size):
    rows = images.chunk(patch_size, dim=2)
    patches = [patch.permute(0, 2, 3, 1).flatten(1) for row in rows for patch in row.chunk(patch_size, dim=3)]
    return torch.stack(patches, dim=1)


# ---- embed_patches

embed = Exercise(
    embed_patches,
    takes={"images": "B C H W", "E": "P*P*C d", "patch_size": "P"},
    where=IMAGES,
    returns="B n d",
    axes="image patch number",
    parts=(
        Part("one square image", 1, Sizes("one square image", B=1, C=3, P=2, rows=2, columns=2)),
        Part("several images, not square", 1, Sizes(C=3, P=4), Sizes("many patches", P=3, C=3, rows="large")),
        Part(
            "float64, gradients",
            1,
            Sizes("large numbers", lambda images, E, P: (100 * images, 10 * E, P), P=3, gradient=True),
        ),
    ),
    pinned={"P": 2, "rows": 3, "columns": 5, "C": 7, "d": 11},
    builds_on=FollowThrough((patchify,), lambda patchify, images, E, P: patchify(images, P) @ E),
)


@embed.formulation
def _(images, E, patch_size):
    P = patch_size
    kernel = E.reshape(P, P, images.shape[1], E.shape[1]).permute(3, 2, 0, 1)  # (d, C, P, P)
    features = F.conv2d(images, kernel, stride=P)  # (B, d, rows, columns)
    return features.flatten(2).transpose(1, 2)


@embed.formulation
def _(images, E, patch_size):
    return torch.einsum("bnp,pd->bnd", patchify(images, patch_size), E)


def _cut_wrongly(sentence, patches):
    @embed.misconception("The patches are cut wrongly before the projection. " + sentence)
    def embedded(images, E, patch_size):
        return patches(images, patch_size) @ E


for misconception in cut.misconceptions:
    if misconception.function in (channels_first, only_reshaped, runs_of_pixels, patches_by_column, pixels_by_column):
        _cut_wrongly(misconception.sentence, misconception.function)


@embed.misconception(
    "E is reshaped to (d, C, P, P), which shuffles its numbers: its rows are row, column, channel and its columns are d, so "
    "reshape to (P, P, C, d) and permute."
)
def _(images, E, patch_size):
    kernel = E.reshape(E.shape[1], images.shape[1], patch_size, patch_size)
    return F.conv2d(images, kernel, stride=patch_size).flatten(2).transpose(1, 2)


@embed.misconception("The convolution visits every pixel: patches do not overlap, so its stride must be P.")
def _(images, E, patch_size):
    P = patch_size
    kernel = E.reshape(P, P, images.shape[1], E.shape[1]).permute(3, 2, 0, 1)
    return F.conv2d(images, kernel).flatten(2).transpose(1, 2)


@embed.misconception("This is the convolution's feature map, (B, d, rows, columns): flatten the grid and put d last.")
def _(images, E, patch_size):
    P = patch_size
    kernel = E.reshape(P, P, images.shape[1], E.shape[1]).permute(3, 2, 0, 1)
    return F.conv2d(images, kernel, stride=P)


@embed.misconception("The embeddings are divided by P², as if each were an average over the pixels: x_p E is a sum.")
def _(images, E, patch_size):
    return patchify(images, patch_size) @ E / patch_size**2


@embed.misconception("These are the patches themselves: multiply them by E.")
def _(images, E, patch_size):
    return patchify(images, patch_size)


@embed.misconception(
    "The pixels of a patch are averaged for each channel before the projection: E takes all P²·C numbers."
)
def _(images, E, patch_size):
    means = F.avg_pool2d(images, patch_size)  # (B, C, rows, columns)
    P = patch_size
    filled = means.repeat_interleave(P, dim=2).repeat_interleave(P, dim=3)
    return patchify(filled, P) @ E


@embed.misconception(
    "The embeddings are multiplied by √d, as those of words are in the first transformer: here they are x_p E as they come."
)
def _(images, E, patch_size):
    return patchify(images, patch_size) @ E * E.shape[-1] ** 0.5


# ---- assemble_sequence

assemble = Exercise(
    assemble_sequence,
    takes={"patch_embeddings": "B n d", "class_embedding": "d", "position_embedding": "n+1 d"},
    returns="B n+1 d",
    axes="image term number",
    parts=(
        Part("one image", 1, Sizes("one image", B=1)),
        Part(
            "several images", 1, Sizes(), Sizes("as many patches as numbers", n="d"), Sizes("many patches", n="large")
        ),
        Part("float64, gradients", 1, Sizes("large numbers", lambda *z: tuple(100 * x for x in z), gradient=True)),
    ),
)


@assemble.formulation
def _(patch_embeddings, class_embedding, position_embedding):
    class_token = class_embedding + position_embedding[0]
    patches = patch_embeddings + position_embedding[1:]
    class_tokens = class_token.expand(len(patch_embeddings), 1, -1)
    return torch.cat([class_tokens, patches], dim=1)


@assemble.misconception("The class embedding stands at the end, and should come first, z_0 = [x_class; x_p^1 E; ...].")
def _(patch_embeddings, class_embedding, position_embedding):
    class_tokens = class_embedding.expand(len(patch_embeddings), 1, -1)
    return torch.cat([patch_embeddings, class_tokens], dim=1) + position_embedding


@assemble.misconception(
    "The class embedding stands in front, but the last row of E_pos is added to it and the first n rows to the patches: "
    "row 0 belongs to the class embedding, row i to patch i."
)
def _(patch_embeddings, class_embedding, position_embedding):
    class_tokens = class_embedding.expand(len(patch_embeddings), 1, -1)
    return torch.cat([class_tokens, patch_embeddings], dim=1) + position_embedding.roll(1, 0)


@assemble.misconception(
    "The class embedding gets no position: E_pos has n+1 rows, and its first row is added to the class embedding."
)
def _(patch_embeddings, class_embedding, position_embedding):
    class_tokens = class_embedding.expand(len(patch_embeddings), 1, -1)
    return torch.cat([class_tokens, patch_embeddings + position_embedding[1:]], dim=1)


@assemble.misconception(
    "The positions are off by one: row 0 of E_pos belongs to the class embedding, row i to patch i."
)
def _(patch_embeddings, class_embedding, position_embedding):
    class_tokens = class_embedding.expand(len(patch_embeddings), 1, -1)
    return torch.cat([class_tokens, patch_embeddings + position_embedding[:-1]], dim=1)


@assemble.misconception("The patches get their positions twice, before and after the class embedding is put in front.")
def _(patch_embeddings, class_embedding, position_embedding):
    class_tokens = class_embedding.expand(len(patch_embeddings), 1, -1)
    return torch.cat([class_tokens, patch_embeddings + position_embedding[1:]], dim=1) + position_embedding


@assemble.misconception(
    "Sines and cosines are added, as in the first transformer: a ViT's positions are learned, and given to you as "
    "position_embedding."
)
def _(patch_embeddings, class_embedding, position_embedding):
    class_tokens = class_embedding.expand(len(patch_embeddings), 1, -1)
    z = torch.cat([class_tokens, patch_embeddings], dim=1)
    return z + _waves(z.shape[1], z.shape[2]).to(z.dtype)


def _waves(n: int, d: int) -> torch.Tensor:
    """PE(i, 2k) = sin(i / 10000^(2k/d)), PE(i, 2k+1) = cos(...): (n, d)."""
    i, k = torch.arange(n, dtype=torch.float64)[:, None], torch.arange(d, dtype=torch.float64)
    angles = i / 10000 ** (2 * (k // 2) / d)
    return torch.where(k % 2 == 0, angles.sin(), angles.cos())


@assemble.misconception("The class embedding is missing: the sequence has n+1 terms, the class embedding first.")
def _(patch_embeddings, class_embedding, position_embedding):
    return patch_embeddings + position_embedding[1:]


@assemble.misconception(
    "The class embedding is missing, and the patches take its row of E_pos: the sequence has n+1 terms, with it first."
)
def _(patch_embeddings, class_embedding, position_embedding):
    return patch_embeddings + position_embedding[:-1]


@assemble.misconception(
    "The class embedding is added to every patch, and should be a term of its own, put in front of the patches, n+1 terms together."
)
def _(patch_embeddings, class_embedding, position_embedding):
    return patch_embeddings + class_embedding + position_embedding[1:]


@assemble.misconception(
    "The class embedding stands in front, but it is also added to every patch: only E_pos is added."
)
def _(patch_embeddings, class_embedding, position_embedding):
    class_tokens = class_embedding.expand(len(patch_embeddings), 1, -1)
    return torch.cat([class_tokens, patch_embeddings + class_embedding], dim=1) + position_embedding


@assemble.misconception(
    "The position embedding is put beside each term, 2d numbers, and should be added, so that d stays the same."
)
def _(patch_embeddings, class_embedding, position_embedding):
    class_tokens = class_embedding.expand(len(patch_embeddings), 1, -1)
    z = torch.cat([class_tokens, patch_embeddings], dim=1)
    return torch.cat([z, position_embedding.expand(z.shape)], dim=-1)


@assemble.misconception(
    "The class embedding takes the place of the first patch: put it in front, and keep all n patches."
)
def _(patch_embeddings, class_embedding, position_embedding):
    class_tokens = class_embedding.expand(len(patch_embeddings), 1, -1)
    return torch.cat([class_tokens, patch_embeddings[:, 1:]], dim=1) + position_embedding[:-1]


@assemble.misconception(
    "Two things: the class embedding stands at the end, and gets no position. It should come first, with row 0 of E_pos."
)
def _(patch_embeddings, class_embedding, position_embedding):
    patches = patch_embeddings + position_embedding[1:]
    class_tokens = class_embedding.expand(len(patches), 1, -1)
    return torch.cat([patches, class_tokens], dim=1)


@assemble.misconception("Only the first image gets the class embedding: expand it to all B images.")
def _(patch_embeddings, class_embedding, position_embedding):
    class_tokens = torch.zeros_like(patch_embeddings[:, :1])
    class_tokens[0] = class_embedding
    return torch.cat([class_tokens, patch_embeddings], dim=1) + position_embedding


@assemble.misconception(
    "The mean of the patches stands in the first place: the class embedding is a tensor of its own, given to you."
)
def _(patch_embeddings, class_embedding, position_embedding):
    return torch.cat([patch_embeddings.mean(dim=1, keepdim=True), patch_embeddings], dim=1) + position_embedding


@assemble.misconception(
    "The position's number (0, 1, 2, ...) is added: add its row of position_embedding, which has been learned."
)
def _(patch_embeddings, class_embedding, position_embedding):
    class_tokens = class_embedding.expand(len(patch_embeddings), 1, -1)
    z = torch.cat([class_tokens, patch_embeddings], dim=1)
    return z + torch.arange(z.shape[1], dtype=z.dtype)[:, None]


@assemble.misconception("Row 0 of the position embedding is added to every term: each term has a row of its own.")
def _(patch_embeddings, class_embedding, position_embedding):
    class_tokens = class_embedding.expand(len(patch_embeddings), 1, -1)
    return torch.cat([class_tokens, patch_embeddings], dim=1) + position_embedding[0]


@assemble.misconception(
    "The class embedding stands there once, and is needed for every image: class_embedding.expand(B, 1, d), then torch.cat."
)
def _(patch_embeddings, class_embedding, position_embedding):
    return torch.cat([class_embedding.reshape(1, 1, -1), patch_embeddings], dim=1) + position_embedding


EXERCISES = (cut, embed, assemble)
