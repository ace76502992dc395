"""right: has PyTorch do it"""

import torch
from torch.nn import functional as F


def normalize_tokens(x, eps):
    variance, mu = torch.var_mean(x, dim=-1, correction=0, keepdim=True)
    return (x - mu) * torch.rsqrt(variance + eps)


def layer_norm(x, gamma, beta, eps):
    return F.layer_norm(x, x.shape[-1:], gamma, beta, eps)
