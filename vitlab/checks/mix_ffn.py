"""Checks of the exercise `mix_ffn`: the depthwise convolution, and the FFN around it."""

import torch
from torch.nn import functional as F

from vitlab.checks.engine.exercise import Exercise, FollowThrough, Part, Sizes
from vitlab.checks.sra import FEATURES_LAST
from vitlab.ffn import gelu
from vitlab.mix_ffn import depthwise_convolution, mix_ffn

# ---- depthwise_convolution

STEPS = {
    "padded": "the grid with its border",
    "windows": "the grid of neighbours",
    "weight": "the kernel with the features first",
    "channels_first": "the grid of tokens with the features first",
    "convolved": "the convolution",
    "above": "the row above",
    "beside": "the row itself",
    "below": "the row below",
    "Y_0": "the sum over the row above",
    "Y_1": "the sum over the row itself",
    "Y_2": "the sum over the row below",
}

convolve = Exercise(
    depthwise_convolution,
    takes={"X": "B H W d", "kernel": "3 3 d", "bias": "d"},
    returns="B H W d",
    axes="image row column feature",
    parts=(
        Part("one image", 1, Sizes("one image", B=1), Sizes("one feature", B=1, d=1)),
        Part(
            "several images, even and odd grids",
            2,
            Sizes("even sides", H=4, W=6),
            Sizes("odd sides", H=5, W=3),
            Sizes("a square grid", B=4, H=5, W=5),
            Sizes("wide, three features", W="large", d=3),
        ),
        Part(
            "grids narrower than the kernel",
            1,
            Sizes("one token", H=1, W=1),
            Sizes("one row", H=1),
            Sizes("one column", W=1),
            Sizes("two by two", H=2, W=2),
        ),
        Part(
            "float64, gradients",
            2,
            Sizes(gradient=True),
            Sizes("large numbers", lambda X, kernel, bias: (100 * X, kernel, bias), gradient=True),
            Sizes("all sizes equal", B=3, H=3, W=3, d=3, gradient=True),
        ),
    ),
    pinned={"B": 2, "H": 5, "W": 7},
    steps=STEPS,
)


@convolve.formulation
def _(X, kernel, bias):
    channels_first = X.permute(0, 3, 1, 2)  # (B, d, H, W)
    weight = kernel.permute(2, 0, 1).unsqueeze(1)  # (d, 1, 3, 3)
    convolved = F.conv2d(channels_first, weight, bias, padding=1, groups=X.shape[3])
    return convolved.permute(0, 2, 3, 1)


@convolve.formulation
def _(X, kernel, bias):
    padded = F.pad(X, (0, 0, 1, 1, 1, 1))  # (B, H+2, W+2, d)
    windows = padded.unfold(1, 3, 1).unfold(2, 3, 1)  # (B, H, W, d, 3, 3)
    weight = kernel.permute(2, 0, 1)  # (d, 3, 3)
    return (windows * weight).sum(dim=(4, 5)) + bias


@convolve.formulation
def _(X, kernel, bias):
    padded = F.pad(X, (0, 0, 1, 1, 1, 1))
    windows = padded.unfold(1, 3, 1).unfold(2, 3, 1)
    return torch.einsum("bijcuv,uvc->bijc", windows, kernel) + bias


@convolve.formulation
def _(X, kernel, bias):
    padded = F.pad(X, (0, 0, 1, 1, 1, 1))
    above = padded[:, :-2]  # (B, H, W+2, d)
    beside = padded[:, 1:-1]
    below = padded[:, 2:]
    Y_0 = above[:, :, :-2] * kernel[0, 0] + above[:, :, 1:-1] * kernel[0, 1] + above[:, :, 2:] * kernel[0, 2]
    Y_1 = beside[:, :, :-2] * kernel[1, 0] + beside[:, :, 1:-1] * kernel[1, 1] + beside[:, :, 2:] * kernel[1, 2]
    Y_2 = below[:, :, :-2] * kernel[2, 0] + below[:, :, 1:-1] * kernel[2, 1] + below[:, :, 2:] * kernel[2, 2]
    return Y_0 + Y_1 + Y_2 + bias


def _convolved(X, kernel, bias, mode):
    """The right one, at whose border stands what `mode` of F.pad says."""
    features = F.pad(X.permute(0, 3, 1, 2), (1, 1, 1, 1), mode)  # (B, d, H+2, W+2)
    weight = kernel.permute(2, 0, 1)[:, None]  # (d, 1, 3, 3)
    return F.conv2d(features, weight, bias, groups=len(bias)).permute(0, 2, 3, 1)


FLIPPED = (
    "The kernel is turned by 180°, as a convolution in mathematics does it: here, as in PyTorch, k_uv meets the neighbour "
    "(i+u, j+v); leave out the flip."
)


@convolve.misconception(FLIPPED)
def _(X, kernel, bias):
    channels_first = X.permute(0, 3, 1, 2)
    weight = kernel.flip(0, 1).permute(2, 0, 1).unsqueeze(1)
    return F.conv2d(channels_first, weight, bias, padding=1, groups=X.shape[3]).permute(0, 2, 3, 1)


@convolve.misconception("The kernel is turned upside down (its rows are flipped): k_uv meets the neighbour (i+u, j+v).")
def _(X, kernel, bias):
    channels_first = X.permute(0, 3, 1, 2)
    weight = kernel.flip(0).permute(2, 0, 1).unsqueeze(1)
    return F.conv2d(channels_first, weight, bias, padding=1, groups=X.shape[3]).permute(0, 2, 3, 1)


@convolve.misconception("The kernel is mirrored, left for right: k_uv meets the neighbour (i+u, j+v).")
def _(X, kernel, bias):
    channels_first = X.permute(0, 3, 1, 2)
    weight = kernel.flip(1).permute(2, 0, 1).unsqueeze(1)
    return F.conv2d(channels_first, weight, bias, padding=1, groups=X.shape[3]).permute(0, 2, 3, 1)


TRANSPOSED = (
    "The kernel is transposed: its first axis goes with the rows of the grid, its second with the columns. "
    "permute(2, 1, 0) exchanges them; permute(2, 0, 1) does not."
)


@convolve.misconception(TRANSPOSED)
def _(X, kernel, bias):
    channels_first = X.permute(0, 3, 1, 2)
    weight = kernel.permute(2, 1, 0).unsqueeze(1)
    return F.conv2d(channels_first, weight, bias, padding=1, groups=X.shape[3]).permute(0, 2, 3, 1)


RESHAPED = (
    "The kernel is reshaped from (3, 3, d) to (d, 1, 3, 3), which shuffles its numbers: move the axes, "
    "kernel.permute(2, 0, 1), then put the axis of length 1 in."
)


@convolve.misconception(RESHAPED)
def _(X, kernel, bias):
    channels_first = X.permute(0, 3, 1, 2)
    weight = kernel.reshape(X.shape[3], 1, 3, 3)
    return F.conv2d(channels_first, weight, bias, padding=1, groups=X.shape[3]).permute(0, 2, 3, 1)


TOKENS_RESHAPED = (
    "The tokens are reshaped from (B, H, W, d) to (B, d, H, W), which shuffles their numbers: move the axes, "
    "X.permute(0, 3, 1, 2)."
)


@convolve.misconception(TOKENS_RESHAPED)
def _(X, kernel, bias):
    B, H, W, d = X.shape
    channels_first = X.reshape(B, d, H, W)
    weight = kernel.permute(2, 0, 1).unsqueeze(1)
    return F.conv2d(channels_first, weight, bias, padding=1, groups=d).permute(0, 2, 3, 1)


@convolve.misconception(TOKENS_RESHAPED + " The result is reshaped back in the same way: permute(0, 2, 3, 1).")
def _(X, kernel, bias):
    B, H, W, d = X.shape
    channels_first = X.reshape(B, d, H, W)
    weight = kernel.permute(2, 0, 1).unsqueeze(1)
    return F.conv2d(channels_first, weight, bias, padding=1, groups=d).reshape(B, H, W, d)


@convolve.misconception(
    "The result is reshaped from (B, d, H, W) to (B, H, W, d), which shuffles its numbers: permute(0, 2, 3, 1)."
)
def _(X, kernel, bias):
    channels_first = X.permute(0, 3, 1, 2)
    weight = kernel.permute(2, 0, 1).unsqueeze(1)
    return F.conv2d(channels_first, weight, bias, padding=1, groups=X.shape[3]).reshape(X.shape)


@convolve.misconception("The features are left in the second axis, (B, d, H, W): put them last, permute(0, 2, 3, 1).")
def _(X, kernel, bias):
    channels_first = X.permute(0, 3, 1, 2)
    weight = kernel.permute(2, 0, 1).unsqueeze(1)
    return F.conv2d(channels_first, weight, bias, padding=1, groups=X.shape[3])


REPLICATED = (
    "Beyond the border the nearest token is repeated: neighbours beyond it should be 0. With copies a token could hardly tell "
    "that it stands at the border."
)
REFLECTED = "Beyond the border the grid is mirrored: neighbours beyond it should be 0."
CIRCULAR = (
    "Beyond the border the grid goes on at its other side, as torch.roll and circular padding do: neighbours beyond "
    "it should be 0."
)
VALID = (
    "Nothing is put around the grid, so that it comes out two rows and two columns smaller: put a border of one zero at "
    "each side (padding=1)."
)


@convolve.misconception(REPLICATED)
def _(X, kernel, bias):
    return _convolved(X, kernel, bias, "replicate")


@convolve.misconception(REFLECTED)
def _(X, kernel, bias):
    return _convolved(X, kernel, bias, "reflect")


@convolve.misconception(CIRCULAR)
def _(X, kernel, bias):
    return _convolved(X, kernel, bias, "circular")


@convolve.misconception(
    "Two things come of torch.roll in this direction. The kernel is turned by 180°: for the neighbour (i+u, j+v) roll by "
    "(-u, -v). And beyond the border the grid goes on at its other side: neighbours beyond it should be 0."
)
def _(X, kernel, bias):
    return _convolved(X, kernel.flip(0, 1), bias, "circular")


@convolve.misconception(VALID)
def _(X, kernel, bias):
    channels_first = X.permute(0, 3, 1, 2)
    weight = kernel.permute(2, 0, 1).unsqueeze(1)
    return F.conv2d(channels_first, weight, bias, groups=X.shape[3]).permute(0, 2, 3, 1)


BORDER_LEFT_OUT = (
    "Only tokens inside are computed, and those at the border come out as {}: they have neighbours, too, and what lies beyond "
    "the border counts as 0."
)


def _inside(X):
    """1 where all nine neighbours are there, and 0 at the border: all of a grid narrower than the kernel is border."""
    inside = torch.zeros_like(X)
    inside[:, 1:-1, 1:-1] = 1
    return inside


@convolve.misconception(BORDER_LEFT_OUT.format("0"))
def _(X, kernel, bias):
    convolved = _convolved(X, kernel, bias, "constant")
    return convolved * _inside(X)


@convolve.misconception(BORDER_LEFT_OUT.format("0"))
def _(X, kernel, bias):  # stops where the grid is narrower than the kernel
    features = F.conv2d(X.permute(0, 3, 1, 2), kernel.permute(2, 0, 1)[:, None], bias, groups=len(bias))
    return F.pad(features.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1))


@convolve.misconception(BORDER_LEFT_OUT.format("the bias"))
def _(X, kernel, bias):
    convolved = _convolved(X, kernel, 0 * bias, "constant")
    return convolved * _inside(X) + bias


@convolve.misconception(BORDER_LEFT_OUT.format("they went in"))
def _(X, kernel, bias):
    Y = X.clone()
    Y[:, 1:-1, 1:-1] = _convolved(X, kernel, bias, "constant")[:, 1:-1, 1:-1]
    return Y


@convolve.misconception(
    "The zeros stand at one side only (above and to the left), so that the token is not the middle of its neighbours: one "
    "row and one column at each side."
)
def _(X, kernel, bias):
    padded = F.pad(X, (0, 0, 2, 0, 2, 0))
    windows = padded.unfold(1, 3, 1).unfold(2, 3, 1)
    return torch.einsum("bijcuv,uvc->bijc", windows, kernel) + bias


@convolve.misconception(
    "The zeros stand at one side only (below and to the right), so that the token is not the middle of its neighbours: one "
    "row and one column at each side."
)
def _(X, kernel, bias):
    padded = F.pad(X, (0, 0, 0, 2, 0, 2))
    windows = padded.unfold(1, 3, 1).unfold(2, 3, 1)
    return torch.einsum("bijcuv,uvc->bijc", windows, kernel) + bias


@convolve.misconception(
    "At the border the sum is scaled up, since fewer neighbours are there: just add up; what is beyond the border counts as 0."
)
def _(X, kernel, bias):
    there = F.conv2d(torch.ones_like(X[:1, :, :, 0])[:, None], torch.ones_like(kernel[None, None, :, :, 0]), padding=1)
    return _convolved(X, kernel, 0 * bias, "constant") * 9 / there[0, 0, :, :, None] + bias


DENSE = (
    "Every output feature adds up all features: depthwise means each feature by itself (groups=d in F.conv2d; in einsum the "
    "feature's letter stays)."
)


@convolve.misconception(DENSE)
def _(X, kernel, bias):
    padded = F.pad(X, (0, 0, 1, 1, 1, 1))
    windows = padded.unfold(1, 3, 1).unfold(2, 3, 1)
    return torch.einsum("bijcuv,uvc->bij", windows, kernel)[..., None] + bias


@convolve.misconception(DENSE)
def _(X, kernel, bias):
    padded = F.pad(X.sum(dim=3, keepdim=True), (0, 0, 1, 1, 1, 1)).expand(-1, -1, -1, X.shape[3])
    windows = padded.unfold(1, 3, 1).unfold(2, 3, 1)
    return torch.einsum("bijcuv,uvc->bijc", windows, kernel) + bias


ONE_KERNEL = (
    "All features are weighed with the {} kernel: every feature has a 3 x 3 kernel of its own, kernel[:, :, c]."
)


@convolve.misconception(ONE_KERNEL.format("first feature's"))
def _(X, kernel, bias):
    return _convolved(X, kernel[:, :, :1].expand_as(kernel), bias, "constant")


@convolve.misconception(ONE_KERNEL.format("mean"))
def _(X, kernel, bias):
    return _convolved(X, kernel.mean(dim=2, keepdim=True).expand_as(kernel), bias, "constant")


NO_BIAS = "The bias is missing: add b_c to every token's feature c."


@convolve.misconception(NO_BIAS)
def _(X, kernel, bias):
    padded = F.pad(X, (0, 0, 1, 1, 1, 1))
    windows = padded.unfold(1, 3, 1).unfold(2, 3, 1)
    return torch.einsum("bijcuv,uvc->bijc", windows, kernel)


NINE_TIMES = "The bias is added once for each of the nine neighbours, and should be added once, outside the sum."


@convolve.misconception(NINE_TIMES)
def _(X, kernel, bias):
    padded = F.pad(X, (0, 0, 1, 1, 1, 1))
    windows = padded.unfold(1, 3, 1).unfold(2, 3, 1)
    return torch.einsum("bijcuv,uvc->bijc", windows, kernel) + 9 * bias


@convolve.misconception(f"Two things. {NINE_TIMES} {TRANSPOSED}")
def _(X, kernel, bias):
    return _convolved(X, kernel.transpose(0, 1), 9 * bias, "constant")


@convolve.misconception("The sum over the nine neighbours is divided by 9: it is a sum, not a mean.")
def _(X, kernel, bias):
    padded = F.pad(X, (0, 0, 1, 1, 1, 1))
    windows = padded.unfold(1, 3, 1).unfold(2, 3, 1)
    weight = kernel.permute(2, 0, 1)
    return (windows * weight).mean(dim=(4, 5)) + bias


@convolve.misconception("Only the four neighbours above, below, left and right count: the corners do, too.")
def _(X, kernel, bias):
    kernel = kernel.clone()
    kernel[::2, ::2] = 0
    return _convolved(X, kernel, bias, "constant")


@convolve.misconception("The token itself is left out: the middle of the kernel belongs to it.")
def _(X, kernel, bias):
    kernel = kernel.clone()
    kernel[1, 1] = 0
    return _convolved(X, kernel, bias, "constant")


ITSELF = "The token itself is added once more (a residual connection): that is not the convolution's work."


@convolve.misconception(ITSELF)
def _(X, kernel, bias):
    padded = F.pad(X, (0, 0, 1, 1, 1, 1))
    windows = padded.unfold(1, 3, 1).unfold(2, 3, 1)
    return X + torch.einsum("bijcuv,uvc->bijc", windows, kernel) + bias


@convolve.misconception(
    "An activation (GELU) is applied already: that is the work of the Mix-FFN, after this function."
)
def _(X, kernel, bias):
    padded = F.pad(X, (0, 0, 1, 1, 1, 1))
    windows = padded.unfold(1, 3, 1).unfold(2, 3, 1)
    return gelu(torch.einsum("bijcuv,uvc->bijc", windows, kernel) + bias)


FEATURES_PADDED = (
    "The zeros are put around the features and the columns, and not around rows and columns: F.pad counts axes from the last, "
    "so for (B, H, W, d) it takes (0, 0, 1, 1, 1, 1)."
)


@convolve.misconception(FEATURES_PADDED)
def _(X, kernel, bias):
    padded = F.pad(X, (1, 1, 1, 1))  # (B, H, W+2, d+2)
    windows = padded.unfold(2, 3, 1).unfold(3, 3, 1)  # (B, H, W, d, 3, 3)
    return torch.einsum("bijcuv,uvc->bijc", windows, kernel) + bias


# The same with what stops at once, in words of its own each.


@convolve.misconception(FEATURES_PADDED)
def _(X, kernel, bias):
    padded = F.pad(X, (1, 1, 1, 1))
    windows = padded.unfold(1, 3, 1).unfold(2, 3, 1)
    return torch.einsum("bijcuv,uvc->bijc", windows, kernel) + bias


def _features_padded(kernel_first, from_zeros):
    @convolve.misconception(FEATURES_PADDED)
    def summed(X, kernel, bias):
        H, W = X.shape[1:3]
        padded = F.pad(X, (1, 1, 1, 1))
        Y = torch.zeros_like(X) if from_zeros else bias
        for u in range(3):
            for v in range(3):
                neighbours = padded[:, u : u + H, v : v + W]
                Y = Y + (kernel[u, v] * neighbours if kernel_first else neighbours * kernel[u, v])
        return Y


for kernel_first in (False, True):
    for from_zeros in (False, True):
        _features_padded(kernel_first, from_zeros)


@convolve.misconception(
    "The grid is flattened to a sequence first, so that the end of one row has the beginning of the next as a neighbour: keep "
    "rows and columns."
)
def _(X, kernel, bias):
    H, W = X.shape[1:3]
    sequence = F.pad(X.flatten(1, 2), (0, 0, W + 1, W + 1))  # (B, n + 2(W+1), d)
    shifted = [sequence[:, u * W + v : u * W + v + H * W] * kernel[u, v] for u in range(3) for v in range(3)]
    return (sum(shifted) + bias).unflatten(1, (H, W))


@convolve.misconception("Beyond the border stands 1: neighbours beyond it should be 0.")
def _(X, kernel, bias):
    padded = F.pad(X, (0, 0, 1, 1, 1, 1), value=1.0)
    windows = padded.unfold(1, 3, 1).unfold(2, 3, 1)
    return torch.einsum("bijcuv,uvc->bijc", windows, kernel) + bias


ONE_SIDE_PADDED = "Zeros stand beyond the {} only: the border needs a ring all around, padding=1 in both directions."


@convolve.misconception(ONE_SIDE_PADDED.format("first and last row"))
def _(X, kernel, bias):
    padded = F.pad(X, (0, 0, 0, 0, 1, 1))
    windows = padded.unfold(1, 3, 1).unfold(2, 3, 1)
    return torch.einsum("bijcuv,uvc->bijc", windows, kernel) + bias


@convolve.misconception(ONE_SIDE_PADDED.format("first and last column"))
def _(X, kernel, bias):
    padded = F.pad(X, (0, 0, 1, 1, 0, 0))
    windows = padded.unfold(1, 3, 1).unfold(2, 3, 1)
    return torch.einsum("bijcuv,uvc->bijc", windows, kernel) + bias


@convolve.misconception("The neighbours are two rows or columns away (dilation), and should be the next ones.")
def _(X, kernel, bias):
    channels_first = X.permute(0, 3, 1, 2)
    weight = kernel.permute(2, 0, 1).unsqueeze(1)
    return F.conv2d(channels_first, weight, bias, padding=2, dilation=2, groups=X.shape[3]).permute(0, 2, 3, 1)


@convolve.misconception("Only every second row and column is computed (stride 2): every token gets a result.")
def _(X, kernel, bias):
    channels_first = X.permute(0, 3, 1, 2)
    weight = kernel.permute(2, 0, 1).unsqueeze(1)
    return F.conv2d(channels_first, weight, bias, padding=1, stride=2, groups=X.shape[3]).permute(0, 2, 3, 1)


NOT_ALL_WEIGHTS = "{} of the kernel are left out: u and v go from 0 to 2, which range(3) gives."


@convolve.misconception(NOT_ALL_WEIGHTS.format("The last row and the last column"))
def _(X, kernel, bias):
    kernel = kernel.clone()
    kernel[2] = 0
    kernel[:, 2] = 0
    return _convolved(X, kernel, bias, "constant")


@convolve.misconception(NOT_ALL_WEIGHTS.format("The first row and the first column"))
def _(X, kernel, bias):
    kernel = kernel.clone()
    kernel[0] = 0
    kernel[:, 0] = 0
    return _convolved(X, kernel, bias, "constant")


@convolve.misconception("Only the neighbours in the same row count: those above and below do, too.")
def _(X, kernel, bias):
    kernel = kernel.clone()
    kernel[::2] = 0
    return _convolved(X, kernel, bias, "constant")


@convolve.misconception("Only the neighbours in the same column count: those to the left and right do, too.")
def _(X, kernel, bias):
    kernel = kernel.clone()
    kernel[:, ::2] = 0
    return _convolved(X, kernel, bias, "constant")


@convolve.misconception("No neighbour counts: only the middle of the kernel is used.")
def _(X, kernel, bias):
    return X * kernel[1, 1] + bias


@convolve.misconception(
    "The kernel is added up first and multiplies the token itself: each weight belongs to one neighbour."
)
def _(X, kernel, bias):
    return X * kernel.sum(dim=(0, 1)) + bias


NORMALIZED = "The kernel is made to sum to 1: its weights are used as they are."


@convolve.misconception(NORMALIZED)
def _(X, kernel, bias):
    weight = kernel.flatten(0, 1).softmax(dim=0).unflatten(0, (3, 3))
    return _convolved(X, weight, bias, "constant")


@convolve.misconception(NORMALIZED)
def _(X, kernel, bias):
    weight = kernel / kernel.sum(dim=(0, 1))
    return _convolved(X, weight, bias, "constant")


@convolve.misconception(
    "The tokens are laid out on a grid of W rows and H columns, so that they get other neighbours: keep (B, H, W, d)."
)
def _(X, kernel, bias):
    B, H, W, d = X.shape
    turned = X.reshape(B, W, H, d)
    return _convolved(turned, kernel, bias, "constant").reshape(B, H, W, d)


@convolve.misconception(
    "Index -1 is the last row or column: at the top and at the left the grid goes on at its other side. Ask for i + u >= 0 "
    "and j + v >= 0 as well: neighbours beyond the border are 0."
)
def _(X, kernel, bias):
    above = torch.cat([X[:, -1:], X], dim=1)  # (B, H+1, W, d)
    before = torch.cat([above[:, :, -1:], above], dim=2)  # (B, H+1, W+1, d)
    padded = F.pad(before, (0, 0, 0, 1, 0, 1))
    windows = padded.unfold(1, 3, 1).unfold(2, 3, 1)
    return torch.einsum("bijcuv,uvc->bijc", windows, kernel) + bias


@convolve.misconception(
    "kernel[-1] is its last row: where u and v are -1, 0 and 1, the weights are kernel[u + 1, v + 1]."
)
def _(X, kernel, bias):
    padded = F.pad(X, (0, 0, 1, 1, 1, 1))
    windows = padded.unfold(1, 3, 1).unfold(2, 3, 1)
    weight = kernel.roll((1, 1), (0, 1))
    return torch.einsum("bijcuv,uvc->bijc", windows, weight) + bias


@convolve.misconception(
    "Only the last neighbour, below and to the right, is left: each step of the loop adds to the ones before it, "
    "Y = Y + ..."
)
def _(X, kernel, bias):
    below = F.pad(X, (0, 0, 0, 1, 0, 1))[:, 1:, 1:]
    return below * kernel[2, 2] + bias


NO_GROUPS = (
    "A depthwise convolution has a kernel for each feature, and no feature meets another: give F.conv2d the weight "
    "(d, 1, 3, 3), kernel.permute(2, 0, 1)[:, None], and groups=d."
)


@convolve.misconception(NO_GROUPS)
def _(X, kernel, bias):
    channels_first = X.permute(0, 3, 1, 2)
    weight = kernel.permute(2, 0, 1).unsqueeze(1)
    return F.conv2d(channels_first, weight, bias, padding=1).permute(0, 2, 3, 1)


@convolve.misconception(NO_GROUPS)
def _(X, kernel, bias):
    channels_first = X.permute(0, 3, 1, 2)
    weight = kernel.permute(2, 0, 1).unsqueeze(0)
    return F.conv2d(channels_first, weight, bias, padding=1, groups=X.shape[3]).permute(0, 2, 3, 1)


@convolve.misconception(FEATURES_LAST)
def _(X, kernel, bias):
    weight = kernel.permute(2, 0, 1).unsqueeze(1)
    return F.conv2d(X, weight, bias, padding=1, groups=X.shape[3])


@convolve.misconception(FEATURES_LAST)
def _(X, kernel, bias):
    weight = kernel.permute(2, 0, 1).unsqueeze(1)
    return F.conv2d(X, weight, bias, padding=1, groups=X.shape[3]).permute(0, 2, 3, 1)


@convolve.misconception(
    "The weight's second axis, of length 1, is missing: F.conv2d takes (d, 1, 3, 3), kernel.permute(2, 0, 1)[:, None]."
)
def _(X, kernel, bias):
    channels_first = X.permute(0, 3, 1, 2)
    weight = kernel.permute(2, 0, 1)
    return F.conv2d(channels_first, weight, bias, padding=1, groups=X.shape[3]).permute(0, 2, 3, 1)


@convolve.misconception(
    "The loops reach beyond the grid, where index W is an error and index -1 the last column: put a border of zeros around "
    "it first, or ask whether the neighbour is there."
)
def _(X, kernel, bias):
    H, W = X.shape[1:3]
    tokens = []
    for i in range(H):
        for j in range(W):
            weighed = [kernel[u + 1, v + 1] * X[:, i + u, j + v] for u in (-1, 0, 1) for v in (-1, 0, 1)]
            tokens.append(sum(weighed) + bias)
    return torch.stack(tokens, dim=1).unflatten(1, (H, W))


# ---- mix_ffn

mix = Exercise(
    mix_ffn,
    takes={
        "X": "B H W d",
        "W_1": "d d_ff",
        "b_1": "d_ff",
        "kernel": "3 3 d_ff",
        "bias": "d_ff",
        "W_2": "d_ff d",
        "b_2": "d",
    },
    returns="B H W d",
    axes="image row column feature",
    parts=(
        Part("one image", 1, Sizes("one image", B=1), Sizes("one token", B=1, H=1, W=1)),
        Part(
            "several images, not square",
            2,
            Sizes("even sides", H=4, W=6),
            Sizes("odd sides, many hidden features", H=5, W=3, d_ff="large"),
            Sizes("one column", B=4, W=1, H="large"),
        ),
        Part(
            "float64, gradients",
            2,
            Sizes(gradient=True),
            Sizes("all sizes equal", B=3, H=3, W=3, d=3, d_ff=3, gradient=True),
        ),
    ),
    given=(gelu,),
    builds_on=FollowThrough(
        (depthwise_convolution,),
        lambda depthwise_convolution, X, W_1, b_1, kernel, bias, W_2, b_2: (
            gelu(depthwise_convolution(X @ W_1 + b_1, kernel, bias)) @ W_2 + b_2
        ),
    ),
    pinned={"B": 2, "H": 5, "W": 7},
    steps=STEPS | {"expanded": "X W_1 + b_1", "activated": "GELU's result"},
)


@mix.formulation
def _(X, W_1, b_1, kernel, bias, W_2, b_2):
    expanded = X @ W_1 + b_1  # (B, H, W, d_ff)
    channels_first = expanded.permute(0, 3, 1, 2)  # (B, d_ff, H, W)
    weight = kernel.permute(2, 0, 1).unsqueeze(1)  # (d_ff, 1, 3, 3)
    convolved = F.conv2d(channels_first, weight, bias, padding=1, groups=len(bias))
    activated = F.gelu(convolved, approximate="none")
    return activated.permute(0, 2, 3, 1) @ W_2 + b_2


@mix.formulation
def _(X, W_1, b_1, kernel, bias, W_2, b_2):
    expanded = X @ W_1 + b_1
    padded = F.pad(expanded, (0, 0, 1, 1, 1, 1))
    windows = padded.unfold(1, 3, 1).unfold(2, 3, 1)  # (B, H, W, d_ff, 3, 3)
    convolved = torch.einsum("bijcuv,uvc->bijc", windows, kernel) + bias
    activated = gelu(convolved)
    return activated @ W_2 + b_2


@mix.misconception("GELU comes before the convolution, and should come after it, GELU(DWConv(X W_1 + b_1)).")
def _(X, W_1, b_1, kernel, bias, W_2, b_2):
    activated = gelu(X @ W_1 + b_1)
    return depthwise_convolution(activated, kernel, bias) @ W_2 + b_2


@mix.misconception("GELU comes twice, before and after the convolution, and should come after it only.")
def _(X, W_1, b_1, kernel, bias, W_2, b_2):
    activated = gelu(X @ W_1 + b_1)
    convolved = depthwise_convolution(activated, kernel, bias)
    return gelu(convolved) @ W_2 + b_2


@mix.misconception("GELU is missing: without it the whole layer is linear; it comes after the convolution.")
def _(X, W_1, b_1, kernel, bias, W_2, b_2):
    expanded = X @ W_1 + b_1
    convolved = depthwise_convolution(expanded, kernel, bias)
    return convolved @ W_2 + b_2


@mix.misconception("GELU comes at the end, behind W_2, and should come between the convolution and W_2.")
def _(X, W_1, b_1, kernel, bias, W_2, b_2):
    expanded = X @ W_1 + b_1
    convolved = depthwise_convolution(expanded, kernel, bias)
    return gelu(convolved @ W_2 + b_2)


@mix.misconception("The convolution is missing: this is the plain FFN of ViT.")
def _(X, W_1, b_1, kernel, bias, W_2, b_2):
    activated = gelu(X @ W_1 + b_1)
    return activated @ W_2 + b_2


@mix.misconception("The activation is ReLU: GELU stands between the convolution and W_2.")
def _(X, W_1, b_1, kernel, bias, W_2, b_2):
    expanded = X @ W_1 + b_1
    convolved = depthwise_convolution(expanded, kernel, bias)
    return F.relu(convolved) @ W_2 + b_2


@mix.misconception("The activation is GELU's approximation with tanh: take the exact one.")
def _(X, W_1, b_1, kernel, bias, W_2, b_2):
    expanded = X @ W_1 + b_1
    convolved = depthwise_convolution(expanded, kernel, bias)
    return F.gelu(convolved, approximate="tanh") @ W_2 + b_2


@mix.misconception("The activation is SiLU (Swish): GELU stands between the convolution and W_2.")
def _(X, W_1, b_1, kernel, bias, W_2, b_2):
    expanded = X @ W_1 + b_1
    convolved = depthwise_convolution(expanded, kernel, bias)
    return F.silu(convolved) @ W_2 + b_2


@mix.misconception("The argument of erf in GELU is not divided by √2: take vitlab's gelu, or F.gelu.")
def _(X, W_1, b_1, kernel, bias, W_2, b_2):
    expanded = X @ W_1 + b_1
    convolved = depthwise_convolution(expanded, kernel, bias)
    return (convolved * (1 + torch.erf(convolved)) / 2) @ W_2 + b_2


@mix.misconception(
    "The hidden features are added to their convolution: SegFormer's Mix-FFN has no residual connection around it."
)
def _(X, W_1, b_1, kernel, bias, W_2, b_2):
    expanded = X @ W_1 + b_1
    convolved = expanded + depthwise_convolution(expanded, kernel, bias)
    return gelu(convolved) @ W_2 + b_2


@mix.misconception("X is added at the end (a residual connection): that is the block's work, not the Mix-FFN's.")
def _(X, W_1, b_1, kernel, bias, W_2, b_2):
    expanded = X @ W_1 + b_1
    convolved = depthwise_convolution(expanded, kernel, bias)
    return X + gelu(convolved) @ W_2 + b_2


@mix.misconception("The tokens are layer-normalized first: that is the block's work, not the Mix-FFN's.")
def _(X, W_1, b_1, kernel, bias, W_2, b_2):
    expanded = F.layer_norm(X, X.shape[-1:]) @ W_1 + b_1
    convolved = depthwise_convolution(expanded, kernel, bias)
    return gelu(convolved) @ W_2 + b_2


@mix.misconception(
    "The zeros are put around X, before W_1 and b_1, so that b_1 stands beyond the border: the convolution puts zeros around "
    "X W_1 + b_1."
)
def _(X, W_1, b_1, kernel, bias, W_2, b_2):
    expanded = F.pad(X, (0, 0, 1, 1, 1, 1)) @ W_1 + b_1
    windows = expanded.unfold(1, 3, 1).unfold(2, 3, 1)
    convolved = torch.einsum("bijcuv,uvc->bijc", windows, kernel) + bias
    return gelu(convolved) @ W_2 + b_2


@mix.misconception("b_1 is added after the convolution: it belongs before it, DWConv(X W_1 + b_1).")
def _(X, W_1, b_1, kernel, bias, W_2, b_2):
    convolved = depthwise_convolution(X @ W_1, kernel, bias) + b_1
    return gelu(convolved) @ W_2 + b_2


@mix.misconception("b_1 and the convolution's bias are exchanged: b_1 follows W_1, the bias is the convolution's.")
def _(X, W_1, b_1, kernel, bias, W_2, b_2):
    expanded = X @ W_1 + bias
    convolved = depthwise_convolution(expanded, kernel, b_1)
    return gelu(convolved) @ W_2 + b_2


@mix.misconception("The convolution's bias is missing.")
def _(X, W_1, b_1, kernel, bias, W_2, b_2):
    expanded = X @ W_1 + b_1
    convolved = depthwise_convolution(expanded, kernel, 0 * bias)
    return gelu(convolved) @ W_2 + b_2


@mix.misconception("All three biases are missing: b_1 follows W_1, bias the convolution, b_2 W_2.")
def _(X, W_1, b_1, kernel, bias, W_2, b_2):
    convolved = depthwise_convolution(X @ W_1, kernel, 0 * bias)
    return gelu(convolved) @ W_2


@mix.misconception(
    "The weights are used as nn.Linear stores them, (out, in), and F.linear transposes them: here W_1 is (d, d_ff) and W_2 "
    "(d_ff, d), so multiply from the right with @, or give F.linear W.T."
)
def _(X, W_1, b_1, kernel, bias, W_2, b_2):
    expanded = F.linear(X, W_1, b_1)
    convolved = depthwise_convolution(expanded, kernel, bias)
    return F.linear(gelu(convolved), W_2, b_2)


def _convolved_wrongly(sentence, convolution):
    @mix.misconception("The convolution in the middle is not the right one. " + sentence)
    def mixed(X, W_1, b_1, kernel, bias, W_2, b_2):
        convolved = convolution(X @ W_1 + b_1, kernel, bias)
        return gelu(convolved) @ W_2 + b_2


for misconception in convolve.misconceptions:
    if misconception.sentence not in (NO_BIAS, ITSELF):  # those have words of their own above
        _convolved_wrongly(misconception.sentence, misconception.function)


@mix.misconception(
    "The convolution comes before W_1, on d features, and should come after it, on d_ff, GELU(DWConv(X W_1 + b_1)) W_2 + b_2."
)
def _(X, W_1, b_1, kernel, bias, W_2, b_2):
    convolved = depthwise_convolution(X, kernel, bias)
    return gelu(convolved @ W_1 + b_1) @ W_2 + b_2


@mix.misconception(
    "The convolution comes after W_2, on d features, and should come before it, on d_ff, GELU(DWConv(X W_1 + b_1)) W_2 + b_2."
)
def _(X, W_1, b_1, kernel, bias, W_2, b_2):
    output = gelu(X @ W_1 + b_1) @ W_2 + b_2
    return depthwise_convolution(output, kernel, bias)


EXERCISES = (convolve, mix)
