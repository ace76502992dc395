"""mistaken: computes the softmax without a shift, so that large scores overflow"""

EXPECTED = {"attention_weights": 2}


def attention_weights(A):
    exponentials = A.exp()
    return exponentials / exponentials.sum(dim=-1, keepdim=True)
