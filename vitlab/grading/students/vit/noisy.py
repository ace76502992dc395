"""right: prints, warns and shows a progress bar, which costs no points"""

import sys
import warnings

from vitlab.embeddings import assemble_sequence, embed_patches
from vitlab.encoder import encoder


def vit(images, p, patch_size, num_heads):
    print("images", tuple(images.shape))
    warnings.warn("this is only a warning", stacklevel=2)
    z_0 = assemble_sequence(embed_patches(images, p["E"], patch_size) + p["b"], p["x_class"], p["E_pos"])
    print("working …", file=sys.stderr)
    return encoder(z_0, p["blocks"], p["gamma"], p["beta"], num_heads)[:, 0] @ p["W_head"] + p["b_head"]
