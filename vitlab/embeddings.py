"""Images as sequences: patches, the linear projection E, class and position embeddings.

Lecture: "Converting Images to Sequences", "Class and Position Embeddings".
Paper: Dosovitskiy et al., "An Image is Worth 16x16 Words", 2021, section 3.1.

Images are (B, C, H, W), token sequences (B, n, d). The lecture writes one image as H x W x C; the batch axis comes
first here, and the channels second, because that is how PyTorch stores images.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vitlab.validation import batch_of_images, checked_channels


def patchify(images: Tensor, patch_size: int) -> Tensor:
    """Cut images into non-overlapping P x P patches and flatten each one.

        x in R^{H x W x C}  ->  x_p^1, ..., x_p^n in R^{P²·C},   n = H W / P²

    Args:
        images: (B, C, H, W).
        patch_size: P, the side of a patch in pixels.

    Returns:
        (B, n, P²·C). Patches come row by row from the top left; each patch is flattened row, column, channel, so that
        its first C numbers are the channels of its top left pixel.

    Raises:
        ValueError: if `images` has not four axes, or H or W is not a multiple of P.

    Source: lecture, "Converting Images to Sequences".
    """
    rows, columns = patch_grid(images, patch_size)
    B, C, _, _ = images.shape
    P = patch_size
    cut = images.reshape(B, C, rows, P, columns, P)  # (B, C, H, W) -> (B, C, rows, P, columns, P)
    patches = cut.permute(0, 2, 4, 3, 5, 1)  # (B, rows, columns, P, P, C)
    return patches.reshape(B, rows * columns, P * P * C)  # (B, n, P²·C)


def unpatchify(patches: Tensor, patch_size: int, image_size: tuple[int, int]) -> Tensor:
    """Put patches back together: the inverse of `patchify`.

    Args:
        patches: (B, n, P²·C).
        patch_size: P, the side of a patch in pixels.
        image_size: (H, W) of the images, in pixels.

    Returns:
        (B, C, H, W).

    Raises:
        ValueError: if n patches of that size do not fill an image of that size.
    """
    B, n, length = patches.shape
    H, W = image_size
    P = patch_size
    rows, columns = H // P, W // P
    if (rows * P, columns * P) != (H, W) or rows * columns != n or length % (P * P):
        raise ValueError(
            f"{n} patches of {length} numbers do not make a {H} x {W} image with patch size {P}: "
            f"that image has {rows} x {columns} patches, each of a multiple of {P * P} numbers."
        )
    C = length // (P * P)
    on_grid = patches.reshape(B, rows, columns, P, P, C)  # (B, n, P²·C) -> (B, rows, columns, P, P, C)
    cut = on_grid.permute(0, 5, 1, 3, 2, 4)  # (B, C, rows, P, columns, P)
    return cut.reshape(B, C, H, W)  # (B, C, H, W)


def embed_patches(images: Tensor, E: Tensor, patch_size: int) -> Tensor:
    """Project every flattened patch to d numbers.

        z_p^i = x_p^i E

    Args:
        images: (B, C, H, W).
        E: (P²·C, d), the projection matrix.
        patch_size: P, the side of a patch in pixels.

    Returns:
        (B, n, d), the patch embeddings.

    Raises:
        ValueError: as `patchify`, or if E has not P²·C rows.

    Source: lecture, "Converting Images to Sequences".
    """
    patches = patchify(images, patch_size)  # (B, n, P²·C)
    if E.shape[0] != patches.shape[-1]:
        raise ValueError(
            f"E has {E.shape[0]} rows, but a flattened patch has P²·C = {patches.shape[-1]} numbers: "
            f"E must be ({patches.shape[-1]}, d)."
        )
    return patches @ E  # (B, n, d)


def projection_as_kernel(E: Tensor, patch_size: int) -> Tensor:
    """The convolution kernel that computes the same as E: kernel size P, stride P.

    Cutting into patches and multiplying each by E is one strided convolution; models store E in this form.

    Args:
        E: (P²·C, d).
        patch_size: P, the side of a patch in pixels.

    Returns:
        (d, C, P, P), the `weight` of a `torch.nn.Conv2d`.
    """
    P = patch_size
    return E.reshape(P, P, -1, E.shape[1]).permute(3, 2, 0, 1)  # (P, P, C, d) -> (d, C, P, P)


def kernel_as_projection(kernel: Tensor) -> Tensor:
    """The projection matrix E of a patch convolution: the inverse of `projection_as_kernel`.

    Args:
        kernel: (d, C, P, P).

    Returns:
        (P²·C, d).
    """
    return kernel.permute(2, 3, 1, 0).reshape(-1, kernel.shape[0])  # (P, P, C, d) -> (P²·C, d)


def assemble_sequence(patch_embeddings: Tensor, class_embedding: Tensor, position_embedding: Tensor) -> Tensor:
    """Put the class embedding in front of the patch embeddings and add the position embedding to every term.

        z_0 = [x_class; x_p^1 E; ...; x_p^n E] + E_pos

    Args:
        patch_embeddings: (B, n, d).
        class_embedding: (d,), the same for every image.
        position_embedding: (n+1, d), its first row for the class embedding.

    Returns:
        (B, n+1, d), the sequence z_0 that enters the encoder.

    Raises:
        ValueError: if the position embedding has not n+1 rows.

    Source: lecture, "Class and Position Embeddings".
    """
    B, n, d = patch_embeddings.shape
    if position_embedding.shape != (n + 1, d):
        raise ValueError(
            f"the position embedding is {tuple(position_embedding.shape)}, but {n} patches and the class embedding "
            f"need (n+1, d) = {(n + 1, d)}; for another image size, interpolate it with interpolate_positions."
        )
    class_tokens = class_embedding.expand(B, 1, d)  # (d,) -> (B, 1, d), one for each image
    sequence = torch.cat([class_tokens, patch_embeddings], dim=1)  # (B, n+1, d)
    return sequence + position_embedding


def interpolate_positions(position_embedding: Tensor, grid: tuple[int, int], new_grid: tuple[int, int]) -> Tensor:
    """Stretch a position embedding to another grid of patches, so that another image size can be used.

    The rows of the patches are laid out as an image with d channels and resized bicubically; the row of the class
    embedding has no place in the image and stays as it is.

    Args:
        position_embedding: (1 + rows·columns, d), its first row for the class embedding.
        grid: (rows, columns) of patches it was learned for.
        new_grid: (rows, columns) of patches wanted.

    Returns:
        (1 + new rows·new columns, d).

    Raises:
        ValueError: if the position embedding does not fit `grid`.

    Source: Dosovitskiy et al., section 3.2.
    """
    rows, columns = grid
    n, d = position_embedding.shape[0] - 1, position_embedding.shape[1]
    if n != rows * columns:
        raise ValueError(
            f"the position embedding has rows for {n} patches, but a {rows} x {columns} grid has {rows * columns}."
        )
    if tuple(new_grid) == (rows, columns):
        return position_embedding
    of_class, of_patches = position_embedding[:1], position_embedding[1:]  # (1, d), (n, d)
    image = of_patches.reshape(1, rows, columns, d).permute(0, 3, 1, 2)  # (1, d, rows, columns)
    image = F.interpolate(image, size=tuple(new_grid), mode="bicubic", align_corners=False)
    of_patches = image.permute(0, 2, 3, 1).reshape(-1, d)  # (new n, d)
    return torch.cat([of_class, of_patches])


def patch_grid(images: Tensor, patch_size: int) -> tuple[int, int]:
    """How many patches fit below and beside each other: (H / P, W / P).

    Raises:
        ValueError: if `images` has not four axes, or H or W is not a multiple of P.
    """
    H, W = batch_of_images(images).shape[-2:]
    if H == 0 or W == 0 or H % patch_size or W % patch_size:
        raise ValueError(
            f"the images are {H} x {W} pixels, which patches of {patch_size} x {patch_size} do not tile: "
            f"height and width must be multiples of {patch_size}."
        )
    return H // patch_size, W // patch_size


class Embeddings(nn.Module):
    """The lecture's z_0 with learnable E, x_class and E_pos: from an image to the sequence that enters the encoder.

        z_0 = [x_class; x_p^1 E + b; ...; x_p^n E + b] + E_pos

    E is kept as the equal convolution (`projection_as_kernel`), with a bias b as the published models have.
    An image of another size than `image_size` gets an interpolated E_pos.

    Args:
        image_size: (H, W) in pixels for which E_pos is learned.
        patch_size: P, the side of a patch in pixels.
        d: embedding dimension.
        channels: C of the images.

    Shapes: (B, C, H, W) -> (B, n+1, d).

    Raises:
        ValueError: if an image has another number of channels, or its size or `image_size` is not a multiple of P.
    """

    def __init__(self, *, image_size: tuple[int, int], patch_size: int, d: int, channels: int = 3):
        super().__init__()
        H, W = image_size
        if H % patch_size or W % patch_size or not H * W:
            raise ValueError(f"image_size is {H} x {W}, but height and width must be multiples of {patch_size}.")
        self.patch_size = patch_size
        self.grid = (H // patch_size, W // patch_size)
        self.projection = nn.Conv2d(channels, d, kernel_size=patch_size, stride=patch_size)
        self.class_embedding = nn.Parameter(torch.empty(d))
        self.position_embedding = nn.Parameter(torch.empty(1 + self.grid[0] * self.grid[1], d))
        for parameter in (self.projection.weight, self.class_embedding, self.position_embedding):
            nn.init.trunc_normal_(parameter, std=0.02)
        nn.init.zeros_(self.projection.bias)

    @property
    def E(self) -> Tensor:
        """The lecture's projection matrix, (P²·C, d)."""
        return kernel_as_projection(self.projection.weight)

    def forward(self, images: Tensor) -> Tensor:
        grid = patch_grid(checked_channels(images, self.projection.in_channels), self.patch_size)
        # As taught: on a processor, the gradient of a matrix product costs far less than that of the convolution.
        patch_embeddings = embed_patches(images, self.E, self.patch_size) + self.projection.bias  # (B, n, d)
        positions = interpolate_positions(self.position_embedding, self.grid, grid)
        return assemble_sequence(patch_embeddings, self.class_embedding, positions)
