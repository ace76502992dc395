"""right: but warns, logs and shows progress on stderr"""

import logging
import os
import sys
import warnings


def normalize_tokens(x, eps):
    warnings.warn("tokens are normalized", stacklevel=2)
    logging.warning("computing means")
    centred = x - x.mean(dim=-1, keepdim=True)
    for percent in range(0, 101, 25):
        sys.stderr.write(f"\r{percent}%|{'█' * (percent // 10)}")
    return centred / ((centred**2).mean(dim=-1, keepdim=True) + eps).sqrt()


def layer_norm(x, gamma, beta, eps):
    os.write(2, b"past Python, straight to the file descriptor\n")
    return gamma * normalize_tokens(x, eps) + beta
