"""mistaken: leaves ε out, so that equal features give NaN"""

EXPECTED = {"normalize_tokens": 0}


def normalize_tokens(x, eps):
    centred = x - x.mean(dim=-1, keepdim=True)
    return centred / centred.pow(2).mean(dim=-1, keepdim=True).sqrt()
