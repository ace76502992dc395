"""right: goes through images, tokens and features one by one"""

import torch


def normalize_tokens(x, eps):
    images = []
    for image in x:
        tokens = []
        for token in image:
            d = len(token)
            mu = sum(token) / d
            variance = sum((feature - mu) ** 2 for feature in token) / d
            tokens.append((token - mu) / (variance + eps) ** 0.5)
        images.append(torch.stack(tokens))
    return torch.stack(images)


def layer_norm(x, gamma, beta, eps):
    x_hat = normalize_tokens(x, eps)
    return torch.stack([gamma[i] * x_hat[..., i] + beta[i] for i in range(len(gamma))], dim=-1)
