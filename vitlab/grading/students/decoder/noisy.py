"""right: prints, warns and writes to stderr, which costs no points"""

import sys
import warnings

from torch.nn.functional import interpolate


def project_and_upsample(F, L, b, size):
    print("map", tuple(F.shape))
    warnings.warn("this is only a warning", stacklevel=2)
    print("working …", file=sys.stderr)
    return interpolate((F.permute(0, 2, 3, 1) @ L + b).permute(0, 3, 1, 2), size=size, mode="bilinear")
