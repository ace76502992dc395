"""mistaken: classifies the mean of all tokens, and counts no biases in the attention"""

from vitlab.embeddings import assemble_sequence, embed_patches
from vitlab.encoder import encoder
from vitlab.ffn import ffn_parameters

EXPECTED = {"vit": 0, "vit_parameters": 0}


def vit(images, p, patch_size, num_heads):
    patches = embed_patches(images, p["E"], patch_size) + p["b"]
    z_0 = assemble_sequence(patches, p["x_class"], p["E_pos"])
    z_L = encoder(z_0, p["blocks"], p["gamma"], p["beta"], num_heads)
    return z_L.mean(dim=1) @ p["W_head"] + p["b_head"]


def vit_parameters(depth, d, patch_size, image_size, num_classes):
    n = (image_size // patch_size) ** 2
    embeddings = patch_size**2 * 3 * d + d + d + (n + 1) * d
    block = 2 * d + 4 * d**2 + 2 * d + ffn_parameters(d, 4 * d)
    return embeddings + depth * block + 2 * d + d * num_classes + num_classes
