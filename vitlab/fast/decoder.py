"""The All-MLP decoder, which fuses the small maps before it upsamples them.

Projecting and fusing act on channels, upsampling acts on positions with weights that sum to 1: they commute. With
W = [W_1 ... W_4], one block of columns for each map,

    W Concat(up(L_1 F_1 + b_1), ...) = Σ_i up((W_i L_i) F_i + W_i b_i)

so that the 4C channels of full size are never stored, and most of the products are made where there are few positions.
"""

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vitlab.fast.argmax import argmax_of_rows, upsampled_argmax
from vitlab.fast.products import linear, parameters
from vitlab.fast.switch import is_on
from vitlab.fast.upsampling import bands, rows_below, upsampling_matrix

STRIP = 32  # of so many bands the smaller maps are widened at once; of a whole photograph they would fill the memory


def all_mlp_decoder(decoder: nn.Module, features: list[Tensor]) -> Tensor:
    """`vitlab.decoder.AllMLPDecoder`: four maps (B, d_i, H_i, W_i) -> (B, num_classes, H_1, W_1)."""
    W, b = _weights(decoder)
    if decoder.training:
        return _predict(decoder, decoder.norm(_fuse(decoder, features, W, b)))
    if torch.is_grad_enabled() or torch.compiler.is_compiling():
        return _predict(decoder, _fuse(decoder, features, W, b))
    B, _, H_1, W_1 = features[0].shape
    logits = _empty_logits(decoder, b, B, H_1, W_1).movedim(-1, 1)  # (B, num_classes, H_1, W_1)
    for start, end in bands(H_1, B * W_1 * len(b), like=b, together=STRIP):
        logits[:, :, start:end] = _predict_rows(decoder, features, W, b, start, end)
    return logits


def all_mlp_classes(decoder: nn.Module, features: list[Tensor], size: tuple[int, int]) -> Tensor:
    """The class of every pixel: four maps (B, d_i, H_i, W_i) -> (B, *size).

    Of a photograph even the small logits are much, 450 MB for 12 million pixels and 150 classes. Here the rows of them
    that a strip of pixels needs are computed, read and forgotten.
    """
    if decoder.training or not is_on() or torch.is_grad_enabled() or torch.compiler.is_compiling():
        return upsampled_argmax(decoder(features), size)
    W, b = _weights(decoder)
    return argmax_of_rows(partial(_predict_rows, decoder, features, W, b), features[0], size)


def _weights(decoder: nn.Module) -> tuple[Tensor, Tensor]:
    """W of the fusing, (C, 4C) for four maps, and Σ_i W_i b_i, (C,)."""
    W, _ = parameters(decoder.fuse)
    b = W @ torch.cat([parameters(L_i)[1] for L_i in reversed(decoder.project)])
    if decoder.training:
        return W, b
    return with_batch_norm(W, b, decoder.norm)


def with_batch_norm(W: Tensor, b: Tensor, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """BN(W x + b) outside training as one W and b: there BN is a scale and a shift of every channel. (C, m), (C,)."""
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    return scale[:, None] * W, scale * (b - norm.running_mean) + norm.bias


def _predict(decoder: nn.Module, normalized: Tensor) -> Tensor:
    """classify(dropout(ReLU(x))): (B, C, H_1, W_1) -> (B, num_classes, H_1, W_1)."""
    # Dropout multiplies by numbers that are not negative, so ReLU may come after it, and then works in place.
    Z = F.relu(decoder.dropout(normalized), inplace=True)
    logits = decoder.classify(Z.movedim(1, -1))  # (B, C, H_1, W_1) -> (B, H_1, W_1, C) -> (B, H_1, W_1, num_classes)
    return logits.movedim(-1, 1)  # (B, num_classes, H_1, W_1)


def _fuse(decoder: nn.Module, features: list[Tensor], W: Tensor, b: Tensor) -> Tensor:
    """Σ_i up((W_i L_i) F_i) + b: four maps (B, d_i, H_i, W_i) -> (B, C, H_1, W_1)."""
    B, _, H_1, W_1 = features[0].shape
    first, widened = _fused_maps(decoder, features, W, b)
    # One matrix product stretches the rows of all the maps and adds them up, so that no other map of full size is ever
    # stored.
    U = torch.cat([upsampling_matrix(x.shape[1], H_1, x) for x in widened], dim=1)  # (H_1, H_2 + H_3 + H_4)
    fused = linear(features[0].movedim(1, -1), first).flatten(2)  # (B, H_1, W_1, C) -> (B, H_1, W_1·C)
    together = torch.cat(widened, dim=1).flatten(2)  # (B, H_2 + H_3 + H_4, W_1·C)
    fused = fused.baddbmm_(U.expand(B, *U.shape), together)  # (B, H_1, W_1·C)
    return fused.unflatten(2, (W_1, -1)).movedim(-1, 1)  # (B, H_1, W_1, C) -> (B, C, H_1, W_1)


def _empty_logits(decoder: nn.Module, b: Tensor, B: int, rows: int, W_1: int) -> Tensor:
    """Memory for logits, in the dtype of the classifier's answers, also under autocast: (B, rows, W_1, num_classes)."""
    of_one_position = decoder.classify(b[None])  # (1, num_classes)
    return of_one_position.new_empty(B, rows, W_1, of_one_position.shape[-1])


def _predict_rows(decoder: nn.Module, features: list[Tensor], W: Tensor, b: Tensor, start: int, end: int) -> Tensor:
    """Rows of `_predict(_fuse(...))` where nothing is kept for a backward pass: (B, num_classes, end - start, W_1).

    The C channels of full size are the largest tensor of the model. Here only a band of them exists at once, small
    enough for the processor's cache, and only the rows below it are multiplied with U's weights. The smaller maps are
    widened for all of the rows.
    """
    B, _, H_1, W_1 = features[0].shape
    heights = [F_i.shape[2] for F_i in features[1:]]
    logits = _empty_logits(decoder, b, B, end - start, W_1)
    below = [rows_below(start, end, H_i, H_1) for H_i in heights]
    rows = [F_i[:, :, low:high] for F_i, (low, high) in zip(features[1:], below, strict=True)]
    first, widened = _fused_maps(decoder, [features[0], *rows], W, b)
    matrices = [upsampling_matrix(H_i, H_1, x) for H_i, x in zip(heights, widened, strict=True)]
    for image in range(B):
        for top, bottom in bands(end - start, W_1 * len(b), like=b):
            top, bottom = start + top, start + bottom
            band = features[0][image, :, top:bottom].movedim(0, -1)  # (d_1, rows, W_1) -> (rows, W_1, d_1)
            fused = linear(band, first).flatten(1)  # (rows, W_1·C)
            for x, U, (skipped, _) in zip(widened, matrices, below, strict=True):
                low, high = rows_below(top, bottom, U.shape[1], H_1)
                narrow = x[image, low - skipped : high - skipped].flatten(1)  # (rows below, W_1·C)
                fused.addmm_(U[top:bottom, low:high], narrow)
            activated = fused.relu_().unflatten(1, (W_1, -1))  # (rows, W_1, C)
            logits[image, top - start : bottom - start] = decoder.classify(activated)
    return logits.movedim(-1, 1)  # (B, num_classes, H_1, W_1)


def _fused_maps(decoder: nn.Module, features: list[Tensor], W: Tensor, b: Tensor) -> tuple[Tensor, list[Tensor]]:
    """The matrix W_1 L_1 for the first map; the others fused, with b, and stretched to (B, H_i, W_1, C).

    Upsampling stretches columns, then rows. Here the columns are stretched, while the maps still have few rows.
    """
    W_1 = features[0].shape[-1]
    blocks = W.chunk(len(features), dim=1)[::-1]  # W_1, W_2, ..., each (C, C)
    first, *others = [W_i @ parameters(L_i)[0] for W_i, L_i in zip(blocks, decoder.project, strict=True)]
    biases = [None] * (len(others) - 1) + [b]  # up(b) = b: the smallest map carries it
    widened = []
    for F_i, matrix, bias in zip(features[1:], others, biases, strict=True):
        x = linear(F_i.movedim(1, -1), matrix, bias)  # (B, d_i, H_i, W_i) -> (B, H_i, W_i, d_i) -> (B, H_i, W_i, C)
        x = x.movedim(-1, 1)  # (B, C, H_i, W_i)
        x = F.interpolate(x, size=(x.shape[2], W_1), mode="bilinear", align_corners=False)
        widened.append(x.movedim(1, -1))  # (B, H_i, W_1, C)
    return first, widened
