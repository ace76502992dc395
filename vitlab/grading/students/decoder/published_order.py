"""mistaken: concatenates the smallest map first, as the published code does, and takes the blocks of W so"""

import torch

from vitlab.decoder import project_and_upsample

EXPECTED = {"all_mlp_decoder": 0, "fused_decoder": 0}


def all_mlp_decoder(features, p):
    size = features[0].shape[-2:]
    maps = [project_and_upsample(F_i, p[f"L_{i}"], p[f"b_{i}"], size) for i, F_i in enumerate(features, start=1)]
    tokens = torch.cat(maps[::-1], dim=1).permute(0, 2, 3, 1)
    scores = torch.relu(tokens @ p["W"] + p["b"]) @ p["W_head"] + p["b_head"]
    return scores.permute(0, 3, 1, 2)


def fused_decoder(features, p):
    size = features[0].shape[-2:]
    fused = p["b"][:, None, None]
    for i, W_i in zip((4, 3, 2, 1), p["W"].chunk(4), strict=True):
        fused = fused + project_and_upsample(features[i - 1], p[f"L_{i}"] @ W_i, p[f"b_{i}"] @ W_i, size)
    scores = torch.relu(fused).permute(0, 2, 3, 1) @ p["W_head"] + p["b_head"]
    return scores.permute(0, 3, 1, 2)
