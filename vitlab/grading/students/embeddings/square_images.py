"""mistaken: takes the number of patch rows for that of patch columns, which is right for square images only"""

EXPECTED = {"patchify": 1}


def patchify(images, patch_size):
    B, C, H, _ = images.shape
    side = H // patch_size
    x = images[..., : side * patch_size].reshape(B, C, side, patch_size, side, patch_size)
    return x.permute(0, 2, 4, 3, 5, 1).reshape(B, side * side, -1)
