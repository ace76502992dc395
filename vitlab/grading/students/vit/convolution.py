"""right: patches by a convolution, blocks one by one; counts shapes"""

import math

import torch
from torch.nn import functional as F

from vitlab.encoder import encoder_block
from vitlab.layer_norm import layer_norm


def vit(images, p, patch_size, num_heads):
    B, C = images.shape[:2]
    kernel = p["E"].reshape(patch_size, patch_size, C, -1).permute(3, 2, 0, 1)
    patches = F.conv2d(images, kernel, p["b"], stride=patch_size).flatten(2).transpose(1, 2)
    Z = torch.cat([p["x_class"].expand(B, 1, -1), patches], dim=1) + p["E_pos"]
    for block in p["blocks"]:
        Z = encoder_block(Z, block, num_heads)
    z_class = layer_norm(Z[:, 0], p["gamma"], p["beta"], 1e-6)
    return torch.addmm(p["b_head"], z_class, p["W_head"])


def vit_parameters(depth, d, patch_size, image_size, num_classes):
    n = (image_size // patch_size) ** 2
    shapes = [(3 * patch_size**2, d), (d,), (d,), (n + 1, d)]
    for _ in range(depth):
        shapes += [(d,)] * 4  # two LNs
        shapes += [(d, d), (d,)] * 4
        shapes += [(d, 4 * d), (4 * d,), (4 * d, d), (d,)]
    shapes += [(d,), (d,), (d, num_classes), (num_classes,)]
    return sum(math.prod(shape) for shape in shapes)
