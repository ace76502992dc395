"""mistaken: normalizes each feature over all tokens of the batch"""

EXPECTED = {"layer_norm": 0}


def layer_norm(x, gamma, beta, eps):
    mu = x.mean(dim=(0, 1))
    variance = x.var(dim=(0, 1), correction=0)
    return gamma * (x - mu) / (variance + eps).sqrt() + beta
