"""mistaken: takes every image to be square, so that vit is right for some"""

import torch

from vitlab.embeddings import patchify
from vitlab.encoder import encoder

EXPECTED = {"vit": 2}


def vit(images, p, patch_size, num_heads):
    side = images.shape[2]
    square = images[:, :, :side, :side]
    patches = patchify(square, patch_size) @ p["E"] + p["b"]
    class_tokens = p["x_class"].expand(len(images), 1, -1)
    z_0 = torch.cat([class_tokens, patches], dim=1) + p["E_pos"][: patches.shape[1] + 1]
    z_L = encoder(z_0, p["blocks"], p["gamma"], p["beta"], num_heads)
    return z_L[:, 0] @ p["W_head"] + p["b_head"]
