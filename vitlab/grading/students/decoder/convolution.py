"""right: every linear layer is a 1 x 1 convolution"""

import torch
from torch.nn.functional import conv2d, interpolate


def project_and_upsample(F, L, b, size):
    return interpolate(conv2d(F, L.T[:, :, None, None], b), size=size, mode="bilinear", align_corners=False)


def all_mlp_decoder(features, p):
    size = features[0].shape[2:]
    maps = [project_and_upsample(F_i, p[f"L_{i}"], p[f"b_{i}"], size) for i, F_i in enumerate(features, start=1)]
    fused = conv2d(torch.cat(maps, dim=1), p["W"].T[:, :, None, None], p["b"])
    return conv2d(fused.relu(), p["W_head"].T[:, :, None, None], p["b_head"])


def fused_decoder(features, p):
    C, size = len(p["b"]), features[0].shape[2:]
    total = 0
    for i, F_i in enumerate(features):
        W_i = p["W"][i * C : (i + 1) * C]
        total = total + project_and_upsample(F_i, p[f"L_{i + 1}"] @ W_i, p[f"b_{i + 1}"] @ W_i, size)
    fused = total + p["b"].reshape(1, C, 1, 1)
    return conv2d(fused.relu(), p["W_head"].T[:, :, None, None], p["b_head"])
