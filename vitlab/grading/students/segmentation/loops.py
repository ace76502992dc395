"""right: counts pixel by pixel, and averages class by class"""

import torch


def confusion_matrix(predictions, labels, num_classes, ignore_index):
    counts = torch.zeros(num_classes, num_classes, dtype=torch.long)
    for label, prediction in zip(labels.flatten().tolist(), predictions.flatten().tolist(), strict=True):
        if label != ignore_index:
            counts[label, prediction] += 1
    return counts


def mean_iou(counts):
    values = []
    for k in range(len(counts)):
        union = counts[k].sum() + counts[:, k].sum() - counts[k, k]
        if union > 0:
            values.append((counts[k, k] / union).item())
    return sum(values) / len(values)
