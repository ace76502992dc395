"""Checks of the exercise `decoder`: one map of the pyramid, the lecture's four steps, and the same without large tensors."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from vitlab.checks.engine.exercise import Exercise, FollowThrough, Part, Sizes
from vitlab.decoder import all_mlp_decoder, fused_decoder, project_and_upsample, upsample

# ---- project_and_upsample

STEPS = {
    "tokens": "the map with its channels last",
    "projected": "F̃",
    "channels_first": "F̃ with its channels first",
    "kernel": "L as a kernel",
}

project = Exercise(
    project_and_upsample,
    takes={"F": "B C_i h w", "L": "C_i C", "b": "C", "size": "H W"},
    where={"h": "(H+s-1)//s", "w": "(W+s-1)//s"},  # s: how many times smaller the map is
    returns="B C H W",
    given=(upsample,),
    parts=(
        Part("one image", 1, Sizes("one image", B=1, s=2), Sizes("a map of full size already", B=1, s=1)),
        Part(
            "several images",
            1,
            Sizes(s=4),
            Sizes("a large map", B=4, s=3, H="large", W="large"),
            Sizes("a square map", s=2, H=8, W=8),
            Sizes("a map of one pixel", s=9, H=5, W=7),
        ),
        Part(
            "float64, gradients",
            1,
            Sizes(s=2, gradient=True),
            Sizes("as many channels as before", C="C_i", s=4, H=10, W=10, gradient=True),
        ),
    ),
    pinned={"s": 2},
    steps=STEPS,
)


@project.formulation
def _(F_i, L, b, size):
    projected = torch.einsum("bchw,cd->bdhw", F_i, L) + b[:, None, None]
    return F.interpolate(projected, size=size, mode="bilinear", align_corners=False)


@project.formulation
def _(F_i, L, b, size):
    kernel = L.T[:, :, None, None]
    projected = F.conv2d(F_i, kernel, b)
    return F.interpolate(projected, size=size, mode="bilinear", align_corners=False)


@project.formulation
def _(F_i, L, b, size):
    tokens = F_i.permute(0, 2, 3, 1)
    projected = tokens @ L + b
    channels_first = projected.permute(0, 3, 1, 2)
    return F.interpolate(channels_first, size=size, mode="bilinear", align_corners=False)


def _projected(F_i: Tensor, L: Tensor, b: Tensor) -> Tensor:
    return torch.einsum("bchw,cd->bdhw", F_i, L) + b[:, None, None]


CORNERS = (
    "The corners are aligned (align_corners=True): here the outer edges of the corner pixels are, align_corners=False."
)
NEAREST = "Every pixel takes the value of the nearest one: the upsampling is bilinear, mode='bilinear'."
CHANNELS_LAST = "The result is (B, H, W, C), its channels last, and should be (B, C, H, W): permute(0, 3, 1, 2)."


@project.misconception(CORNERS)
def _(F_i, L, b, size):
    return F.interpolate(_projected(F_i, L, b), size=size, mode="bilinear", align_corners=True)


@project.misconception(NEAREST)
def _(F_i, L, b, size):
    return F.interpolate(_projected(F_i, L, b), size=size)


@project.misconception("The upsampling is bicubic: it should be bilinear, mode='bilinear'.")
def _(F_i, L, b, size):
    return F.interpolate(_projected(F_i, L, b), size=size, mode="bicubic")


@project.misconception("The bias b is missing: F̃ = F L + b.")
def _(F_i, L, b, size):
    return upsample(torch.einsum("bchw,cd->bdhw", F_i, L), size)


@project.misconception("Height and width are exchanged: size is (H, W), rows first.")
def _(F_i, L, b, size):
    return upsample(_projected(F_i, L, b), (size[1], size[0]))


@project.misconception(
    "Height and width are exchanged on the way: after the projection the axes are (B, h, w, C), and permute(0, 3, 1, 2) "
    "brings them to (B, C, h, w)."
)
def _(F_i, L, b, size):
    projected = F_i.permute(0, 2, 3, 1) @ L + b
    return upsample(projected.permute(0, 3, 2, 1), size)


@project.misconception(
    "The way back is permute(0, 2, 3, 1) once more: that one moves the channels to the end; permute(0, 3, 1, 2) brings "
    "(B, h, w, C) back to (B, C, h, w)."
)
def _(F_i, L, b, size):
    projected = F_i.permute(0, 2, 3, 1) @ L + b
    return upsample(projected.permute(0, 2, 3, 1), size)


@project.misconception(
    "The map becomes a square of H × H pixels: size holds two numbers, rows and columns; give interpolate size=size."
)
def _(F_i, L, b, size):
    return upsample(_projected(F_i, L, b), (size[0], size[0]))


@project.misconception(
    "The map is stretched by one whole factor for rows and columns, H // h: 5 columns become 10 by it and never 9. Give "
    "interpolate size=size."
)
def _(F_i, L, b, size):
    return F.interpolate(_projected(F_i, L, b), scale_factor=size[0] // F_i.shape[2], mode="bilinear")


ONE_FACTOR = (
    "Rows and columns are stretched by one factor, {}: rows should be stretched by H / h and columns by W / w, which differ "
    "where the map was rounded up. Give interpolate size=size."
)


@project.misconception(ONE_FACTOR.format("H / h"))
def _(F_i, L, b, size):
    return F.interpolate(_projected(F_i, L, b), scale_factor=size[0] / F_i.shape[2], mode="bilinear")


@project.misconception(ONE_FACTOR.format("W / w"))
def _(F_i, L, b, size):
    return F.interpolate(_projected(F_i, L, b), scale_factor=size[1] / F_i.shape[3], mode="bilinear")


@project.misconception(
    "The map is stretched by whole factors, H // h and W // w: 3 columns become 3 by it, and never 5. Give interpolate "
    "size=size."
)
def _(F_i, L, b, size):
    factors = (size[0] // F_i.shape[2], size[1] // F_i.shape[3])
    return F.interpolate(_projected(F_i, L, b), scale_factor=factors, mode="bilinear")


@project.misconception(CHANNELS_LAST)
def _(F_i, L, b, size):
    return upsample(_projected(F_i, L, b), size).permute(0, 2, 3, 1)


@project.misconception(
    "A reshape mixes channels and pixels: the numbers of one pixel lie far apart in (B, C_i, h, w). Move the channels to "
    "the end with permute(0, 2, 3, 1)."
)
def _(F_i, L, b, size):
    B, C_i, h, w = F_i.shape
    tokens = F_i.reshape(B, h, w, C_i)
    projected = tokens @ L + b
    return upsample(projected.permute(0, 3, 1, 2), size)


@project.misconception(
    "A reshape mixes channels and pixels on the way back: bring (B, h, w, C) to (B, C, h, w) with permute(0, 3, 1, 2)."
)
def _(F_i, L, b, size):
    projected = F_i.permute(0, 2, 3, 1) @ L + b
    B, h, w, C = projected.shape
    return upsample(projected.reshape(B, C, h, w), size)


@project.misconception(
    "The map is upsampled while its channels come last, so that columns and channels are stretched: interpolate takes the "
    "last two axes for rows and columns."
)
def _(F_i, L, b, size):
    return upsample(F_i.permute(0, 2, 3, 1) @ L + b, size)


@project.misconception(
    "The map is multiplied by L as it stands: @ takes the last axis, the columns. Move the channels to the end first, "
    "permute(0, 2, 3, 1)."
)
def _(F_i, L, b, size):
    return upsample(F_i @ L + b, size)


@project.misconception(
    "b is added along the columns, the last axis: add it while the channels are last, or as b[:, None, None]."
)
def _(F_i, L, b, size):
    tokens = F_i.permute(0, 2, 3, 1) @ L
    projected = tokens.permute(0, 3, 1, 2) + b
    return upsample(projected, size)


@project.misconception(
    "The sequence is laid out again as (B, C, w, h): a row of the map has w columns, so reshape it to (B, C, h, w)."
)
def _(F_i, L, b, size):
    B, _, h, w = F_i.shape
    tokens = F_i.flatten(2).transpose(1, 2) @ L + b
    return upsample(tokens.transpose(1, 2).reshape(B, -1, w, h), size)


@project.misconception("The map is not upsampled: it is projected alone, and still has h rows and w columns.")
def _(F_i, L, b, size):
    return _projected(F_i, L, b)


@project.misconception("The map is upsampled to twice its size, whatever size says: give interpolate size=size.")
def _(F_i, L, b, size):
    return F.interpolate(_projected(F_i, L, b), scale_factor=2, mode="bilinear")


@project.misconception("There is a ReLU after the projection: step 1 is linear; the ReLU comes after the fusion.")
def _(F_i, L, b, size):
    return upsample(torch.relu(_projected(F_i, L, b)), size)


# ---- all_mlp_decoder

PYRAMID = {f"{side}_{i}": f"({side}_1+{2 ** (i - 1) - 1})//{2 ** (i - 1)}" for i in (2, 3, 4) for side in "HW"}
TAKES = {
    "features": [f"B C_{i} H_{i} W_{i}" for i in (1, 2, 3, 4)],
    "p": {f"L_{i}": f"C_{i} C" for i in (1, 2, 3, 4)}
    | {f"b_{i}": "C" for i in (1, 2, 3, 4)}
    | {"W": "4*C C", "b": "C", "W_head": "C N", "b_head": "N"},
}
ALL_ALIKE = {"C_1": "C", "C_2": "C", "C_3": "C", "C_4": "C", "N": "C"}
STEPS_OF_ALL = STEPS | {
    **{f"F_hat_{i}": f"F̂_{i}" for i in (1, 2, 3, 4)},
    **{f"fused_{i}": f"the fused map {i}" for i in (1, 2, 3, 4)},
    "concatenated": "the concatenation",
    "fused": "the fused map",
    "activated": "ReLU's result",
}
PINNED = {"B": 2, "H_1": 6, "W_1": 9}  # 6, 3, 2, 1 rows and 9, 5, 3, 2 columns
EXACT = Part(
    "float64, gradients",
    1,
    Sizes(gradient=True),
    Sizes("all maps of C channels, C classes", **ALL_ALIKE, gradient=True),
)


def _hats(features: list[Tensor], p: dict[str, Tensor]) -> list[Tensor]:
    size = features[0].shape[-2:]
    return [project_and_upsample(F_i, p[f"L_{i}"], p[f"b_{i}"], size) for i, F_i in enumerate(features, start=1)]


def _fuse_and_classify(concatenated: Tensor, p: dict[str, Tensor]) -> Tensor:
    fused = concatenated.permute(0, 2, 3, 1) @ p["W"] + p["b"]
    activated = torch.relu(fused)
    logits = activated @ p["W_head"] + p["b_head"]
    return logits.permute(0, 3, 1, 2)


def _classify(fused: Tensor, p: dict[str, Tensor]) -> Tensor:
    activated = torch.relu(fused)
    logits = activated.permute(0, 2, 3, 1) @ p["W_head"] + p["b_head"]
    return logits.permute(0, 3, 1, 2)


def _taught(project_and_upsample, features, p):
    size = features[0].shape[-2:]
    hats = [project_and_upsample(F_i, p[f"L_{i}"], p[f"b_{i}"], size) for i, F_i in enumerate(features, start=1)]
    return _fuse_and_classify(torch.cat(hats, dim=1), p)


def _step_by_step(x: Tensor, features: list[Tensor], i: int) -> Tensor:
    """The map number i, upsampled to the size of every larger one in turn."""
    for larger in reversed(features[:i]):
        x = upsample(x, larger.shape[-2:])
    return x


COUNTED_FROM_0 = (
    "The maps are counted from 0, and the parameters from 1, L_1 ... L_4: enumerate(features, start=1), or L_{i + 1}."
)
STEP_BY_STEP = (
    "A small map is upsampled step by step, through the sizes of the larger ones, which smooths it more: bring each map to "
    "the first one's size at once."
)


taught = Exercise(
    all_mlp_decoder,
    takes=TAKES,
    where=PYRAMID,
    returns="B N H_1 W_1",
    axes="image class row column",
    builds_on=FollowThrough((project_and_upsample,), _taught),
    parts=(
        Part("one image", 1, Sizes("one image", B=1)),
        Part(
            "several images",
            2,
            Sizes(),
            Sizes("a large pyramid", H_1="large", W_1="large"),
            Sizes("a square pyramid", B=4, H_1=8, W_1=8),
        ),
        EXACT,
    ),
    pinned=PINNED,
    steps=STEPS_OF_ALL,
)


@taught.formulation
def _(features, p):
    F_1, F_2, F_3, F_4 = features
    size = F_1.shape[-2:]
    F_hat_1 = project_and_upsample(F_1, p["L_1"], p["b_1"], size)
    F_hat_2 = project_and_upsample(F_2, p["L_2"], p["b_2"], size)
    F_hat_3 = project_and_upsample(F_3, p["L_3"], p["b_3"], size)
    F_hat_4 = project_and_upsample(F_4, p["L_4"], p["b_4"], size)
    concatenated = torch.cat([F_hat_1, F_hat_2, F_hat_3, F_hat_4], dim=1)
    fused = concatenated.permute(0, 2, 3, 1) @ p["W"] + p["b"]
    activated = torch.relu(fused)
    logits = activated @ p["W_head"] + p["b_head"]
    return logits.permute(0, 3, 1, 2)


@taught.misconception(
    "The maps are concatenated the other way round, the smallest first, as in the published code: W takes them in the "
    "lecture's order, F̂_1, F̂_2, F̂_3, F̂_4."
)
def _(features, p):
    F_1, F_2, F_3, F_4 = features
    size = F_1.shape[-2:]
    F_hat_1 = project_and_upsample(F_1, p["L_1"], p["b_1"], size)
    F_hat_2 = project_and_upsample(F_2, p["L_2"], p["b_2"], size)
    F_hat_3 = project_and_upsample(F_3, p["L_3"], p["b_3"], size)
    F_hat_4 = project_and_upsample(F_4, p["L_4"], p["b_4"], size)
    concatenated = torch.cat([F_hat_4, F_hat_3, F_hat_2, F_hat_1], dim=1)
    return _fuse_and_classify(concatenated, p)


@taught.misconception(
    "The channels of the four maps are interleaved (stack, then flatten): W takes all channels of F̂_1 first, then those "
    "of F̂_2: torch.cat along the channels."
)
def _(features, p):
    return _fuse_and_classify(torch.stack(_hats(features, p), dim=2).flatten(1, 2), p)


ALONG_CHANNELS = (
    "The fusion does not find its 4C channels: the four maps are concatenated along the channels, torch.cat(maps, dim=1), "
    "not along another axis (torch.cat alone takes the images), and not added."
)


def _fuse_with_a_convolution(concatenated: Tensor, p: dict[str, Tensor]) -> Tensor:
    fused = F.conv2d(concatenated, p["W"].T[:, :, None, None], p["b"])
    return _classify(fused, p)


def _along_columns(hats: list[Tensor]) -> Tensor:
    return torch.cat(hats, dim=-1)


def _joined_otherwise(hats, fuse):
    """The maps are put together along the images or the columns, or added; each fusion stops with words of its own."""

    def add(join):
        @taught.misconception(ALONG_CHANNELS)
        def wrong(features, p):
            return fuse(join(hats(features, p)), p)

    for join in (torch.cat, _along_columns, sum):
        add(join)


for fuse in (_fuse_and_classify, _fuse_with_a_convolution):
    _joined_otherwise(_hats, fuse)


FUSED_TRANSPOSED = (
    "W is transposed where the maps are fused (F.linear does so by itself): rows of W belong to what comes in, so tokens @ "
    "W, or F.linear(tokens, W.T, b)."
)


@taught.misconception(FUSED_TRANSPOSED)
def _(features, p):
    tokens = torch.cat(_hats(features, p), dim=1).permute(0, 2, 3, 1)
    fused = F.linear(tokens, p["W"], p["b"])
    return _classify(fused.permute(0, 3, 1, 2), p)


@taught.misconception(FUSED_TRANSPOSED)
def _(features, p):
    tokens = torch.cat(_hats(features, p), dim=1).permute(0, 2, 3, 1)
    fused = tokens @ p["W"].T + p["b"]
    return _classify(fused.permute(0, 3, 1, 2), p)


@taught.misconception(FUSED_TRANSPOSED)
def _(features, p):
    fused = F.conv2d(torch.cat(_hats(features, p), dim=1), p["W"][:, :, None, None], p["b"])
    return _classify(fused, p)


@taught.misconception(COUNTED_FROM_0)
def _(features, p):
    size = features[0].shape[-2:]
    hats = [project_and_upsample(F_i, p[f"L_{i}"], p[f"b_{i}"], size) for i, F_i in enumerate(features)]
    return _fuse_and_classify(torch.cat(hats, dim=1), p)


NO_RELU = "The ReLU between fusing and classifying is missing: without it both are one matrix, W W_head."


@taught.misconception(NO_RELU)
def _(features, p):
    concatenated = torch.cat(_hats(features, p), dim=1).permute(0, 2, 3, 1)
    logits = (concatenated @ p["W"] + p["b"]) @ p["W_head"] + p["b_head"]
    return logits.permute(0, 3, 1, 2)


@taught.misconception(
    "The ReLU stands before the fusion and not after it: concatenate, fuse with W and b, and then ReLU."
)
def _(features, p):
    concatenated = torch.cat(_hats(features, p), dim=1).permute(0, 2, 3, 1)
    fused = torch.relu(concatenated) @ p["W"] + p["b"]
    logits = fused @ p["W_head"] + p["b_head"]
    return logits.permute(0, 3, 1, 2)


@taught.misconception(
    "There is a second ReLU, on the maps before the fusion: steps 1 to 3 are linear, the one ReLU comes after W and b."
)
def _(features, p):
    return _fuse_and_classify(torch.relu(torch.cat(_hats(features, p), dim=1)), p)


@taught.misconception(
    "The ReLU stands behind the classifier: scores may be negative. It belongs between fusing and classifying."
)
def _(features, p):
    concatenated = torch.cat(_hats(features, p), dim=1).permute(0, 2, 3, 1)
    logits = (concatenated @ p["W"] + p["b"]) @ p["W_head"] + p["b_head"]
    return torch.relu(logits).permute(0, 3, 1, 2)


@taught.misconception("There is a second ReLU, behind the classifier: scores may be negative.")
def _(features, p):
    return torch.relu(all_mlp_decoder(features, p))


SOFTMAX = "The result is probabilities: scores are asked for, before any softmax."


@taught.misconception(SOFTMAX)
def _(features, p):
    return all_mlp_decoder(features, p).softmax(dim=1)


@taught.misconception("These are the classes themselves (argmax): the scores are asked for, (B, N, H_1, W_1).")
def _(features, p):
    return all_mlp_decoder(features, p).argmax(dim=1)


@taught.misconception(
    "The result is (B, H_1, W_1, N), its classes last, and should be (B, N, H_1, W_1): permute(0, 3, 1, 2)."
)
def _(features, p):
    return all_mlp_decoder(features, p).permute(0, 2, 3, 1)


@taught.misconception(
    "The scores are upsampled four times at the end, to the image's size: the function returns them at the first map's "
    "size."
)
def _(features, p):
    return F.interpolate(all_mlp_decoder(features, p), scale_factor=4, mode="bilinear")


@taught.misconception(
    "The maps are brought to the size of the last and smallest one, and should be brought to that of the first, features[0]."
)
def _(features, p):
    hats = [
        project_and_upsample(F_i, p[f"L_{i}"], p[f"b_{i}"], features[-1].shape[-2:])
        for i, F_i in enumerate(features, start=1)
    ]
    return _fuse_and_classify(torch.cat(hats, dim=1), p)


@taught.misconception(
    "The maps are stretched by the factors 1, 2, 4 and 8: 3 columns become 6 by it, and never 5. Bring each of them to the "
    "size of the first, features[0].shape[-2:]."
)
def _(features, p):
    projected = [_projected(F_i, p[f"L_{i}"], p[f"b_{i}"]) for i, F_i in enumerate(features, start=1)]
    hats = [F.interpolate(x, scale_factor=2**i, mode="bilinear") for i, x in enumerate(projected)]
    return _fuse_and_classify(torch.cat(hats, dim=1), p)


@taught.misconception(STEP_BY_STEP)
def _(features, p):
    projected = [_projected(F_i, p[f"L_{i}"], p[f"b_{i}"]) for i, F_i in enumerate(features, start=1)]
    hats = [_step_by_step(x, features, i) for i, x in enumerate(projected)]
    return _fuse_and_classify(torch.cat(hats, dim=1), p)


@taught.misconception("The biases b_1 … b_4 of the projections are missing.")
def _(features, p):
    zero = torch.zeros_like(p["b"])
    return all_mlp_decoder(features, p | {f"b_{i}": zero for i in (1, 2, 3, 4)})


@taught.misconception(CORNERS)
def _(features, p):
    F_1, F_2, F_3, F_4 = features
    size = F_1.shape[-2:]
    F_hat_1 = F.interpolate(_projected(F_1, p["L_1"], p["b_1"]), size=size, mode="bilinear", align_corners=True)
    F_hat_2 = F.interpolate(_projected(F_2, p["L_2"], p["b_2"]), size=size, mode="bilinear", align_corners=True)
    F_hat_3 = F.interpolate(_projected(F_3, p["L_3"], p["b_3"]), size=size, mode="bilinear", align_corners=True)
    F_hat_4 = F.interpolate(_projected(F_4, p["L_4"], p["b_4"]), size=size, mode="bilinear", align_corners=True)
    concatenated = torch.cat([F_hat_1, F_hat_2, F_hat_3, F_hat_4], dim=1)
    return _fuse_and_classify(concatenated, p)


@taught.misconception(NEAREST)
def _(features, p):
    F_1, F_2, F_3, F_4 = features
    size = F_1.shape[-2:]
    F_hat_1 = F.interpolate(_projected(F_1, p["L_1"], p["b_1"]), size=size)
    F_hat_2 = F.interpolate(_projected(F_2, p["L_2"], p["b_2"]), size=size)
    F_hat_3 = F.interpolate(_projected(F_3, p["L_3"], p["b_3"]), size=size)
    F_hat_4 = F.interpolate(_projected(F_4, p["L_4"], p["b_4"]), size=size)
    concatenated = torch.cat([F_hat_1, F_hat_2, F_hat_3, F_hat_4], dim=1)
    return _fuse_and_classify(concatenated, p)


@taught.misconception(
    "The fused map is normalized before the ReLU, as in the published models: here W and b are followed by the ReLU."
)
def _(features, p):
    concatenated = torch.cat(_hats(features, p), dim=1).permute(0, 2, 3, 1)
    fused = (concatenated @ p["W"] + p["b"]).permute(0, 3, 1, 2)
    return _classify(F.batch_norm(fused, None, None, training=True), p)


@taught.misconception(
    "A reshape mixes channels and pixels before the fusion: bring (B, 4C, H, W) to (B, H, W, 4C) with permute(0, 2, 3, 1)."
)
def _(features, p):
    concatenated = torch.cat(_hats(features, p), dim=1)
    B, channels, H, W = concatenated.shape
    fused = concatenated.reshape(B, H, W, channels) @ p["W"] + p["b"]
    logits = torch.relu(fused) @ p["W_head"] + p["b_head"]
    return logits.permute(0, 3, 1, 2)


@taught.misconception('The bias b_1 is used for all four maps: each projection has a bias of its own, p[f"b_{i}"].')
def _(features, p):
    return all_mlp_decoder(features, p | {f"b_{i}": p["b_1"] for i in (2, 3, 4)})


@taught.misconception(
    "The maps are brought to the size of the second one, and should be brought to that of the first and largest, features[0]."
)
def _(features, p):
    hats = [
        project_and_upsample(F_i, p[f"L_{i}"], p[f"b_{i}"], features[1].shape[-2:])
        for i, F_i in enumerate(features, start=1)
    ]
    return _fuse_and_classify(torch.cat(hats, dim=1), p)


# The same with maps that lie in memory with their channels first: PyTorch says it in other words then.


def _hats_channels_first(features: list[Tensor], p: dict[str, Tensor]) -> list[Tensor]:
    return [F_hat.contiguous() for F_hat in _hats(features, p)]


_joined_otherwise(_hats_channels_first, _fuse_and_classify)


@taught.misconception(FUSED_TRANSPOSED)
def _(features, p):
    tokens = torch.cat(_hats_channels_first(features, p), dim=1).permute(0, 2, 3, 1)
    fused = F.linear(tokens, p["W"], p["b"])
    return _classify(fused.permute(0, 3, 1, 2), p)


@taught.misconception(FUSED_TRANSPOSED)
def _(features, p):
    tokens = torch.cat(_hats_channels_first(features, p), dim=1).permute(0, 2, 3, 1)
    fused = tokens @ p["W"].T + p["b"]
    return _classify(fused.permute(0, 3, 1, 2), p)


# ---- fused_decoder


def _widest(features: list[Tensor], p: dict[str, Tensor]) -> tuple[int, ...]:
    B, _, H, W = features[0].shape
    return B, len(p["b"]), H, W


def _why_too_large(shape: tuple[int, ...], features: list[Tensor], p: dict[str, Tensor]) -> str:
    B, C, H, W = _widest(features, p)
    channels = math.prod(shape) / (B * H * W)
    if channels == 4 * C:
        return "All four maps are kept side by side: add each to the sum as soon as it is there."
    if channels in [F_i.shape[1] for F_i in features]:
        return (
            "A map is stretched with all its C_i channels: multiply it by L_i W_i first, and stretch what comes of it."
        )
    return ""


def _fused(project_and_upsample, features, p):
    size, fused = features[0].shape[-2:], p["b"][:, None, None]
    for i, (F_i, W_i) in enumerate(zip(features, p["W"].chunk(4), strict=True), start=1):
        fused = fused + project_and_upsample(F_i, p[f"L_{i}"] @ W_i, p[f"b_{i}"] @ W_i, size)
    return _classify(fused, p)


fused = Exercise(
    fused_decoder,
    takes=TAKES,
    where=PYRAMID,
    returns="B N H_1 W_1",
    axes="image class row column",
    builds_on=FollowThrough((project_and_upsample,), _fused),
    parts=(
        Part(
            "the same numbers",
            1,
            Sizes("one image", B=1),
            Sizes(),
            Sizes("a square pyramid", B=4, H_1=8, W_1=8),
            Sizes("a large pyramid", H_1="large", W_1="large"),
        ),
        Part(
            "no tensor larger than C channels of the first map's size",
            3,
            Sizes("one wide image", B=1, C="large", H_1=9, W_1=14, largest=_widest),
            Sizes(
                "narrow, a last map of many channels",
                B=1,
                C_1=2,
                C_4="large",
                C=6,  # 4C is none of C_1 ... C_4, so that a tensor that is too large shows where it comes from
                N=3,
                H_1=15,
                W_1=10,
                largest=_widest,
            ),
            Sizes("wide", B=4, C="large", H_1=13, W_1=15, largest=_widest),
        ),
        EXACT,
    ),
    pinned=PINNED,
    why_too_large=_why_too_large,
    steps=STEPS_OF_ALL,
)


@fused.formulation
def _(features, p):
    F_1, F_2, F_3, F_4 = features
    size = F_1.shape[-2:]
    W_1, W_2, W_3, W_4 = p["W"].chunk(4)
    fused_1 = project_and_upsample(F_1, p["L_1"] @ W_1, p["b_1"] @ W_1, size)
    fused_2 = project_and_upsample(F_2, p["L_2"] @ W_2, p["b_2"] @ W_2, size)
    fused_3 = project_and_upsample(F_3, p["L_3"] @ W_3, p["b_3"] @ W_3, size)
    fused_4 = project_and_upsample(F_4, p["L_4"] @ W_4, p["b_4"] @ W_4, size)
    fused = fused_1 + fused_2 + fused_3 + fused_4 + p["b"][:, None, None]
    activated = torch.relu(fused)
    logits = activated.permute(0, 2, 3, 1) @ p["W_head"] + p["b_head"]
    return logits.permute(0, 3, 1, 2)


def _each(features: list[Tensor], p: dict[str, Tensor]) -> list[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """For each map: the map, L_i, b_i, and its block of W."""
    blocks = p["W"].chunk(4)
    return [(F_i, p[f"L_{i}"], p[f"b_{i}"], blocks[i - 1]) for i, F_i in enumerate(features, start=1)]


def _sum(features: list[Tensor], p: dict[str, Tensor], fuse) -> Tensor:
    """Logits where `fuse` gives what a map adds before the ReLU, and b comes once."""
    size = features[0].shape[-2:]
    return _classify(sum(fuse(*map_i, size) for map_i in _each(features, p)) + p["b"][:, None, None], p)


@fused.misconception("The biases b_1 … b_4 are not fused: b_i goes through W_i as the map does, b_i W_i.")
def _(features, p):
    return _sum(features, p, lambda F_i, L, b, W, size: project_and_upsample(F_i, L @ W, b, size))


@fused.misconception("The biases b_1 … b_4 of the projections are missing: each map brings b_i W_i.")
def _(features, p):
    return _sum(features, p, lambda F_i, L, b, W, size: project_and_upsample(F_i, L @ W, 0 * b, size))


@fused.misconception("The bias b is added to every map, four times in all, and should be added once, to their sum.")
def _(features, p):
    return _sum(
        features, p | {"b": 4 * p["b"]}, lambda F_i, L, b, W, size: project_and_upsample(F_i, L @ W, b @ W, size)
    )


@fused.misconception("The bias b of the fusion is missing: add it once, to the sum of the four maps.")
def _(features, p):
    return _sum(
        features, p | {"b": 0 * p["b"]}, lambda F_i, L, b, W, size: project_and_upsample(F_i, L @ W, b @ W, size)
    )


EACH_RELU = (
    "There is a ReLU on every map before they are added: the maps are added, b too, and then comes the one ReLU."
)


@fused.misconception(EACH_RELU)
def _(features, p):
    return _sum(features, p, lambda F_i, L, b, W, size: torch.relu(project_and_upsample(F_i, L @ W, b @ W, size)))


@fused.misconception(EACH_RELU)
def _(features, p):
    return _sum(features, p, lambda F_i, L, b, W, size: upsample(torch.relu(_projected(F_i, L @ W, b @ W)), size))


@fused.misconception(
    "There is a ReLU after every addition, inside the loop: all four maps are added, b too, and then comes the one ReLU."
)
def _(features, p):
    size = features[0].shape[-2:]
    summed = p["b"][:, None, None]
    for F_i, L, b, W in _each(features, p):
        summed = torch.relu(summed + project_and_upsample(F_i, L @ W, b @ W, size))
    return _classify(summed, p)


@fused.misconception("There is a ReLU between L_i and W_i: both are linear, and can be multiplied for that reason.")
def _(features, p):
    zero = torch.zeros_like(p["b"])
    return _sum(
        features,
        p,
        lambda F_i, L, b, W, size: project_and_upsample(torch.relu(_projected(F_i, L, b)), W, zero, size),
    )


@fused.misconception(NO_RELU)
def _(features, p):
    size = features[0].shape[-2:]
    summed = sum(project_and_upsample(F_i, L @ W, b @ W, size) for F_i, L, b, W in _each(features, p))
    logits = (summed.permute(0, 2, 3, 1) + p["b"]) @ p["W_head"] + p["b_head"]
    return logits.permute(0, 3, 1, 2)


@fused.misconception(
    "The blocks of W are taken in the wrong order, the last one first: the first C rows belong to the first map."
)
def _(features, p):
    return fused_decoder(features, p | {"W": torch.cat(p["W"].chunk(4)[::-1])})


@fused.misconception(
    "Every fourth row of W is taken for a map: the C rows of a map stand together, W.chunk(4) or W[i*C:(i+1)*C]."
)
def _(features, p):
    return fused_decoder(features, p | {"W": torch.cat([p["W"][i::4] for i in range(4)])})


ONE_ROW = (
    "W_i is one row of W: it is a block of C rows, W.chunk(4) or W[i*C:(i+1)*C], and L_i and b_i are multiplied by it as a "
    "matrix, L_i @ W_i."
)


@fused.misconception(ONE_ROW)
def _(features, p):
    size = features[0].shape[-2:]
    summed = p["b"][:, None, None]
    for i, (F_i, W_i) in enumerate(zip(features, p["W"], strict=False), start=1):
        summed = summed + project_and_upsample(F_i, p[f"L_{i}"] * W_i, p[f"b_{i}"] * W_i, size)
    return _classify(summed, p)


@fused.misconception(ONE_ROW)
def _(features, p):
    size = features[0].shape[-2:]
    summed = p["b"][:, None, None]
    for i, (F_i, W_i) in enumerate(zip(features, p["W"], strict=False), start=1):
        summed = summed + project_and_upsample(F_i, p[f"L_{i}"] @ W_i, p[f"b_{i}"] @ W_i, size)
    return _classify(summed, p)


@fused.misconception("The first block of W is used for all four maps: each has C rows of its own.")
def _(features, p):
    return fused_decoder(features, p | {"W": p["W"].chunk(4)[0].repeat(4, 1)})


@fused.misconception("The blocks of W are transposed: rows of W belong to what comes in, L_i W_i.")
def _(features, p):
    return fused_decoder(features, p | {"W": torch.cat([W_i.T for W_i in p["W"].chunk(4)])})


@fused.misconception(
    "L_i and W_i are multiplied in the wrong order: a map goes through L_i first, so its matrix is L_i W_i, (C_i, C) times "
    "(C, C)."
)
def _(features, p):
    return _sum(features, p, lambda F_i, L, b, W, size: project_and_upsample(F_i, W @ L, b @ W, size))


@fused.misconception(
    "W is cut into blocks of columns: its rows belong to the 4C channels that come in, the first C rows to the first map. "
    "W.chunk(4), without dim=1."
)
def _(features, p):
    size = features[0].shape[-2:]
    summed = p["b"][:, None, None]
    for i, (F_i, W_i) in enumerate(zip(features, p["W"].chunk(4, dim=1), strict=False), start=1):
        summed = summed + project_and_upsample(F_i, p[f"L_{i}"] @ W_i, p[f"b_{i}"] @ W_i, size)
    return _classify(summed, p)


@fused.misconception(COUNTED_FROM_0)
def _(features, p):
    size = features[0].shape[-2:]
    summed = p["b"][:, None, None]
    for i, (F_i, W_i) in enumerate(zip(features, p["W"].chunk(4), strict=True)):
        summed = summed + project_and_upsample(F_i, p[f"L_{i}"] @ W_i, p[f"b_{i}"] @ W_i, size)
    return _classify(summed, p)


@fused.misconception("Only the last map counts: each one is added to those before it.")
def _(features, p):
    F_i, L, b, W = _each(features, p)[-1]
    return _classify(project_and_upsample(F_i, L @ W, b @ W, features[0].shape[-2:]) + p["b"][:, None, None], p)


@fused.misconception("The four maps are averaged: concatenating and multiplying with W adds them up.")
def _(features, p):
    return fused_decoder(features, p | {"W": p["W"] / 4})


@fused.misconception(SOFTMAX)
def _(features, p):
    return fused_decoder(features, p).softmax(dim=1)


@fused.misconception(CORNERS)
def _(features, p):
    return _sum(
        features,
        p,
        lambda F_i, L, b, W, size: F.interpolate(
            _projected(F_i, L @ W, b @ W), size=size, mode="bilinear", align_corners=True
        ),
    )


@fused.misconception(NEAREST)
def _(features, p):
    return _sum(features, p, lambda F_i, L, b, W, size: F.interpolate(_projected(F_i, L @ W, b @ W), size=size))


@fused.misconception(
    "The biases are multiplied from the wrong side, W_i b_i: rows of W belong to what comes in, b_i W_i."
)
def _(features, p):
    return _sum(features, p, lambda F_i, L, b, W, size: project_and_upsample(F_i, L @ W, W @ b, size))


@fused.misconception(STEP_BY_STEP)
def _(features, p):
    maps = [
        _step_by_step(_projected(F_i, L @ W, b @ W), features, i) for i, (F_i, L, b, W) in enumerate(_each(features, p))
    ]
    return _classify(sum(maps) + p["b"][:, None, None], p)


@fused.misconception(
    "The largest of the four maps is taken at each place: concatenating and multiplying with W adds them up."
)
def _(features, p):
    size = features[0].shape[-2:]
    maps = [project_and_upsample(F_i, L @ W, b @ W, size) for F_i, L, b, W in _each(features, p)]
    return _classify(torch.stack(maps).amax(dim=0) + p["b"][:, None, None], p)


EXERCISES = (project, taught, fused)
