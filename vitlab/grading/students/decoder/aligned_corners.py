"""mistaken: aligns the corners, in one function that the two others call"""

from torch.nn.functional import interpolate

EXPECTED = {"project_and_upsample": 0}


def project_and_upsample(F, L, b, size):
    projected = (F.permute(0, 2, 3, 1) @ L + b).permute(0, 3, 1, 2)
    return interpolate(projected, size=size, mode="bilinear", align_corners=True)
