"""right: one image after the other, upsampled before it is projected"""

import torch
from torch.nn.functional import interpolate


def project_and_upsample(F, L, b, size):
    maps = []
    for image in F:
        stretched = interpolate(image[None], size=size, mode="bilinear")[0]
        maps.append(torch.einsum("ihw,ic->chw", stretched, L) + b[:, None, None])
    return torch.stack(maps)
