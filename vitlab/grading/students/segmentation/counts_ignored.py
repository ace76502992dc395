"""mistaken: counts ignored pixels as background, and gives absent classes an IoU of 0"""

import torch

EXPECTED = {"confusion_matrix": 1, "mean_iou": 1}


def confusion_matrix(predictions, labels, num_classes, ignore_index):
    known = torch.where(labels == ignore_index, 0, labels)
    pairs = known * num_classes + predictions
    return torch.bincount(pairs.flatten(), minlength=num_classes**2).reshape(num_classes, num_classes)


def mean_iou(counts):
    right = counts.diagonal()
    union = counts.sum(dim=0) + counts.sum(dim=1) - right
    return (right / union.clamp(min=1)).mean()
