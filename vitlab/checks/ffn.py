"""Checks of the exercise `ffn`: GELU, the feed-forward network, its parameters."""

import math

import torch
from torch.nn import functional as F

from vitlab.checks.engine.exercise import Exercise, FollowThrough, Part, Sizes
from vitlab.ffn import ffn, ffn_parameters, gelu

# ---- gelu

activate = Exercise(
    gelu,
    takes={"x": "B n d"},
    returns="B n d",
    axes="image token number",
    parts=(
        Part(
            "numbers of every size",
            2,
            Sizes("one image", B=1),
            Sizes(),
            Sizes("many numbers", d="large"),
            Sizes("numbers far from 0", lambda x: 30 * x),
        ),
        Part("float64, gradients", 1, Sizes(gradient=True), Sizes("all sizes equal", n="B", d="B", gradient=True)),
    ),
)


@activate.formulation
def _(x):
    return F.gelu(x, approximate="none")


@activate.formulation
def _(x):
    return 0.5 * x * (1 + torch.erf(x / 2**0.5))


TANH = (
    "This is the approximation with tanh, right to three digits: the exact form is asked for, x Φ(x), with torch.erf."
)


@activate.misconception(TANH)
def _(x):
    inner = math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)
    return 0.5 * x * (1 + torch.tanh(inner))


@activate.misconception("This is the approximation x · sigmoid(1.702 x): the exact form is asked for, x Φ(x).")
def _(x):
    return x * torch.sigmoid(1.702 * x)


@activate.misconception("This is SiLU (Swish), x · sigmoid(x): GELU multiplies x by Φ(x), with torch.erf.")
def _(x):
    return x * torch.sigmoid(x)


RELU = "This is ReLU: GELU multiplies x by Φ(x), which is neither 0 nor 1 near 0."


@activate.misconception(RELU)
def _(x):
    return torch.relu(x)


@activate.misconception("The factor x is missing: this is Φ(x) alone, and GELU is x Φ(x).")
def _(x):
    return (1 + torch.erf(x / math.sqrt(2))) / 2


@activate.misconception("The factor 1/2 is missing: Φ(x) = (1 + erf(x/√2)) / 2 goes from 0 to 1.")
def _(x):
    return x * (1 + torch.erf(x / math.sqrt(2)))


@activate.misconception("The argument of erf is not divided by √2: Φ(x) = (1 + erf(x/√2)) / 2.")
def _(x):
    return x * (1 + torch.erf(x)) / 2


@activate.misconception(
    "The argument of erf is multiplied by √2, and should be divided by √2, Φ(x) = (1 + erf(x/√2)) / 2."
)
def _(x):
    return x * (1 + torch.erf(x * math.sqrt(2))) / 2


@activate.misconception("The argument of erf is divided by 2, and should be divided by √2, Φ(x) = (1 + erf(x/√2)) / 2.")
def _(x):
    return x * (1 + torch.erf(x / 2)) / 2


@activate.misconception("The 1 is missing: erf goes from -1 to 1, and Φ(x) = (1 + erf(x/√2)) / 2 from 0 to 1.")
def _(x):
    return x * torch.erf(x / math.sqrt(2)) / 2


@activate.misconception(
    "x meets the density of the normal distribution, exp(-x²/2) / √(2π): GELU takes the probability below x, Φ(x)."
)
def _(x):
    density = torch.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)
    return x * density


@activate.misconception(
    "x is standardized by its own mean and deviation before Φ: Φ is that of the standard normal distribution, of x itself."
)
def _(x):
    standardized = (x - x.mean()) / x.std(correction=0)
    return x * (1 + torch.erf(standardized / math.sqrt(2))) / 2


def _rounded_root(root):
    @activate.misconception(f"√2 is rounded to {root}: write math.sqrt(2).")
    def rounded(x):
        return x * (1 + torch.erf(x / root)) / 2


for root in (1.4, 1.41, 1.414):
    _rounded_root(root)


@activate.misconception("This is the derivative of GELU, Φ(x) + x φ(x): GELU itself is x Φ(x).")
def _(x):
    probability = (1 + torch.erf(x / math.sqrt(2))) / 2
    density = torch.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)
    return probability + x * density


@activate.misconception(
    "The sign in Φ is wrong: 1 - erf(x/√2) is twice the probability above x; GELU takes that below x."
)
def _(x):
    return x * (1 - torch.erf(x / math.sqrt(2))) / 2


@activate.misconception(RELU)
def _(x):
    probability = (1 + torch.erf(x / math.sqrt(2))) / 2
    return x * probability.round()


# ---- ffn

network = Exercise(
    ffn,
    takes={"Z": "B n d", "W_1": "d d_ff", "b_1": "d_ff", "W_2": "d_ff d", "b_2": "d"},
    returns="B n d",
    parts=(
        Part("one image", 1, Sizes("one image", B=1), Sizes("one token", B=1, n=1)),
        Part(
            "several images",
            2,
            Sizes(),
            Sizes("many hidden features", d_ff="large"),
            Sizes("many tokens, large weights", lambda Z, W_1, b_1, W_2, b_2: (Z, 4 * W_1, b_1, W_2, b_2), n="large"),
        ),
        Part(
            "float64, gradients",
            2,
            Sizes(gradient=True),
            Sizes("all sizes equal", n="B", d="B", d_ff="B", gradient=True),
        ),
    ),
    builds_on=FollowThrough((gelu,), lambda gelu, Z, W_1, b_1, W_2, b_2: gelu(Z @ W_1 + b_1) @ W_2 + b_2),
)


@network.formulation
def _(Z, W_1, b_1, W_2, b_2):
    expanded = Z @ W_1 + b_1
    activated = F.gelu(expanded, approximate="none")
    return activated @ W_2 + b_2


@network.formulation
def _(Z, W_1, b_1, W_2, b_2):
    expanded = torch.einsum("bnd,df->bnf", Z, W_1) + b_1
    activated = F.gelu(expanded, approximate="none")
    return torch.einsum("bnf,fd->bnd", activated, W_2) + b_2


@network.misconception("The activation is missing: two products without GELU in between are one product, Z (W_1 W_2).")
def _(Z, W_1, b_1, W_2, b_2):
    expanded = Z @ W_1 + b_1
    return expanded @ W_2 + b_2


@network.misconception("The activation is ReLU: GELU stands between the layers.")
def _(Z, W_1, b_1, W_2, b_2):
    activated = F.relu(Z @ W_1 + b_1)
    return activated @ W_2 + b_2


@network.misconception("The activation is GELU's approximation with tanh: take the exact one.")
def _(Z, W_1, b_1, W_2, b_2):
    activated = F.gelu(Z @ W_1 + b_1, approximate="tanh")
    return activated @ W_2 + b_2


@network.misconception("GELU comes after the second layer, too: the last step is W_2 and b_2 alone.")
def _(Z, W_1, b_1, W_2, b_2):
    activated = F.gelu(Z @ W_1 + b_1)
    return F.gelu(activated @ W_2 + b_2)


@network.misconception("GELU comes at the end instead of between the layers: then the two products are only one.")
def _(Z, W_1, b_1, W_2, b_2):
    expanded = Z @ W_1 + b_1
    return F.gelu(expanded @ W_2 + b_2)


@network.misconception("GELU comes before the first layer: it belongs between the two, GELU(Z W_1 + b_1).")
def _(Z, W_1, b_1, W_2, b_2):
    expanded = F.gelu(Z) @ W_1 + b_1
    return expanded @ W_2 + b_2


@network.misconception("b_1 is added behind GELU: it belongs inside, GELU(Z W_1 + b_1).")
def _(Z, W_1, b_1, W_2, b_2):
    activated = F.gelu(Z @ W_1) + b_1
    return activated @ W_2 + b_2


@network.misconception(
    "The input is added again (a residual connection): that is the encoder block's work, not the FFN's."
)
def _(Z, W_1, b_1, W_2, b_2):
    activated = F.gelu(Z @ W_1 + b_1)
    return Z + activated @ W_2 + b_2


@network.misconception("The tokens are layer-normalized first: that is the encoder block's work, not the FFN's.")
def _(Z, W_1, b_1, W_2, b_2):
    normalized = F.layer_norm(Z, Z.shape[-1:])
    return F.gelu(normalized @ W_1 + b_1) @ W_2 + b_2


@network.misconception(
    "The weights are used as nn.Linear stores them, (out, in), and F.linear transposes them: here W_1 is (d, d_ff) and W_2 "
    "(d_ff, d), so multiply from the right with @, or give F.linear W.T."
)
def _(Z, W_1, b_1, W_2, b_2):
    activated = F.gelu(F.linear(Z, W_1, b_1))
    return F.linear(activated, W_2, b_2)


@network.misconception(
    "W_1 serves twice, on the way back as its transpose: the second layer has weights of its own, W_2."
)
def _(Z, W_1, b_1, W_2, b_2):
    activated = F.gelu(Z @ W_1 + b_1)
    return activated @ W_1.mT + b_2


@network.misconception("A softmax over the hidden features stands in the place of GELU.")
def _(Z, W_1, b_1, W_2, b_2):
    activated = (Z @ W_1 + b_1).softmax(dim=-1)
    return activated @ W_2 + b_2


@network.misconception("The mean over the tokens goes through the network: every token goes through on its own.")
def _(Z, W_1, b_1, W_2, b_2):
    expanded = Z.mean(dim=1, keepdim=True) @ W_1 + b_1
    return (F.gelu(expanded) @ W_2 + b_2).expand(Z.shape)


@network.misconception("The biases are missing: z W_1 + b_1 before GELU, + b_2 at the end.")
def _(Z, W_1, b_1, W_2, b_2):
    activated = F.gelu(Z @ W_1)
    return activated @ W_2


@network.misconception(
    "The hidden features are scaled as by a dropout of 0.1 (divided by 0.9): nothing is switched off or scaled here."
)
def _(Z, W_1, b_1, W_2, b_2):
    activated = F.gelu(Z @ W_1 + b_1) / 0.9
    return activated @ W_2 + b_2


@network.misconception(
    "This is the formula for one token as a column, W_2 GELU(W_1 z + b_1): here tokens are rows, and the matrices stand on "
    "their right, GELU(Z W_1 + b_1) W_2 + b_2."
)
def _(Z, W_1, b_1, W_2, b_2):
    return W_2 @ F.gelu(W_1 @ Z + b_1) + b_2


# ---- ffn_parameters

VIT_BASE = Sizes("ViT-Base", d=768, d_ff=3072)

count = Exercise(
    ffn_parameters,
    takes={"d": "d", "d_ff": "d_ff"},
    returns="",
    parts=(
        Part("d_ff = 4d", 1, VIT_BASE, Sizes("a small one", d=8, d_ff=32)),
        Part(
            "any d_ff", 2, Sizes(), Sizes("wide", d_ff="large"), Sizes("narrow", d="large"), Sizes("d_ff = d", d_ff="d")
        ),
    ),
)


@count.misconception("The biases are not counted: b_1 has d_ff numbers and b_2 has d.")
def _(d, d_ff):
    return 2 * d * d_ff


@count.misconception("This is 8d², which is about right for d_ff = 4d: count exactly, for any d_ff, with the biases.")
def _(d, d_ff):
    return 8 * d**2


@count.misconception("This is right for d_ff = 4d alone: count with the d_ff that is given.")
def _(d, d_ff):
    return 8 * d**2 + 5 * d


@count.misconception("Only one of the two matrices is counted: W_1 has d · d_ff numbers, and so has W_2.")
def _(d, d_ff):
    return d * d_ff + d_ff + d


@count.misconception("b_2 is not counted: it has d numbers.")
def _(d, d_ff):
    return 2 * d * d_ff + d_ff


@count.misconception("b_1 is not counted: it has d_ff numbers.")
def _(d, d_ff):
    return 2 * d * d_ff + d


@count.misconception("Both biases are counted with d_ff numbers: b_2 belongs to the output and has d.")
def _(d, d_ff):
    return 2 * (d * d_ff + d_ff)


@count.misconception("Both biases are counted with d numbers: b_1 belongs to the hidden features and has d_ff.")
def _(d, d_ff):
    return 2 * (d * d_ff + d)


@count.misconception("The sizes of a matrix are added: d rows of d_ff numbers are d · d_ff numbers.")
def _(d, d_ff):
    return 2 * (d + d_ff) + d_ff + d


@count.misconception(
    "This is 4d², the lecture's count for attention: the FFN has two matrices of d · d_ff and two biases."
)
def _(d, d_ff):
    return 4 * d**2


@count.misconception(
    "γ and β of a layer normalization are counted, too: the FFN itself has two matrices and two biases."
)
def _(d, d_ff):
    return 2 * d * d_ff + d_ff + d + 2 * d


@count.misconception("There is a matrix of d_ff · d_ff too many: the network has two layers, d → d_ff and d_ff → d.")
def _(d, d_ff):
    return 2 * d * d_ff + d_ff**2 + 2 * d_ff + d


@count.misconception("The matrices are counted as square, d² and d_ff²: W_1 has d · d_ff numbers, and so has W_2.")
def _(d, d_ff):
    expand = d**2 + d_ff
    compress = d_ff**2 + d
    return expand + compress


@count.misconception("Each bias is counted as one number: b_1 has d_ff numbers and b_2 has d.")
def _(d, d_ff):
    expand = d * d_ff + 1
    compress = d_ff * d + 1
    return expand + compress


@count.misconception(
    "The ratio d_ff / d is rounded down, d_ff // d, which is exact only where d divides d_ff: count with d_ff itself."
)
def _(d, d_ff):
    ratio = d_ff // d
    return 2 * ratio * d * d + ratio * d + d


@count.misconception("There are four tensors of parameters: count the numbers in them, of W_1 d · d_ff (p.numel()).")
def _(d, d_ff):
    return 4


EXERCISES = (activate, network, count)
