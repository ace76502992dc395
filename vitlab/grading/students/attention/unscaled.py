"""mistaken: forgets to divide the scores by √d_k"""

EXPECTED = {"attention_scores": 0}


def attention_scores(Q, K):
    return Q @ K.transpose(-2, -1)
