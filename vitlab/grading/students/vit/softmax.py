"""mistaken: returns probabilities in the place of scores"""

import torch

from vitlab.embeddings import assemble_sequence, embed_patches
from vitlab.encoder import encoder

EXPECTED = {"vit": 0}


def vit(images, p, patch_size, num_heads):
    patches = embed_patches(images, p["E"], patch_size) + p["b"]
    z_0 = assemble_sequence(patches, p["x_class"], p["E_pos"])
    z_L = encoder(z_0, p["blocks"], p["gamma"], p["beta"], num_heads)
    return torch.softmax(z_L[:, 0] @ p["W_head"] + p["b_head"], dim=-1)
