"""right: but warns, logs and shows progress on stderr"""

import logging
import os
import sys
import warnings


def patchify(images, patch_size):
    warnings.warn("patchify is slow", stacklevel=2)
    logging.warning("cutting patches")
    B, C, H, W = images.shape
    x = images.reshape(B, C, H // patch_size, patch_size, W // patch_size, patch_size)
    for percent in range(0, 101, 25):
        sys.stderr.write(f"\r{percent}%|{'█' * (percent // 10)}")
    return x.permute(0, 2, 4, 3, 5, 1).reshape(B, -1, patch_size * patch_size * C)


def embed_patches(images, E, patch_size):
    os.write(2, b"past Python, straight to the file descriptor\n")
    return patchify(images, patch_size) @ E
