"""Checks of the exercise `sra`: the reduction of the grid, attention with it, and the number of scores."""

from collections.abc import Callable

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from vitlab.attention import attention, concatenate_heads, multi_head_self_attention, split_heads
from vitlab.checks.engine.exercise import Exercise, FollowThrough, Part, Sizes, draw
from vitlab.layer_norm import layer_norm
from vitlab.sra import number_of_scores, spatial_reduction, spatial_reduction_attention

# ---- spatial_reduction

STEPS = {
    "whole": "the grid of whole squares",
    "cut": "the grid cut into squares",
    "squares": "the sequence of squares",
    "flattened": "the sequence of flattened squares",
    "windows": "the grid cut into squares",
    "kernel": "W_S as a kernel",
    "weights": "W_S",
    "projected": "the projection",
}

reduction = Exercise(
    spatial_reduction,
    takes={"X": "B H W d", "W_S": "R*R*d d", "b_S": "d", "sr_ratio": "R"},
    where={"rows": "H//R", "columns": "W//R"},
    returns="B rows*columns d",
    axes="image square feature",
    parts=(
        Part("one image, R = 2", 1, Sizes("one square grid", B=1, H=4, W=4, R=2), Sizes(B=1, H=4, W=6, d=5, R=2)),
        Part(
            "several images, any R",
            2,
            Sizes("a wide grid", B=4, H=6, W=12, R=3),
            Sizes("a high grid", H=16, W=8, d=3, R=4),
            Sizes("many features", H=4, W=6, d="large", R=2),
            Sizes("one square", H=3, W=3, R=3),
            Sizes("squares of one token", H=3, W=5, R=1),
        ),
        Part(
            "grids that R does not divide, float64, gradients",
            1,
            Sizes("a row and two columns left over", H=7, W=11, R=3, gradient=True),
            Sizes("a column left over", H=4, W=7, R=2, gradient=True),
            Sizes("all other sizes equal", B=2, H=4, W=4, d=2, R=2, gradient=True),
        ),
    ),
    pinned={"H": 8, "W": 17, "R": 3},
    steps=STEPS,
)


@reduction.formulation
def _(X, W_S, b_S, sr_ratio):
    R = sr_ratio
    d = X.shape[-1]
    kernel = W_S.reshape(R, R, d, d)  # row, column, feature in, feature out
    kernel = kernel.permute(3, 2, 0, 1)
    squares = F.conv2d(X.permute(0, 3, 1, 2), kernel, b_S, stride=R)  # (B, d, rows, columns)
    return squares.flatten(2).transpose(1, 2)


@reduction.formulation
def _(X, W_S, b_S, sr_ratio):
    R = sr_ratio
    B, H, W, d = X.shape
    n = (H // R) * (W // R)
    columns = F.unfold(X.permute(0, 3, 1, 2), kernel_size=R, stride=R)  # (B, d·R², n')
    squares = columns.reshape(B, d, R * R, n).permute(0, 3, 2, 1)
    flattened = squares.reshape(B, n, R * R * d)
    return flattened @ W_S + b_S


@reduction.formulation
def _(X, W_S, b_S, sr_ratio):
    R = sr_ratio
    windows = X.unfold(1, R, R).unfold(2, R, R)  # (B, rows, columns, d, R, R)
    squares = windows.permute(0, 1, 2, 4, 5, 3)
    flattened = squares.flatten(3).flatten(1, 2)  # (B, n', R²·d)
    return flattened @ W_S + b_S


@reduction.formulation
def _(X, W_S, b_S, sr_ratio):
    R = sr_ratio
    B, H, W, d = X.shape
    rows = H // R
    columns = W // R
    whole = X[:, : rows * R, : columns * R]
    cut = whole.reshape(B, rows, R, columns, R, d)
    weights = W_S.reshape(R, R, d, d)
    projected = torch.einsum("brycxd,yxde->brce", cut, weights)
    return projected.flatten(1, 2) + b_S


def _whole(X: Tensor, R: int) -> Tensor:
    """The squares, cut but not yet put together: (B, H, W, d) -> (B, rows, R, columns, R, d)."""
    B, H, W, d = X.shape
    return X[:, : H // R * R, : W // R * R].reshape(B, H // R, R, W // R, R, d)


def _filled_up(X: Tensor, R: int) -> Tensor:
    """With rows and columns of zeros, so that every token is in a square."""
    H, W = X.shape[1:3]
    return F.pad(X, (0, 0, 0, -W % R, 0, -H % R))


FILLED_UP = (
    "What does not fill a square is filled up with zeros, so that there are more squares: rows and columns that are left "
    "over should be left out."
)


@reduction.misconception(FILLED_UP)
def _(X, W_S, b_S, sr_ratio):
    return spatial_reduction(_filled_up(X, sr_ratio), W_S, b_S, sr_ratio)


@reduction.misconception(
    "What does not fill a square is left out at the beginning, and should be left out at the end: the first square holds the first row and column."
)
def _(X, W_S, b_S, sr_ratio):
    R, (H, W) = sr_ratio, X.shape[1:3]
    return spatial_reduction(X[:, H % R :, W % R :], W_S, b_S, R)


@reduction.misconception(
    "The grid is cut by a reshape alone, so that what is put together are pieces of several rows: after (B, rows, R, "
    "columns, R, d) exchange the axes 2 and 3, and only then flatten."
)
def _(X, W_S, b_S, sr_ratio):
    B, rows, R, columns, _, d = _whole(X, sr_ratio).shape
    return _whole(X, sr_ratio).reshape(B, rows * columns, R * R * d) @ W_S + b_S


STRIP = (
    "R² tokens that follow each other in the sequence are put together: those of a square stand in R rows. Cut the grid "
    "into (B, rows, R, columns, R, d) first."
)


@reduction.misconception(STRIP)
def _(X, W_S, b_S, sr_ratio):
    B, rows, R, columns, _, d = _whole(X, sr_ratio).shape
    tokens = X.flatten(1, 2)[:, : rows * columns * R * R]
    return tokens.reshape(B, rows * columns, R * R * d) @ W_S + b_S


@reduction.misconception(
    "A square is flattened feature, row, column, as F.unfold and a convolution's kernel have it (W_S.T.reshape(d, d, R, R), "
    "too), and should be flattened row, column, feature."
)
def _(X, W_S, b_S, sr_ratio):
    squares = _whole(X, sr_ratio).permute(0, 1, 3, 5, 2, 4)  # (B, rows, columns, d, R, R)
    return squares.flatten(3).flatten(1, 2) @ W_S + b_S


@reduction.misconception("A square is flattened column, row, feature: go through its rows first.")
def _(X, W_S, b_S, sr_ratio):
    squares = _whole(X, sr_ratio).permute(0, 1, 3, 4, 2, 5)
    return squares.flatten(3).flatten(1, 2) @ W_S + b_S


BY_COLUMN = "The squares come column by column, and should come row by row."


@reduction.misconception(BY_COLUMN)
def _(X, W_S, b_S, sr_ratio):
    squares = _whole(X, sr_ratio).permute(0, 3, 1, 2, 4, 5)
    return squares.flatten(3).flatten(1, 2) @ W_S + b_S


@reduction.misconception(
    "The tokens that are put together stand `rows` and `columns` apart: the R × R tokens of a square are neighbours. "
    "Cut the height into (rows, R), not into (R, rows)."
)
def _(X, W_S, b_S, sr_ratio):
    B, rows, R, columns, _, d = _whole(X, sr_ratio).shape
    whole = X[:, : rows * R, : columns * R]
    squares = whole.reshape(B, R, rows, R, columns, d).permute(0, 2, 4, 1, 3, 5)
    return squares.reshape(B, rows * columns, R * R * d) @ W_S + b_S


@reduction.misconception(
    "W_S is made a convolution's kernel by a reshape alone, which shuffles it: reshape to (R, R, d, d), then permute(3, 2, "
    "0, 1)."
)
def _(X, W_S, b_S, sr_ratio):
    d = X.shape[-1]
    kernel = W_S.reshape(d, d, sr_ratio, sr_ratio)
    return F.conv2d(X.permute(0, 3, 1, 2), kernel, b_S, stride=sr_ratio).flatten(2).transpose(1, 2)


@reduction.misconception(
    "The convolution is padded, so that squares begin beyond the border: kernel R, stride R and no padding."
)
def _(X, W_S, b_S, sr_ratio):
    R, d = sr_ratio, X.shape[-1]
    kernel = W_S.reshape(R, R, d, d).permute(3, 2, 0, 1)
    squares = F.conv2d(X.permute(0, 3, 1, 2), kernel, b_S, stride=R, padding=R // 2)
    return squares.flatten(2).transpose(1, 2)


@reduction.misconception(
    "Only the first token of every square is used (X[:, ::R, ::R]): all R² tokens are, each with its own d rows of W_S."
)
def _(X, W_S, b_S, sr_ratio):
    first = _whole(X, sr_ratio)[:, :, 0, :, 0]
    return first.flatten(1, 2) @ W_S[: X.shape[-1]] + b_S


@reduction.misconception(
    "The tokens of a square are averaged before the projection (pooling): each has its own d rows of W_S. Flatten the "
    "square, and project R²·d numbers."
)
def _(X, W_S, b_S, sr_ratio):
    means = _whole(X, sr_ratio).mean(dim=(2, 4)).flatten(1, 2)
    return means.repeat(1, 1, sr_ratio**2) @ W_S + b_S


WRONG_SQUARES = tuple(reduction.misconceptions)  # so far: those whose squares can still be attended to


@reduction.misconception(
    "The squares stay on their grid, (B, rows, columns, d): they should become a sequence, (B, n', d)."
)
def _(X, W_S, b_S, sr_ratio):
    rows, columns = X.shape[1] // sr_ratio, X.shape[2] // sr_ratio
    return spatial_reduction(X, W_S, b_S, sr_ratio).unflatten(1, (rows, columns))


@reduction.misconception(
    "The result is normalized already: the LN comes behind this function, in spatial_reduction_attention."
)
def _(X, W_S, b_S, sr_ratio):
    squares = spatial_reduction(X, W_S, b_S, sr_ratio)
    return F.layer_norm(squares, squares.shape[-1:])


NOT_LEFT_OUT = (
    "Rows and columns that do not fill a square are not left out: where R does not divide the grid, there are too many "
    "tokens for whole squares. Cut X[:, : rows * R, : columns * R] first."
)


@reduction.misconception(NOT_LEFT_OUT)
def _(X, W_S, b_S, sr_ratio):
    R = sr_ratio
    B, H, W, d = X.shape
    cut = X.reshape(B, H // R, R, W // R, R, d)
    squares = cut.transpose(2, 3)
    flattened = squares.reshape(B, -1, R * R * d)
    return flattened @ W_S + b_S


EXCHANGED = (
    "H and W are exchanged where the grid is cut: X has H rows and W columns, so it is cut to (B, H/R, R, W/R, R, d), rows "
    "first."
)


@reduction.misconception(EXCHANGED)
def _(X, W_S, b_S, sr_ratio):
    R = sr_ratio
    B, H, W, d = X.shape
    whole = X[:, : H // R * R, : W // R * R]
    cut = whole.reshape(B, W // R, R, H // R, R, d)
    squares = cut.transpose(2, 3)
    flattened = squares.reshape(B, -1, R * R * d)
    return flattened @ W_S + b_S


@reduction.misconception(EXCHANGED)
def _(X, W_S, b_S, sr_ratio):
    R = sr_ratio
    B, H, W, d = X.shape
    cut = X.reshape(B, W // R, R, H // R, R, d)
    squares = cut.transpose(2, 3)
    return squares.reshape(B, -1, R * R * d) @ W_S + b_S


@reduction.misconception(EXCHANGED)
def _(X, W_S, b_S, sr_ratio):
    R = sr_ratio
    B, H, W, d = X.shape
    whole = X[:, : W // R * R, : H // R * R]
    cut = whole.reshape(B, W // R, R, H // R, R, d)
    squares = cut.transpose(2, 3)
    return squares.reshape(B, -1, R * R * d) @ W_S + b_S


@reduction.misconception(STRIP)
def _(X, W_S, b_S, sr_ratio):
    B, _, _, d = X.shape
    return X.reshape(B, -1, sr_ratio * sr_ratio * d) @ W_S + b_S


@reduction.misconception(
    "F.linear transposes the weights that it is given: W_S is (R²·d, d) already, so flattened @ W_S + b_S, or give F.linear "
    "W_S.T."
)
def _(X, W_S, b_S, sr_ratio):
    squares = _whole(X, sr_ratio).transpose(2, 3)
    flattened = squares.flatten(3).flatten(1, 2)
    return F.linear(flattened, W_S, b_S)


FEATURES_LAST = (
    "F.conv2d is given the grid as it stands, and takes its rows for features: move the features to the second axis first, "
    "X.permute(0, 3, 1, 2)."
)


@reduction.misconception(FEATURES_LAST)
def _(X, W_S, b_S, sr_ratio):
    R, d = sr_ratio, X.shape[-1]
    kernel = W_S.reshape(R, R, d, d).permute(3, 2, 0, 1)
    return F.conv2d(X, kernel, b_S, stride=R).flatten(2).transpose(1, 2)


@reduction.misconception(
    "The kernel's features are exchanged: those that come out are its first axis and those that go in its second, "
    "permute(3, 2, 0, 1) and not permute(2, 3, 0, 1)."
)
def _(X, W_S, b_S, sr_ratio):
    R, d = sr_ratio, X.shape[-1]
    kernel = W_S.reshape(R, R, d, d).permute(2, 3, 0, 1)
    squares = F.conv2d(X.permute(0, 3, 1, 2), kernel, b_S, stride=R)
    return squares.flatten(2).transpose(1, 2)


@reduction.misconception(
    "A slice up to -0 is empty, X[:, :-0]: where R divides the grid nothing is left over, and nothing is to be cut off. "
    "Count what stays, X[:, : H // R * R]."
)
def _(X, W_S, b_S, sr_ratio):
    H, W = X.shape[1:3]
    return spatial_reduction(X[:, : -(H % sr_ratio), : -(W % sr_ratio)], W_S, b_S, sr_ratio)


@reduction.misconception(
    "The columns of a square are cut by the number of its row: only the squares from the top left downwards along the "
    "diagonal are right. Rows go with i, columns with j."
)
def _(X, W_S, b_S, sr_ratio):
    R = sr_ratio
    rows, columns = X.shape[1] // R, X.shape[2] // R
    squares = [X[:, i * R : (i + 1) * R, i * R : (i + 1) * R] for i in range(rows) for _ in range(columns)]
    return torch.stack([square.flatten(1) @ W_S + b_S for square in squares], dim=1)


# ---- spatial_reduction_attention

ATTENTION = {"W_Q": "d d", "W_K": "d d", "W_V": "d d", "W_O": "d d"}
REDUCTION = {"W_S": "R*R*d d", "b_S": "d", "gamma": "d", "beta": "d"}


def _drawn(generator: Generator, sizes: dict[str, int], dtype: torch.dtype) -> tuple:
    """Where R = 1 nothing is reduced, and p has no weights for it."""
    X = draw("B H W d", Tensor, sizes, generator, dtype)
    p = draw(ATTENTION | (REDUCTION if sizes["R"] > 1 else {}), dict, sizes, generator, dtype)
    return X, p, sizes["h"], sizes["R"]


def _small(X: Tensor, p: dict[str, Tensor], num_heads: int, sr_ratio: int) -> tuple:
    return X / 300, p | {"b_S": p["b_S"] / 300}, num_heads, sr_ratio


def _attend(sequence: Tensor, reduced: Tensor, p: dict[str, Tensor], num_heads: int) -> Tensor:
    """(B, n, d), (B, n', d) -> (B, n, d)."""
    Q = split_heads(sequence @ p["W_Q"], num_heads)
    K = split_heads(reduced @ p["W_K"], num_heads)
    V = split_heads(reduced @ p["W_V"], num_heads)
    return concatenate_heads(attention(Q, K, V)) @ p["W_O"]


def _attend_with(reduce: Callable, X: Tensor, p: dict[str, Tensor], num_heads: int, sr_ratio: int) -> Tensor:
    """SRA with SR(X) = LN(reduce(X))."""
    sequence = reduced = X.flatten(1, 2)
    if sr_ratio > 1:
        reduced = layer_norm(reduce(X, p["W_S"], p["b_S"], sr_ratio), p["gamma"], p["beta"], 1e-5)
    return _attend(sequence, reduced, p, num_heads).reshape(X.shape)


sra = Exercise(
    spatial_reduction_attention,
    takes={"X": "B H W d", "p": ATTENTION | REDUCTION, "num_heads": "h", "sr_ratio": "R"},
    where={"d": "h*d_h"},
    returns="B H W d",
    parts=(
        Part(
            "R = 1: nothing is reduced", 1, Sizes(B=1, H=3, W=4, h=1, d_h=5, R=1), Sizes(B=4, H=5, W=3, h=2, d_h=3, R=1)
        ),
        Part(
            "R > 1, one and several heads",
            2,
            Sizes("one image, one head", B=1, H=4, W=6, h=1, d_h=5, R=2),
            Sizes(B=4, H=6, W=9, h=2, d_h=3, R=3),
            Sizes("a high grid", H="large", W=4, h=3, d_h=2, R=2),
            Sizes("one key", H=4, W=4, h=2, d_h=3, R=4),
        ),
        Part(
            "grids that R does not divide, float64, gradients",
            2,
            Sizes("a row and two columns left over", H=7, W=8, h=3, d_h=2, R=3, gradient=True),
            Sizes("small numbers, so that ε is seen", _small, H=5, W=6, h=2, d_h=3, R=2, gradient=True),
            Sizes("R = 1", H=3, W=2, h=2, d_h=3, R=1, gradient=True),
        ),
    ),
    pinned={"H": 7, "W": 5, "R": 2, "h": 3, "d_h": 4},
    draw=_drawn,
    builds_on=FollowThrough((spatial_reduction,), _attend_with),
    steps={
        **{name: STEPS[name] for name in ("whole", "cut", "squares", "flattened")},
        "sequence": "the sequence of tokens",
        "reduced": "SR(X)",
        "mu": "μ",
        "variance": "σ²",
        "x_hat": "x̂",
        "normalized": "the LN's result",
        "products": "Q Kᵀ",
        "shifted": "the difference of the scores and their maximum",
        "exponentials": "the exponential",
        "concatenated": "the concatenation",
        "output": "the result",
    },
)


@sra.formulation
def _(X, p, num_heads, sr_ratio):
    B, H, W, d = X.shape
    d_h = d // num_heads
    sequence = X.reshape(B, H * W, d)
    squares = spatial_reduction(X, p["W_S"], p["b_S"], sr_ratio) if sr_ratio > 1 else sequence
    reduced = layer_norm(squares, p["gamma"], p["beta"], 1e-5) if sr_ratio > 1 else squares
    Q = (sequence @ p["W_Q"]).reshape(B, H * W, num_heads, d_h).transpose(1, 2)
    K = (reduced @ p["W_K"]).reshape(B, -1, num_heads, d_h).transpose(1, 2)
    V = (reduced @ p["W_V"]).reshape(B, -1, num_heads, d_h).transpose(1, 2)
    scores = Q @ K.transpose(-2, -1) / d_h**0.5
    weights = scores.softmax(dim=-1)
    heads = weights @ V
    concatenated = heads.transpose(1, 2).reshape(B, H * W, d)
    output = concatenated @ p["W_O"]
    return output.reshape(B, H, W, d)


# The same as one chain of steps, which R = 1 goes through as well: with W_S = I and b_S = 0 a square is its one token.
@sra.formulation
def _(X, p, num_heads, sr_ratio):
    sequence = X.flatten(1, 2)
    W_S = p.get("W_S", torch.eye(X.shape[-1], dtype=X.dtype))
    b_S = p.get("b_S", torch.zeros(X.shape[-1], dtype=X.dtype))
    gamma = p.get("gamma", torch.ones(X.shape[-1], dtype=X.dtype))
    beta = p.get("beta", torch.zeros(X.shape[-1], dtype=X.dtype))
    squares = spatial_reduction(X, W_S, b_S, sr_ratio)
    mu = squares.mean(dim=-1, keepdim=True)
    variance = squares.var(dim=-1, keepdim=True, unbiased=False)
    x_hat = (squares - mu) / torch.sqrt(variance + 1e-5)
    normalized = gamma * x_hat + beta
    reduced = normalized if sr_ratio > 1 else sequence
    Q = split_heads(sequence @ p["W_Q"], num_heads)
    K = split_heads(reduced @ p["W_K"], num_heads)
    V = split_heads(reduced @ p["W_V"], num_heads)
    heads = attention(Q, K, V)
    output = concatenate_heads(heads) @ p["W_O"]
    return output.reshape(X.shape)


def _wrong(sentence: str) -> Callable[[Callable], None]:
    """Decorates a wrong SR(X), for R > 1, with its sentence: (X, p, R) -> (B, n', d)."""

    def add(reduce: Callable) -> None:
        @sra.misconception(sentence)
        def _(X, p, num_heads, sr_ratio):
            sequence = X.flatten(1, 2)
            reduced = reduce(X, p, sr_ratio) if sr_ratio > 1 else sequence
            return _attend(sequence, reduced, p, num_heads).reshape(X.shape)

    return add


def _squares(X: Tensor, p: dict[str, Tensor], R: int) -> Tensor:
    return spatial_reduction(X, p["W_S"], p["b_S"], R)


def _normalized(squares: Tensor, p: dict[str, Tensor]) -> Tensor:
    return layer_norm(squares, p["gamma"], p["beta"], 1e-5)


@sra.misconception("Nothing is reduced, whatever R is: where R > 1, keys and values come from SR(X).")
def _(X, p, num_heads, sr_ratio):
    sequence = X.flatten(1, 2)
    return _attend(sequence, sequence, p, num_heads).reshape(X.shape)


@sra.misconception("There is no case for R = 1: p has no W_S, b_S, gamma and beta then, and SR(X) = X.")
def _(X, p, num_heads, sr_ratio):
    reduced = _normalized(_squares(X, p, sr_ratio), p)
    return _attend(X.flatten(1, 2), reduced, p, num_heads).reshape(X.shape)


@_wrong("The LN behind the reduction is missing: SR(X) = LN(spatial_reduction(X)), with gamma and beta.")
def _(X, p, R):
    return _squares(X, p, R)


@_wrong("The LN stands before the reduction, and should stand behind it, SR(X) = LN(spatial_reduction(X)).")
def _(X, p, R):
    return _squares(_normalized(X, p), p, R)


@_wrong("ε of the LN is 1e-6, as in ViT: SegFormer's is 1e-5.")
def _(X, p, R):
    return layer_norm(_squares(X, p, R), p["gamma"], p["beta"], 1e-6)


@_wrong("γ and β have no effect in the LN: give it p['gamma'] and p['beta'].")
def _(X, p, R):
    return F.layer_norm(_squares(X, p, R), X.shape[-1:])


@_wrong("β is not added behind the LN: give it p['beta'].")
def _(X, p, R):
    return layer_norm(_squares(X, p, R), p["gamma"], torch.zeros_like(p["beta"]), 1e-5)


@_wrong("The mean is not subtracted (RMS normalization): LN is γ (x − μ) / √(σ² + ε) + β.")
def _(X, p, R):
    squares = _squares(X, p, R)
    mean_square = (squares**2).mean(dim=-1, keepdim=True)
    return p["gamma"] * squares / torch.sqrt(mean_square + 1e-5) + p["beta"]


@_wrong(FILLED_UP)
def _(X, p, R):
    return _normalized(_squares(_filled_up(X, R), p, R), p)


@_wrong("The LN's mean and variance run over all squares of an image: each square is normalized over its own features.")
def _(X, p, R):
    squares = _squares(X, p, R)
    return F.layer_norm(squares, squares.shape[1:]) * p["gamma"] + p["beta"]


@_wrong("The squares are averaged instead of projected (pooling): SR(X) projects R²·d numbers with W_S.")
def _(X, p, R):
    return _normalized(_whole(X, R).mean(dim=(2, 4)).flatten(1, 2), p)


@_wrong("Every R-th token is taken instead of a projection of its square: SR(X) projects R²·d numbers with W_S.")
def _(X, p, R):
    return _normalized(_whole(X, R)[:, :, 0, :, 0].flatten(1, 2), p)


@_wrong(STRIP)
def _(X, p, R):
    B, rows, _, columns, _, d = _whole(X, R).shape
    tokens = X.flatten(1, 2)[:, : rows * columns * R * R]
    return _normalized(tokens.reshape(B, rows * columns, R * R * d) @ p["W_S"] + p["b_S"], p)


def _reduced_otherwise(misconception):
    """Whoever writes the reduction out may make all its mistakes here."""

    @_wrong("The reduction is not the right one. " + misconception.sentence)
    def _(X, p, R):
        return _normalized(misconception.function(X, p["W_S"], p["b_S"], R), p)


for misconception in WRONG_SQUARES:
    if misconception.sentence not in (FILLED_UP, STRIP, BY_COLUMN):  # two are above; the order of keys does not matter
        _reduced_otherwise(misconception)


REDUCED_QUERIES = (
    "The queries are reduced as well, so that only the squares get an answer: every token asks, Q = X W_Q."
)


@sra.misconception(REDUCED_QUERIES)
def _(X, p, num_heads, sr_ratio):
    if sr_ratio == 1:
        return spatial_reduction_attention(X, p, num_heads, 1)
    reduced = _normalized(_squares(X, p, sr_ratio), p)
    rows, columns = X.shape[1] // sr_ratio, X.shape[2] // sr_ratio
    return _attend(reduced, reduced, p, num_heads).unflatten(1, (rows, columns))


# With answers for the squares alone there are too few for the grid: each layout stops in words of its own.


def _queries_reduced(lay_out):
    @sra.misconception(REDUCED_QUERIES)
    def stopped(X, p, num_heads, sr_ratio):
        reduced = _normalized(_squares(X, p, sr_ratio), p) if sr_ratio > 1 else X.flatten(1, 2)
        return lay_out(_attend(reduced, reduced, p, num_heads), X.shape)


def _reshaped(Z: Tensor, shape: tuple[int, ...]) -> Tensor:
    return Z.reshape(shape)


def _unflattened(Z: Tensor, shape: tuple[int, ...]) -> Tensor:
    return Z.unflatten(1, shape[1:3])


_queries_reduced(_reshaped)
_queries_reduced(_unflattened)


def _not_both_reduced(what: str) -> None:
    @sra.misconception(
        f"The {what} come from all tokens, so that there are more of them than of {'keys' if what == 'values' else 'values'}: "
        f"keys and values both come from SR(X)."
    )
    def stopped(X, p, num_heads, sr_ratio):
        sequence = X.flatten(1, 2)
        reduced = _normalized(_squares(X, p, sr_ratio), p) if sr_ratio > 1 else sequence
        Q = split_heads(sequence @ p["W_Q"], num_heads)
        K = split_heads((sequence if what == "keys" else reduced) @ p["W_K"], num_heads)
        V = split_heads((sequence if what == "values" else reduced) @ p["W_V"], num_heads)
        return (concatenate_heads(attention(Q, K, V)) @ p["W_O"]).reshape(X.shape)


_not_both_reduced("values")
_not_both_reduced("keys")


@sra.misconception(
    "The queries are reduced as well, and each square's answer is given to all of its tokens: every token asks for itself, "
    "Q = X W_Q."
)
def _(X, p, num_heads, sr_ratio):
    if sr_ratio == 1:
        return spatial_reduction_attention(X, p, num_heads, 1)
    reduced = _normalized(_squares(X, p, sr_ratio), p)
    rows, columns = X.shape[1] // sr_ratio, X.shape[2] // sr_ratio
    answers = _attend(reduced, reduced, p, num_heads).unflatten(1, (rows, columns))
    return F.interpolate(answers.permute(0, 3, 1, 2), X.shape[1:3]).permute(0, 2, 3, 1)


@sra.misconception("The queries come from normalized tokens: the LN belongs to SR(X) alone, Q = X W_Q.")
def _(X, p, num_heads, sr_ratio):
    sequence = reduced = X.flatten(1, 2)
    if sr_ratio > 1:
        reduced = _normalized(_squares(X, p, sr_ratio), p)
        sequence = _normalized(sequence, p)
    return _attend(sequence, reduced, p, num_heads).reshape(X.shape)


@sra.misconception("The values come from the squares before the LN: keys and values come from the same SR(X).")
def _(X, p, num_heads, sr_ratio):
    sequence = reduced = squares = X.flatten(1, 2)
    if sr_ratio > 1:
        squares = _squares(X, p, sr_ratio)
        reduced = _normalized(squares, p)
    Q, K = (split_heads(x @ p[W], num_heads) for x, W in ((sequence, "W_Q"), (reduced, "W_K")))
    heads = attention(Q, K, split_heads(squares @ p["W_V"], num_heads))
    return (concatenate_heads(heads) @ p["W_O"]).reshape(X.shape)


@sra.misconception("The keys come from the squares before the LN: keys and values come from the same SR(X).")
def _(X, p, num_heads, sr_ratio):
    sequence = reduced = squares = X.flatten(1, 2)
    if sr_ratio > 1:
        squares = _squares(X, p, sr_ratio)
        reduced = _normalized(squares, p)
    Q, K = (split_heads(x @ p[W], num_heads) for x, W in ((sequence, "W_Q"), (squares, "W_K")))
    heads = attention(Q, K, split_heads(reduced @ p["W_V"], num_heads))
    return (concatenate_heads(heads) @ p["W_O"]).reshape(X.shape)


@sra.misconception("Keys and values are projected first and reduced afterwards: reduce first, K = SR(X) W_K.")
def _(X, p, num_heads, sr_ratio):
    if sr_ratio == 1:
        return spatial_reduction_attention(X, p, num_heads, 1)
    Q = split_heads(X.flatten(1, 2) @ p["W_Q"], num_heads)
    K, V = (split_heads(_normalized(_squares(X @ p[W], p, sr_ratio), p), num_heads) for W in ("W_K", "W_V"))
    return (concatenate_heads(attention(Q, K, V)) @ p["W_O"]).reshape(X.shape)


@sra.misconception("X is added to the result (a residual connection): that is the encoder block's work.")
def _(X, p, num_heads, sr_ratio):
    return X + spatial_reduction_attention(X, p, num_heads, sr_ratio)


@sra.misconception(
    "The tokens are reduced and attend among themselves in every square (windows): every token sees all squares of the "
    "image."
)
def _(X, p, num_heads, sr_ratio):
    if sr_ratio == 1:
        return spatial_reduction_attention(X, p, num_heads, 1)
    B, rows, R, columns, _, d = _whole(X, sr_ratio).shape
    windows = _whole(X, R).transpose(2, 3).reshape(B * rows * columns, R * R, d)
    attended = multi_head_self_attention(windows, p["W_Q"], p["W_K"], p["W_V"], p["W_O"], num_heads)
    return attended.reshape(B, rows, columns, R, R, d).transpose(2, 3).reshape(B, rows * R, columns * R, d)


@sra.misconception(
    "X is not made a sequence: attention takes (B, n, d), so X.flatten(1, 2) comes before the heads are cut, and "
    "reshape(X.shape) at the end."
)
def _(X, p, num_heads, sr_ratio):
    reduced = _normalized(_squares(X, p, sr_ratio), p) if sr_ratio > 1 else X
    return _attend(X, reduced, p, num_heads)


@sra.misconception("The LN stands behind every R, and is part of the reduction: where R = 1, SR(X) = X without it.")
def _(X, p, num_heads, sr_ratio):
    d = X.shape[-1]
    reduced = X.flatten(1, 2)
    if sr_ratio > 1:
        reduced = spatial_reduction(X, p["W_S"], p["b_S"], sr_ratio)
    context = F.layer_norm(reduced, (d,), p.get("gamma"), p.get("beta"))
    Q = split_heads(X.flatten(1, 2) @ p["W_Q"], num_heads)
    K, V = split_heads(context @ p["W_K"], num_heads), split_heads(context @ p["W_V"], num_heads)
    return (concatenate_heads(attention(Q, K, V)) @ p["W_O"]).reshape(X.shape)


# ---- number_of_scores

count = Exercise(
    number_of_scores,
    takes={"H": "H", "W": "W", "sr_ratio": "R"},
    returns="",
    parts=(
        Part(
            "SegFormer's stages",
            1,
            Sizes("the first stage at 512²", H=128, W=128, R=8),
            Sizes("the second stage of a wide image", H=64, W=96, R=4),
            Sizes("the last stage", H=16, W=24, R=1),
        ),
        Part(
            "any grid, and what R does not divide",
            1,
            Sizes("a row and three columns left over", H=9, W=15, R=4),
            Sizes("a grid of one square with tokens left over on both sides", H=5, W=7, R=3),
            Sizes("one square", H=5, W=6, R=4),
            Sizes(H="large", R=2, W=9),
            Sizes(H=14, W="large", R=5),
        ),
    ),
    pinned={"R": 3},
)


@count.formulation
def _(H, W, sr_ratio):
    rows = (H - sr_ratio) // sr_ratio + 1
    columns = (W - sr_ratio) // sr_ratio + 1
    keys = rows * columns
    n = H * W
    return n * keys


@count.misconception("Nothing is reduced, n²: every token is a query, but only every square is a key.")
def _(H, W, sr_ratio):
    return (H * W) ** 2


@count.misconception(
    "n is divided by R²: where R does not divide the grid, whole squares are counted along each axis, ⌊H/R⌋ · ⌊W/R⌋."
)
def _(H, W, sr_ratio):
    return H * W * (H * W // sr_ratio**2)


@count.misconception(
    "n² is divided by R²: where R does not divide the grid, whole squares are counted along each axis, ⌊H/R⌋ · ⌊W/R⌋."
)
def _(H, W, sr_ratio):
    return (H * W) ** 2 // sr_ratio**2


@count.misconception(
    "// and * go from left to right, so that H // R * W // R is (H // R * W) // R: write (H // R) * (W // R)."
)
def _(H, W, sr_ratio):
    return H * W * (H // sr_ratio * W // sr_ratio)


@count.misconception("The keys are divided by R: a square of R × R tokens has R² of them, so divide each axis by R.")
def _(H, W, sr_ratio):
    return H * W * (H * W // sr_ratio)


@count.misconception("The result is a decimal number: squares that are not whole do not count; divide with //.")
def _(H, W, sr_ratio):
    return H * W * (H / sr_ratio) * (W / sr_ratio)


@count.misconception("Squares that are not full are counted (rounded up): what does not fill a square is left out.")
def _(H, W, sr_ratio):
    return H * W * (-(-H // sr_ratio) * -(-W // sr_ratio))


@count.misconception(
    "The rows and columns of squares are rounded to the nearest: only whole ones count, ⌊H/R⌋ · ⌊W/R⌋."
)
def _(H, W, sr_ratio):
    return H * W * round(H / sr_ratio) * round(W / sr_ratio)


@count.misconception("The queries are reduced as well: every token asks, and n · n' scores come of it.")
def _(H, W, sr_ratio):
    return ((H // sr_ratio) * (W // sr_ratio)) ** 2


@count.misconception("This is the number of keys: each of the n queries has a score with each of them.")
def _(H, W, sr_ratio):
    return (H // sr_ratio) * (W // sr_ratio)


@count.misconception("Queries and keys are added: every query has a score with every key, n · n'.")
def _(H, W, sr_ratio):
    return H * W + (H // sr_ratio) * (W // sr_ratio)


@count.misconception("Each score is counted twice: one head has one score for each query and key, n · n'.")
def _(H, W, sr_ratio):
    return 2 * H * W * (H // sr_ratio) * (W // sr_ratio)


@count.misconception("Only the height is reduced: rows and columns are, ⌊H/R⌋ · ⌊W/R⌋.")
def _(H, W, sr_ratio):
    return H * W * (H // sr_ratio) * W


@count.misconception("Each axis is divided by R²: divide it by R; the square has R² tokens then.")
def _(H, W, sr_ratio):
    return H * W * (H // sr_ratio**2) * (W // sr_ratio**2)


@count.misconception("The grid is taken to be square: W may differ from H.")
def _(H, W, sr_ratio):
    return H * H * (H // sr_ratio) ** 2


@count.misconception(
    "Brackets are missing: H * W * H // R * W // R divides all that stands before each //. Write (H // R) * (W // R)."
)
def _(H, W, sr_ratio):
    return H * W * H // sr_ratio * W // sr_ratio


@count.misconception(
    "Queries and keys are divided by R each: all n tokens are queries, and the keys are the whole squares, ⌊H/R⌋ · ⌊W/R⌋."
)
def _(H, W, sr_ratio):
    return (H * W // sr_ratio) ** 2


EXERCISES = (reduction, sra, count)
