"""mistaken: flattens each patch channel by channel"""

EXPECTED = {"patchify": 0}


def patchify(images, patch_size):
    B, C, H, W = images.shape
    x = images.reshape(B, C, H // patch_size, patch_size, W // patch_size, patch_size)
    x = x.permute(0, 2, 4, 1, 3, 5)  # (B, rows, columns, C, P, P)
    return x.reshape(B, -1, C * patch_size * patch_size)
