"""right: unfolds the images, and embeds the patches with a convolution"""

import torch
from torch.nn import functional as F


def patchify(images, patch_size):
    B, C, _, _ = images.shape
    columns = F.unfold(images, kernel_size=patch_size, stride=patch_size)  # (B, C·P², n)
    n = columns.shape[-1]
    return columns.reshape(B, C, patch_size**2, n).permute(0, 3, 2, 1).reshape(B, n, -1)


def embed_patches(images, E, patch_size):
    kernel = E.T.reshape(E.shape[1], patch_size, patch_size, images.shape[1]).permute(0, 3, 1, 2)  # (d, C, P, P)
    return F.conv2d(images, kernel, stride=patch_size).flatten(2).transpose(1, 2)


def assemble_sequence(patch_embeddings, class_embedding, position_embedding):
    class_tokens = (class_embedding + position_embedding[0]).repeat(len(patch_embeddings), 1, 1)
    return torch.hstack([class_tokens, patch_embeddings + position_embedding[1:]])
