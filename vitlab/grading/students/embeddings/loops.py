"""right: cuts out every patch with a slice"""

import torch


def patchify(images, patch_size):
    H, W = images.shape[-2:]
    patches = []
    for top in range(0, H, patch_size):
        for left in range(0, W, patch_size):
            patch = images[:, :, top : top + patch_size, left : left + patch_size]
            patches.append(patch.permute(0, 2, 3, 1).flatten(1))  # (B, C, P, P) -> (B, P²·C)
    return torch.stack(patches, dim=1)


def embed_patches(images, E, patch_size):
    return torch.stack([patch @ E for patch in patchify(images, patch_size).unbind(dim=1)], dim=1)


def assemble_sequence(patch_embeddings, class_embedding, position_embedding):
    B, n, d = patch_embeddings.shape
    z = patch_embeddings.new_zeros(B, n + 1, d)
    z[:, 0] = class_embedding
    for i in range(n):
        z[:, i + 1] = patch_embeddings[:, i]
    return z + position_embedding
