"""right: one image after the other; lets PyTorch's modules count"""

import torch
from torch import nn

from vitlab.embeddings import assemble_sequence, embed_patches
from vitlab.encoder import encoder


def vit(images, p, patch_size, num_heads):
    scores = []
    for image in images:
        patches = embed_patches(image.unsqueeze(0), p["E"], patch_size) + p["b"]
        z_0 = assemble_sequence(patches, p["x_class"], p["E_pos"])
        z_L = encoder(z_0, p["blocks"], p["gamma"], p["beta"], num_heads)
        scores.append(z_L[0, 0] @ p["W_head"] + p["b_head"])
    return torch.stack(scores)


def vit_parameters(depth, d, patch_size, image_size, num_classes):
    n = (image_size // patch_size) ** 2
    modules = [
        nn.Conv2d(3, d, patch_size, device="meta"),
        nn.Embedding(n + 2, d, device="meta"),  # the positions and the class token
        *(nn.TransformerEncoderLayer(d, 1, 4 * d, device="meta") for _ in range(depth)),
        nn.LayerNorm(d, device="meta"),
        nn.Linear(d, num_classes, device="meta"),
    ]
    return sum(parameter.numel() for module in modules for parameter in module.parameters())
