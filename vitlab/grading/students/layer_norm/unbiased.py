"""mistaken: divides the variance by d - 1, as torch.var does unless told otherwise"""

EXPECTED = {"normalize_tokens": 0}


def normalize_tokens(x, eps):
    mu = x.mean(dim=-1, keepdim=True)
    return (x - mu) / (x.var(dim=-1, keepdim=True) + eps).sqrt()
