"""Augmentation: new images from old ones, in whole batches, on the device where the images are.

An image that is shifted, tilted or recoloured shows the same thing, and a network that has seen it so learns what does
not matter. Every augmentation here has two halves. `draw` makes its random numbers: for the whole batch of a step, on
the CPU, from the seed and the step alone. `apply` is a pure function of images and numbers. So a step is the same
whoever computes it: each of several processes draws the numbers of all and takes the rows of its own images.

Images come as bytes, (B, C, H, W) in uint8, and go as numbers in 0 ... 1. In between they are *levels*: the whole
numbers 0 ... 255 as float32, on which the operations of an image editor are defined.
"""

from vitlab.training.augment.pipelines import Draws, ImageAugmentation, MaskAugmentation, rows

__all__ = ["Draws", "ImageAugmentation", "MaskAugmentation", "rows"]
