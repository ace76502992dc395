"""mistaken: exchanges rows and columns of the grid, so that square ones are right; and label and prediction"""

import torch
from torch.nn import functional as F

EXPECTED = {"confusion_matrix": 0, "linear_head": 0}


def confusion_matrix(predictions, labels, num_classes, ignore_index):
    counted = labels != ignore_index
    pairs = predictions[counted] * num_classes + labels[counted]
    return torch.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)


def linear_head(tokens, W, b, grid, patch_size):
    scores = (tokens @ W + b).transpose(1, 2)
    columns, rows = grid
    logits = scores.unflatten(2, (rows, columns))
    return F.interpolate(logits, scale_factor=patch_size, mode="bilinear", align_corners=False)
