"""vitlab: Vision Transformers, from patches to pixels, in PyTorch. One topic of the course, one file."""

from vitlab.segformer import SegFormer
from vitlab.vit import ViT

__all__ = ["SegFormer", "ViT"]
