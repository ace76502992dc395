"""right: but warns, logs and shows progress on stderr"""

import logging
import os
import sys
import warnings

import torch


def attention_scores(Q, K):
    warnings.warn("Q and K are multiplied", stacklevel=2)
    logging.warning("computing scores")
    return Q @ K.transpose(-2, -1) / Q.shape[-1] ** 0.5


def attention_weights(A):
    for percent in range(0, 101, 25):
        sys.stderr.write(f"\r{percent}%|{'█' * (percent // 10)}")
    return torch.softmax(A, dim=-1)


def attention(Q, K, V):
    os.write(2, b"past Python, straight to the file descriptor\n")
    return attention_weights(attention_scores(Q, K)) @ V
