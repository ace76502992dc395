"""Checks of the exercise `overlap_embeddings`: output_size, overlapping_patches, embed_overlapping_patches."""

import math

import torch
from torch.nn import functional as F

from vitlab.checks.engine.exercise import Exercise, FollowThrough, Part, Sizes
from vitlab.overlap_embeddings import embed_overlapping_patches, output_size, overlapping_patches

# ---- output_size

size_of = Exercise(
    output_size,
    takes={"size": "size", "kernel_size": "k", "stride": "s", "padding": "p"},
    returns="",
    parts=(
        Part(
            "SegFormer's stages",
            1,
            Sizes("the first stage", size=512, k=7, s=4, p=3),
            Sizes("another stage", size=128, k=3, s=2, p=1),
            Sizes("another stage, an odd number of tokens", size=57, k=3, s=2, p=1),
        ),
        Part(
            "any kernel, stride and padding",
            2,
            Sizes("ViT's patches", size=224, k=16, s=16, p=0),
            Sizes("an even kernel, nothing left over", size=20, k=4, s=2, p=1),
            Sizes("an even kernel, much left over", size=23, k=6, s=4, p=3),
            Sizes("an even kernel, little left over", size=21, k=6, s=4, p=3),
            Sizes("a kernel of two strides", size=27, k=8, s=4, p=2),
            Sizes("a step that only the padding fills", size=21, k=7, s=4, p=1),
            Sizes("no padding", size="large", p=0),
            Sizes("a small padding", size="large", k=7, s=3, p=1),
            Sizes("a large padding", size="large", k=3, s=2, p=5),
            Sizes("stride 1", size="large", s=1),
            Sizes("one patch", size=6, k=6, s=4, p=0),
            Sizes(size="large"),
        ),
    ),
    steps={"padded": "size + 2 · padding", "last": "the last start"},
)


@size_of.formulation
def _(size, kernel_size, stride, padding):
    last = size + padding + padding - kernel_size
    return last // stride + 1


@size_of.misconception("The padding is counted once, and should be added at both ends, size + 2 · padding.")
def _(size, kernel_size, stride, padding):
    return (size + padding - kernel_size) // stride + 1


@size_of.misconception("The padding is not counted: it should be added at both ends, size + 2 · padding.")
def _(size, kernel_size, stride, padding):
    return (size - kernel_size) // stride + 1


@size_of.misconception("The first patch is not counted: the division says how many steps can be made; add 1.")
def _(size, kernel_size, stride, padding):
    return (size + 2 * padding - kernel_size) // stride


@size_of.misconception("1 is added before the division: the first patch is counted behind it, ⌊…/s⌋ + 1.")
def _(size, kernel_size, stride, padding):
    return (size + 2 * padding - kernel_size + 1) // stride


ROUNDED_UP = (
    "The division is rounded up, which counts a patch that reaches beyond the padded border: round down, with //."
)


@size_of.misconception(ROUNDED_UP)
def _(size, kernel_size, stride, padding):
    return -(-(size + 2 * padding - kernel_size) // stride) + 1


@size_of.misconception(
    "The division is rounded to the nearest: a last step that does not fit in whole is not made; round down, with //."
)
def _(size, kernel_size, stride, padding):
    return round((size + 2 * padding - kernel_size) / stride) + 1


@size_of.misconception(
    "The result is rounded to the nearest: a last step that does not fit in whole is not made; round down, with //."
)
def _(size, kernel_size, stride, padding):
    return round((size + 2 * padding - kernel_size) / stride + 1)


@size_of.misconception(
    "The division is not rounded: half a step is none, and the result is a whole number; use // in the place of /."
)
def _(size, kernel_size, stride, padding):
    return (size + 2 * padding - kernel_size) / stride + 1


DIVIDED = "The size is only divided by the stride: kernel and padding count, too, ⌊(size + 2 · padding - k) / s⌋ + 1."


@size_of.misconception(DIVIDED)
def _(size, kernel_size, stride, padding):
    return size // stride


@size_of.misconception(
    "This is ⌈size/s⌉, which is right only for an odd kernel with a border of k // 2: use the kernel and the padding that "
    "are given."
)
def _(size, kernel_size, stride, padding):
    return (size - 1) // stride + 1


@size_of.misconception("The padding is taken to be k // 2: use the one that is given.")
def _(size, kernel_size, stride, padding):
    return (size + 2 * (kernel_size // 2) - kernel_size) // stride + 1


@size_of.misconception("The stride is taken to be the kernel's size, as in ViT: here patches overlap, use the stride.")
def _(size, kernel_size, stride, padding):
    return (size + 2 * padding) // kernel_size


@size_of.misconception(
    "Only the size is divided by the stride, and 1 is added: kernel and padding count, too, "
    "⌊(size + 2 · padding - k) / s⌋ + 1."
)
def _(size, kernel_size, stride, padding):
    return size // stride + 1


@size_of.misconception(
    "A patch is missing where nothing is left over: range(0, size + 2 * padding - k, s) ends before the last start (so does "
    "a division that is rounded up in the place of the + 1). Let the range end one later, or round down and add 1."
)
def _(size, kernel_size, stride, padding):
    return -(-(size + 2 * padding - kernel_size) // stride)


@size_of.misconception(
    "The padding is added behind the division: it counts pixels, as the size does, and belongs before the division."
)
def _(size, kernel_size, stride, padding):
    return (size - kernel_size) // stride + 1 + 2 * padding


@size_of.misconception(
    "// comes before + and -, so that only the kernel is divided: put size + 2 * padding - kernel_size into brackets."
)
def _(size, kernel_size, stride, padding):
    return size + 2 * padding - kernel_size // stride + 1


@size_of.misconception(
    "/ comes before + and -, so that only the kernel is divided: put size + 2 * padding - kernel_size into brackets."
)
def _(size, kernel_size, stride, padding):
    return int(size + 2 * padding - kernel_size / stride) + 1


@size_of.misconception(
    "Size and kernel are divided by the stride apart from each other, which rounds twice: subtract first, then divide."
)
def _(size, kernel_size, stride, padding):
    return (size + 2 * padding) // stride - kernel_size // stride + 1


@size_of.misconception(
    "The size is divided by the stride by itself, and padding and kernel by themselves, which rounds twice: add and subtract "
    "first, then divide."
)
def _(size, kernel_size, stride, padding):
    return size // stride + (2 * padding - kernel_size) // stride + 1


@size_of.misconception("The padding is divided by the stride by itself, which rounds twice: add it first, then divide.")
def _(size, kernel_size, stride, padding):
    return (size - kernel_size) // stride + 2 * padding // stride + 1


@size_of.misconception("The kernel is left out: the last patch must fit in whole, so k is subtracted.")
def _(size, kernel_size, stride, padding):
    return (size + 2 * padding) // stride + 1


@size_of.misconception("The kernel and 1 are left out, ⌊(size + 2 · padding) / s⌋: ⌊(size + 2 · padding - k) / s⌋ + 1.")
def _(size, kernel_size, stride, padding):
    return (size + 2 * padding) // stride


@size_of.misconception("The kernel's size is subtracted behind the division, and belongs before it.")
def _(size, kernel_size, stride, padding):
    return (size + 2 * padding) // stride - kernel_size + 1


@size_of.misconception(
    "Every patch is counted that starts within the padded image, though the last ones do not fit in whole: the last start is "
    "size + 2 · padding - k, so ⌊(size + 2 · padding - k) / s⌋ + 1."
)
def _(size, kernel_size, stride, padding):
    return (size + 2 * padding - 1) // stride + 1


@size_of.misconception("Half of the kernel is subtracted: the whole patch must fit, so subtract k.")
def _(size, kernel_size, stride, padding):
    return (size + 2 * padding - kernel_size // 2) // stride + 1


@size_of.misconception("This is the size that a transposed convolution gives: here the image becomes smaller.")
def _(size, kernel_size, stride, padding):
    return (size - 1) * stride - 2 * padding + kernel_size


@size_of.misconception("Kernel and stride are exchanged: k is subtracted, and s is divided by.")
def _(size, kernel_size, stride, padding):
    return (size + 2 * padding - stride) // kernel_size + 1


@size_of.misconception(
    "Padding and stride are exchanged: the padding is added at both ends, and the stride is divided by."
)
def _(size, kernel_size, stride, padding):
    return (size + 2 * stride - kernel_size) // max(padding, 1) + 1


@size_of.misconception("This is the number of patches of a square image: count along one axis.")
def _(size, kernel_size, stride, padding):
    return ((size + 2 * padding - kernel_size) // stride + 1) ** 2


@size_of.misconception(
    "Two things: the padding is not counted, and the division is not rounded. ⌊(size + 2 · padding - k) / s⌋ + 1, with //."
)
def _(size, kernel_size, stride, padding):
    return (size - kernel_size) / stride + 1


@size_of.misconception(
    "Two things: the padding is counted once, though it is added at both ends, and the division is not rounded. "
    "⌊(size + 2 · padding - k) / s⌋ + 1, with //."
)
def _(size, kernel_size, stride, padding):
    return (size + padding - kernel_size) / stride + 1


@size_of.misconception(
    "Two things: the padding is counted once, though it is added at both ends, and the division is rounded to the nearest, not "
    "down. ⌊(size + 2 · padding - k) / s⌋ + 1, with //."
)
def _(size, kernel_size, stride, padding):
    return round((size + padding - kernel_size) / stride) + 1


@size_of.misconception(
    "Two things: the first patch is not counted, which is the + 1, and the division is not rounded. "
    "⌊(size + 2 · padding - k) / s⌋ + 1, with //."
)
def _(size, kernel_size, stride, padding):
    return (size + 2 * padding - kernel_size) / stride


# ---- overlapping_patches

STEPS = {
    "border": "k // 2",
    "padded": "the image with its border",
    "patches": "the grid of patches",
    "channels_last": "the grid of patches with the channels last",
    "x": "the grid of patches",
}
GRID = {"rows": "(H + 2*(k//2) - k)//s + 1", "columns": "(W + 2*(k//2) - k)//s + 1"}

cut = Exercise(
    overlapping_patches,
    takes={"images": "B C H W", "kernel_size": "k", "stride": "s"},
    where=GRID,
    returns="B rows columns k*k*C",
    axes="image row column number",
    parts=(
        Part("one image, 3 × 3 pixels a patch, stride 2", 1, Sizes("one square image", B=1, C=3, H=6, W=6, k=3, s=2)),
        Part(
            "several images, not square",
            2,
            Sizes("a wide image, 7 × 7, stride 4", B=4, C=3, H=9, W="large", k=7, s=4),
            Sizes("a high image, 3 × 3, stride 2", C=3, H="large", W=8, k=3, s=2),
            Sizes("nothing left over", C=2, H=9, W=13, k=3, s=2),
        ),
        Part(
            "any kernel, stride and channels, float64, gradients",
            2,
            Sizes("a feature map", C=6, H=9, W=7, k=5, s=3),
            Sizes("stride 1", C=2, H=6, W=4, k=3, s=1),
            Sizes("steps larger than half the kernel", C=3, H=10, W=11, k=5, s=4),
            Sizes("a kernel of one pixel", C=5, k=1, s=2),
            Sizes("large numbers", lambda images, k, s: (100 * images, k, s), H=7, W=6, k=3, s=2, gradient=True),
        ),
    ),
    pinned={"B": 5, "H": 8, "W": 11, "C": 7, "k": 3, "s": 2},
    steps=STEPS,
)


@cut.formulation
def _(images, kernel_size, stride):
    k, s = kernel_size, stride
    B, C, H, W = images.shape
    rows = (H + 2 * (k // 2) - k) // s + 1
    columns = (W + 2 * (k // 2) - k) // s + 1
    x = F.unfold(images, kernel_size=k, padding=k // 2, stride=s)  # (B, C·k², rows·columns)
    x = x.reshape(B, C, k * k, rows, columns)
    x = x.permute(0, 3, 4, 2, 1)  # (B, rows, columns, k², C)
    return x.reshape(B, rows, columns, k * k * C)


def _of(padded, kernel_size, stride):
    """The patches of an image that has its border, as they should be cut and flattened."""
    x = padded.unfold(2, kernel_size, stride).unfold(3, kernel_size, stride)  # (B, C, rows, columns, k, k)
    return x.permute(0, 2, 3, 4, 5, 1).flatten(3)


@cut.misconception(
    "There is no border: k // 2 zeros come on all four sides first, so that the patches' centres start at the image's "
    "first pixel."
)
def no_border(images, kernel_size, stride):
    x = images.unfold(2, kernel_size, stride).unfold(3, kernel_size, stride)
    return x.permute(0, 2, 3, 4, 5, 1).flatten(3)


@cut.misconception("The border repeats the outermost pixels, and should be of zeros.")
def _(images, kernel_size, stride):
    padded = F.pad(images, (kernel_size // 2,) * 4, mode="replicate")
    return _of(padded, kernel_size, stride)


@cut.misconception("The border mirrors the image, and should be of zeros.")
def _(images, kernel_size, stride):
    padded = F.pad(images, (kernel_size // 2,) * 4, mode="reflect")
    return _of(padded, kernel_size, stride)


@cut.misconception("The border continues on the other side of the image, and should be of zeros.")
def _(images, kernel_size, stride):
    padded = F.pad(images, (kernel_size // 2,) * 4, mode="circular")
    return _of(padded, kernel_size, stride)


@cut.misconception("The border is of ones, and should be of zeros.")
def _(images, kernel_size, stride):
    padded = F.pad(images, (kernel_size // 2,) * 4, value=1.0)
    return _of(padded, kernel_size, stride)


@cut.misconception("The border is of k zeros, and should be of k // 2.")
def _(images, kernel_size, stride):
    padded = F.pad(images, (kernel_size,) * 4)
    return _of(padded, kernel_size, stride)


@cut.misconception("The border is always of one pixel, which is right for k = 3 only, and should be of k // 2.")
def _(images, kernel_size, stride):
    padded = F.pad(images, (1,) * 4)
    return _of(padded, kernel_size, stride)


@cut.misconception("The border is always of three pixels, which is right for k = 7 only, and should be of k // 2.")
def _(images, kernel_size, stride):
    padded = F.pad(images, (3,) * 4)
    return _of(padded, kernel_size, stride)


@cut.misconception("The border is of s // 2 zeros, from the stride, and should be of k // 2, from the kernel.")
def _(images, kernel_size, stride):
    padded = F.pad(images, (stride // 2,) * 4)
    return _of(padded, kernel_size, stride)


@cut.misconception("The border is of k - s zeros, and should be of k // 2.")
def _(images, kernel_size, stride):
    padded = F.pad(images, (max(0, kernel_size - stride),) * 4)
    return _of(padded, kernel_size, stride)


@cut.misconception("The border is of k - 1 zeros, and should be of k // 2.")
def _(images, kernel_size, stride):
    padded = F.pad(images, (kernel_size - 1,) * 4)
    return _of(padded, kernel_size, stride)


@cut.misconception(
    "The border is as small as can be, as Keras' padding=\"same\" has it: it depends on the image's size, and one side may get "
    "a zero less. It should be of k // 2 zeros on all four sides, whatever the size is."
)
def _(images, kernel_size, stride):
    height, width = (max((math.ceil(size / stride) - 1) * stride + kernel_size - size, 0) for size in images.shape[2:])
    padded = F.pad(images, (width // 2, width - width // 2, height // 2, height - height // 2))
    return _of(padded, kernel_size, stride)


@cut.misconception("The border of zeros is on the right and below only, and should be on all four sides.")
def _(images, kernel_size, stride):
    padded = F.pad(images, (0, kernel_size // 2, 0, kernel_size // 2))
    return _of(padded, kernel_size, stride)


@cut.misconception(
    "All of the border, 2 (k // 2) zeros, is on the right and below: half of it belongs on the left and above."
)
def _(images, kernel_size, stride):
    padded = F.pad(images, (0, 2 * (kernel_size // 2), 0, 2 * (kernel_size // 2)))
    return _of(padded, kernel_size, stride)


@cut.misconception("The border of zeros is on the left and above only, and should be on all four sides.")
def _(images, kernel_size, stride):
    padded = F.pad(images, (kernel_size // 2, 0, kernel_size // 2, 0))
    return _of(padded, kernel_size, stride)


@cut.misconception("The border of zeros is on the left and right only, and should be above and below as well.")
def _(images, kernel_size, stride):
    padded = F.pad(images, (kernel_size // 2, kernel_size // 2, 0, 0))
    return _of(padded, kernel_size, stride)


@cut.misconception(
    "The patches do not overlap: each starts `kernel_size` pixels after the one before, and should start `stride` pixels after it."
)
def no_overlap(images, kernel_size, stride):
    padded = F.pad(images, (kernel_size // 2,) * 4)
    x = padded.unfold(2, kernel_size, kernel_size).unfold(3, kernel_size, kernel_size)
    return x.permute(0, 2, 3, 4, 5, 1).flatten(3)


@cut.misconception(
    "There is a patch around every pixel: each starts 1 pixel after the one before, and should start `stride` pixels after it."
)
def every_pixel(images, kernel_size, stride):
    padded = F.pad(images, (kernel_size // 2,) * 4)
    x = padded.unfold(2, kernel_size, 1).unfold(3, kernel_size, 1)
    return x.permute(0, 2, 3, 4, 5, 1).flatten(3)


@cut.misconception("The rows start `stride` pixels apart, but the columns `kernel_size`: the stride is that of both.")
def _(images, kernel_size, stride):
    padded = F.pad(images, (kernel_size // 2,) * 4)
    x = padded.unfold(2, kernel_size, stride).unfold(3, kernel_size, kernel_size)
    return x.permute(0, 2, 3, 4, 5, 1).flatten(3)


@cut.misconception(
    "The rows start `stride` pixels apart, but the columns do not: the stride is the same in both directions."
)
def _(images, kernel_size, stride):
    padded = F.pad(images, (kernel_size // 2,) * 4)
    x = padded.unfold(2, kernel_size, stride).unfold(3, kernel_size, 1)
    return x.permute(0, 2, 3, 4, 5, 1).flatten(3)


@cut.misconception("Rows and columns of the grid are exchanged: (B, rows, columns, k²·C), rows from the height.")
def _(images, kernel_size, stride):
    return overlapping_patches(images, kernel_size, stride).transpose(1, 2)


@cut.misconception("Within each patch the pixels come column by column, and should come row by row.")
def pixels_by_column(images, kernel_size, stride):
    padded = F.pad(images, (kernel_size // 2,) * 4)
    x = padded.unfold(2, kernel_size, stride).unfold(3, kernel_size, stride)
    return x.permute(0, 2, 3, 5, 4, 1).flatten(3)


LAST_MISSING = (
    "Patches are missing at the end: there are ⌊(H + 2 (k // 2) - k) / s⌋ + 1 rows, also where the stride does not divide "
    "the height, and as many columns by the width."
)


@cut.misconception(LAST_MISSING)
def _(images, kernel_size, stride):  # stops where some are missing
    B, C, H, W = images.shape
    columns = F.unfold(images, kernel_size, padding=kernel_size // 2, stride=stride)  # (B, C·k², n)
    squares = columns.reshape(B, C, kernel_size**2, H // stride, W // stride)
    return squares.permute(0, 3, 4, 2, 1).flatten(3)


@cut.misconception(
    "The zeros are put around the channels and the columns, and not around rows and columns: F.pad counts axes from the last, "
    "so where the channels are last it takes (0, 0, k // 2, k // 2, k // 2, k // 2)."
)
def _(images, kernel_size, stride):
    padded = F.pad(images.permute(0, 2, 3, 1), (kernel_size // 2,) * 4)  # (B, H, W+2(k//2), C+2(k//2))
    windows = padded.unfold(1, kernel_size, stride).unfold(2, kernel_size, stride)
    return windows.permute(0, 1, 2, 4, 5, 3).flatten(3)


@cut.misconception(LAST_MISSING)
def _(images, kernel_size, stride):
    H, W = images.shape[2:]
    return overlapping_patches(images, kernel_size, stride)[:, : H // stride, : W // stride]


@cut.misconception(LAST_MISSING)
def _(images, kernel_size, stride):
    return overlapping_patches(images, kernel_size, stride)[:, :-1, :-1]


@cut.misconception(
    "The grid is that of the image without its border: count the rows and columns of patches within the padded image."
)
def _(images, kernel_size, stride):
    k, s = kernel_size, stride
    H, W = images.shape[2:]
    rows, columns = (H - k) // s + 1, (W - k) // s + 1
    return overlapping_patches(images, k, s)[:, :rows, :columns]


@cut.misconception(LAST_MISSING)
def _(images, kernel_size, stride):
    k, s = kernel_size, stride
    H, W = images.shape[2:]
    rows = len(range(0, H + 2 * (k // 2) - k, s))
    columns = len(range(0, W + 2 * (k // 2) - k, s))
    return overlapping_patches(images, k, s)[:, :rows, :columns]


@cut.misconception(LAST_MISSING)
def _(images, kernel_size, stride):
    H, W = images.shape[2:]
    return overlapping_patches(images[:, :, : H // stride * stride, : W // stride * stride], kernel_size, stride)


@cut.misconception("The number of columns is computed from the height: that is right for square images only.")
def _(images, kernel_size, stride):
    k, s = kernel_size, stride
    rows = (images.shape[2] + 2 * (k // 2) - k) // s + 1
    padded = F.pad(images, (k // 2,) * 4)
    corners = [(i * s, j * s) for i in range(rows) for j in range(rows)]
    patches = [padded[:, :, y : y + k, x : x + k].permute(0, 2, 3, 1).flatten(1) for y, x in corners]
    return torch.stack(patches, dim=1).reshape(len(images), rows, rows, -1)


@cut.misconception(
    "The pixels of each patch lie s apart (a dilated kernel): a patch holds k × k neighbouring pixels, and the next patch "
    "starts s pixels further on."
)
def _(images, kernel_size, stride):
    k = kernel_size
    rows, columns = overlapping_patches(images, k, stride).shape[1:3]
    x = F.unfold(images, k, dilation=stride, padding=stride * (k // 2))  # (B, C·k², H·W)
    x = x.unflatten(1, (-1, k * k)).permute(0, 3, 2, 1).flatten(2)
    return x[:, : rows * columns].reshape(len(images), rows, columns, -1)


WRONG_CUTS = tuple(cut.misconceptions)  # so far: those whose patches can still be projected


@cut.misconception(
    "Kernel and stride are exchanged: a patch has k x k pixels, and the next one starts s pixels further on."
)
def _(images, kernel_size, stride):
    padded = F.pad(images, (kernel_size // 2,) * 4)
    x = padded.unfold(2, stride, kernel_size).unfold(3, stride, kernel_size)
    return x.permute(0, 2, 3, 4, 5, 1).flatten(3)


@cut.misconception(
    "Each patch holds all of one channel, then all of the next (F.unfold's order): put the channels last, so that the "
    "first C numbers are those of the top left pixel."
)
def channels_first(images, kernel_size, stride):
    padded = F.pad(images, (kernel_size // 2,) * 4)
    x = padded.unfold(2, kernel_size, stride).unfold(3, kernel_size, stride)
    return x.permute(0, 2, 3, 1, 4, 5).flatten(3)


@cut.misconception(
    "The patches lie in one line, (B, rows·columns, k²·C): here tokens stay on their grid, (B, rows, columns, k²·C)."
)
def _(images, kernel_size, stride):
    return overlapping_patches(images, kernel_size, stride).flatten(1, 2)


@cut.misconception("The patches are cut but not flattened, (B, rows, columns, k, k, C): flatten the last three axes.")
def _(images, kernel_size, stride):
    return overlapping_patches(images, kernel_size, stride).unflatten(3, (kernel_size, kernel_size, -1))


@cut.misconception(
    "The numbers of F.unfold are only reshaped, which shuffles them: it returns (B, C·k², rows·columns), so move the "
    "patches' axis to the front before you cut it into rows and columns."
)
def _(images, kernel_size, stride):
    k, s = kernel_size, stride
    rows, columns = overlapping_patches(images, k, s).shape[1:3]
    x = F.unfold(images, k, padding=k // 2, stride=s)  # (B, C·k², rows·columns)
    return x.reshape(len(images), rows, columns, k * k * images.shape[1])


@cut.misconception(
    "This is F.unfold's result, (B, C·k², rows·columns): the tokens belong on their grid, (B, rows, columns, k²·C), each "
    "flattened row, column, channel."
)
def _(images, kernel_size, stride):
    return F.unfold(images, kernel_size, padding=kernel_size // 2, stride=stride)


@cut.misconception(
    "The number of channels is taken to be 3; take it from images.shape: feature maps have other numbers."
)
def _(images, kernel_size, stride):
    k = kernel_size
    return overlapping_patches(images, k, stride).reshape(len(images), -1, images.shape[3] // stride, k * k * 3)


@cut.misconception(
    "Patches reach beyond the border: the last one starts k pixels before the padded image's end, "
    "range(0, H + 2 * (k // 2) - k + 1, s)."
)
def _(images, kernel_size, stride):
    k = kernel_size
    padded = F.pad(images, (k // 2,) * 4)
    H, W = padded.shape[2:]
    patches = [padded[:, :, y : y + k, x : x + k] for y in range(0, H, stride) for x in range(0, W, stride)]
    flat = torch.stack(patches, dim=1).permute(0, 1, 3, 4, 2).flatten(2)
    return flat.unflatten(1, (len(range(0, H, stride)), -1))


@cut.misconception("The patches start 1 pixel apart: patch (i, j) should start at row i * s and column j * s.")
def _(images, kernel_size, stride):
    k, s = kernel_size, stride
    rows = (images.shape[2] + 2 * (k // 2) - k) // s + 1
    columns = (images.shape[3] + 2 * (k // 2) - k) // s + 1
    padded = F.pad(images, (k // 2, k // 2, k // 2, k // 2))
    every = padded.unfold(2, k, 1).unfold(3, k, 1)
    patches = every[:, :, :rows, :columns]
    return patches.permute(0, 2, 3, 4, 5, 1).flatten(3)


# ---- embed_overlapping_patches

embed = Exercise(
    embed_overlapping_patches,
    takes={"images": "B C H W", "E": "k*k*C d", "b": "d", "kernel_size": "k", "stride": "s"},
    where=GRID,
    returns="B rows columns d",
    axes="image row column number",
    parts=(
        Part("one image", 1, Sizes("one image", B=1, C=3, H=5, W=7, k=3, s=2, d=6)),
        Part(
            "several images, not square",
            1,
            Sizes("7 × 7, stride 4", B=4, C=3, H=9, W="large", k=7, s=4, d=5),
            Sizes("a feature map", C=6, H="large", k=3, s=2),
        ),
        Part(
            "float64, gradients",
            1,
            Sizes("5 × 5, stride 3", H=8, W=9, k=5, s=3, d=4, gradient=True),
            Sizes("something left over", C=2, H=10, W=11, k=5, s=4, d=3, gradient=True),
            Sizes("large numbers", lambda images, E, b, k, s: (100 * images, 10 * E, b, k, s), k=3, gradient=True),
        ),
    ),
    pinned={"B": 5, "H": 8, "W": 11, "C": 7, "d": 13, "k": 3, "s": 2},
    steps=STEPS | {"kernel": "E as a kernel", "features": "the feature map"},
    builds_on=FollowThrough(
        (overlapping_patches,),
        lambda overlapping_patches, images, E, b, kernel_size, stride: (
            overlapping_patches(images, kernel_size, stride) @ E + b
        ),
    ),
)


@embed.formulation
def _(images, E, b, kernel_size, stride):
    k = kernel_size
    kernel = E.reshape(k, k, images.shape[1], E.shape[1]).permute(3, 2, 0, 1)  # (d, C, k, k)
    features = F.conv2d(images, kernel, b, stride=stride, padding=k // 2)  # (B, d, rows, columns)
    return features.permute(0, 2, 3, 1)


def _cut_wrongly(sentence, patches):
    @embed.misconception("The patches are cut wrongly before the projection. " + sentence)
    def embedded(images, E, b, kernel_size, stride):
        return patches(images, kernel_size, stride) @ E + b


for misconception in WRONG_CUTS:
    if misconception.function is not pixels_by_column:  # which a convolution's kernel may do as well
        _cut_wrongly(misconception.sentence, misconception.function)


@embed.misconception(
    "Rows and columns are exchanged within the patches, or in E: both go row by row. As a convolution's weight E is "
    "E.reshape(k, k, C, d).permute(3, 2, 0, 1)."
)
def _(images, E, b, kernel_size, stride):
    return pixels_by_column(images, kernel_size, stride) @ E + b


@embed.misconception("The bias is missing: z_p = x_p E + b.")
def _(images, E, b, kernel_size, stride):
    return overlapping_patches(images, kernel_size, stride) @ E


SHUFFLED = (
    "E is reshaped to the kernel's shape, which shuffles its numbers: its rows are row, column, channel and its columns d, "
    "so reshape to (k, k, C, d) and permute to (d, C, k, k)."
)


@embed.misconception(SHUFFLED)
def _(images, E, b, kernel_size, stride):
    k = kernel_size
    kernel = E.reshape(E.shape[1], images.shape[1], k, k)
    return F.conv2d(images, kernel, b, stride=stride, padding=k // 2).permute(0, 2, 3, 1)


ORDERS = (
    "The numbers of a patch and the rows of E come in two orders, channel, row, column and row, column, channel: put the "
    "channels last in the patch; or, for a convolution, reshape E to (k, k, C, d) and permute to (d, C, k, k)."
)


@embed.misconception(ORDERS)
def _(images, E, b, kernel_size, stride):
    return channels_first(images, kernel_size, stride) @ E + b


@embed.misconception(ORDERS)
def _(images, E, b, kernel_size, stride):
    k = kernel_size
    kernel = E.T.reshape(E.shape[1], images.shape[1], k, k)
    return F.conv2d(images, kernel, b, stride=stride, padding=k // 2).permute(0, 2, 3, 1)


@embed.misconception(
    "This is the convolution's feature map, (B, d, rows, columns): the tokens' numbers come last, (B, rows, columns, d)."
)
def _(images, E, b, kernel_size, stride):
    return embed_overlapping_patches(images, E, b, kernel_size, stride).permute(0, 3, 1, 2)


@embed.misconception(
    "The feature map is only reshaped to (B, rows, columns, d), which shuffles its numbers: permute its axes."
)
def _(images, E, b, kernel_size, stride):
    tokens = embed_overlapping_patches(images, E, b, kernel_size, stride)
    return tokens.permute(0, 3, 1, 2).reshape(tokens.shape)


@embed.misconception("The tokens lie in one line, (B, rows·columns, d): here they stay on their grid.")
def _(images, E, b, kernel_size, stride):
    return embed_overlapping_patches(images, E, b, kernel_size, stride).flatten(1, 2)


@embed.misconception("These are the patches themselves: multiply them by E and add b.")
def _(images, E, b, kernel_size, stride):
    return overlapping_patches(images, kernel_size, stride)


@embed.misconception(
    "The tokens are layer-normalized: SegFormer does that behind this step, but the function ends with x_p E + b."
)
def _(images, E, b, kernel_size, stride):
    tokens = overlapping_patches(images, kernel_size, stride) @ E + b
    return F.layer_norm(tokens, tokens.shape[-1:])


@embed.misconception("An activation follows: the projection is linear, x_p E + b and nothing more.")
def _(images, E, b, kernel_size, stride):
    tokens = overlapping_patches(images, kernel_size, stride) @ E + b
    return F.gelu(tokens)


@embed.misconception(
    "The kernel is flipped, as a convolution's in mathematics: row 0 of E belongs to the patch's top left pixel."
)
def _(images, E, b, kernel_size, stride):
    k = kernel_size
    flipped = E.reshape(k, k, images.shape[1], E.shape[1]).flip(0, 1)  # (k, k, C, d)
    return overlapping_patches(images, k, stride) @ flipped.reshape(E.shape) + b


@embed.misconception("b is added before the projection: it has d numbers and should be added behind, x_p E + b.")
def _(images, E, b, kernel_size, stride):
    patches = overlapping_patches(images, kernel_size, stride)
    return (patches + b.sum()) @ E


@embed.misconception("b is added before the projection: it has d numbers and should be added behind, x_p E + b.")
def _(images, E, b, kernel_size, stride):
    patches = overlapping_patches(images, kernel_size, stride)
    return (patches + b) @ E


@embed.misconception(
    "F.linear transposes the weights that it is given: E is (k²·C, d) already, so patches @ E + b, or give F.linear E.T."
)
def _(images, E, b, kernel_size, stride):
    patches = overlapping_patches(images, kernel_size, stride)
    return F.linear(patches, E, b)


@embed.misconception("b is added once for every pixel of a patch, k² times: add it once, to x_p E.")
def _(images, E, b, kernel_size, stride):
    projected = overlapping_patches(images, kernel_size, stride) @ E
    return projected + kernel_size**2 * b


EXERCISES = (size_of, cut, embed)
