"""mistaken: lays scores out by a reshape, and normalizes along the tokens"""

from torch.nn import functional as F

EXPECTED = {"linear_head": 0, "mask_scores": 0}


def linear_head(tokens, W, b, grid, patch_size):
    scores = tokens @ W + b
    logits = scores.reshape(len(tokens), -1, *grid)
    return F.interpolate(logits, scale_factor=patch_size, mode="bilinear", align_corners=False)


def mask_scores(patches, classes):
    return F.normalize(patches) @ F.normalize(classes).transpose(1, 2)
