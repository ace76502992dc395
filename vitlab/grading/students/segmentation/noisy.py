"""right: prints, warns and shows a progress bar, which costs no points"""

import sys
import warnings


def mask_scores(patches, classes):
    print("patches", tuple(patches.shape))
    warnings.warn("this is only a warning", stacklevel=2)
    print("working …", file=sys.stderr)
    p_hat = patches / patches.norm(dim=-1, keepdim=True)
    c_hat = classes / classes.norm(dim=-1, keepdim=True)
    return p_hat @ c_hat.transpose(1, 2)
