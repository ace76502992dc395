"""Semantic segmentation with a ViT: a class for every pixel, by one of five heads, and how to measure the result.

    vit = ViT.from_config("ViT-B/16", num_classes=0, image_size=512)
    model = SegmentationViT(vit, SegmenterHead(768, num_classes=150))
    logits = model(images)  # (B, 3, 512, 512) -> (B, 150, 512, 512)

Lecture: "ViT for Semantic Segmentation".
"""

from vitlab.segmentation.all_mlp import AllMLPHead
from vitlab.segmentation.linear import LinearHead, linear_head
from vitlab.segmentation.metrics import ConfusionMatrix, confusion_matrix, mean_iou
from vitlab.segmentation.model import SegmentationViT
from vitlab.segmentation.segmenter import SegmenterHead, mask_scores
from vitlab.segmentation.setr_pup import SETRPUPHead
from vitlab.segmentation.upernet import UPerNetHead

__all__ = [
    "AllMLPHead",
    "ConfusionMatrix",
    "LinearHead",
    "SETRPUPHead",
    "SegmentationViT",
    "SegmenterHead",
    "UPerNetHead",
    "confusion_matrix",
    "linear_head",
    "mask_scores",
    "mean_iou",
]
