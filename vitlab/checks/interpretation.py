"""Checks of the exercise `interpretation`: attention rollout."""

import torch
from torch import Generator, Tensor

from vitlab.checks.engine.diagnosis import sum_other_than_1
from vitlab.checks.engine.exercise import Exercise, Part, Sizes
from vitlab.interpretation import attention_rollout


def _maps(generator: Generator, sizes: dict[str, int], dtype: torch.dtype) -> tuple[Tensor]:
    """Attention weights: positive, every row with the sum 1, and far from even."""
    shape = [sizes[size] for size in ("B", "L", "h", "n", "n")]
    return (torch.randn(shape, generator=generator, dtype=dtype).mul(2).softmax(dim=-1),)


def _in_double(maps: Tensor) -> Tensor:
    return maps.double() / maps.double().sum(dim=-1, keepdim=True)


def _broken(rollout: Tensor) -> str:
    other = sum_other_than_1(rollout)
    return f"Each row of a rollout sums to 1; one of these sums to {other}." if other else ""


def product(mixed: Tensor) -> Tensor:
    """The product of all blocks, the last one leftmost: (B, L, n, n) -> (B, n, n)."""
    result = mixed[:, 0]
    for block in range(1, mixed.shape[1]):
        result = mixed[:, block] @ result
    return result


rollout = Exercise(
    attention_rollout,
    takes={"maps": "B L h n n"},
    returns="B n n",
    axes="image token token",
    draw=_maps,
    broken_property=_broken,
    parts=(
        Part(
            "one block",
            2,
            Sizes("one image, one block", B=1, L=1),
            Sizes("one block", L=1),
            Sizes("one block, one head", L=1, h=1),
        ),
        Part(
            "two blocks: their order",
            3,
            Sizes("two blocks", B=1, L=2),
            Sizes("two blocks, one head", L=2, h=1),
            Sizes("two blocks, many tokens", L=2, n="large"),
        ),
        Part(
            "all blocks",
            3,
            Sizes(L=5, h=3, n=4),
            Sizes("as many blocks as heads and tokens", L=3, h="L", n="L", B="L"),
            Sizes("many heads", h="large", L=3),
        ),
        # No gradients: who divides each row by its sum, which is 1, as the paper's code does, has others, and is right.
        Part("float64", 2, Sizes("float64", _in_double, L=4), Sizes("float64, many heads", _in_double, h="large", L=2)),
    ),
    given=(product,),
)


@rollout.formulation
def _(maps):
    identity = torch.eye(maps.shape[-1], dtype=maps.dtype)
    mean = maps.mean(dim=2)  # (B, L, n, n)
    mixed = mean / 2 + identity / 2
    return product(mixed)


@rollout.formulation
def _(maps):
    identity = torch.eye(maps.shape[-1], dtype=maps.dtype)
    mean = maps.sum(dim=2) / maps.shape[2]  # (B, L, n, n)
    added = mean + identity
    mixed = added / added.sum(dim=-1, keepdim=True)
    return product(mixed)


ORDER = "The product is in the wrong order: the last block stands leftmost, block 1 rightmost, Ã_L ⋯ Ã_2 Ã_1."
NO_IDENTITY = "The identity is missing: half of each block's matrix is I, for the residual connection by which a token keeps itself."
NO_HALVES = (
    "The identity is added whole, and nothing is halved: half the mean and half the identity, so that rows sum to 1."
)
ONE_BLOCK = "A block is left out: the product has one factor for each of the L blocks."
HEADS_SUMMED = "The heads are summed: take their mean, so that the rows still sum to 1."
LARGEST = "The heads are fused by their largest weight, and should be by their mean."
ENTRIES = "The blocks are multiplied entry by entry, and should be multiplied as matrices, @."


def of_blocks(maps):
    """The right Ã of every block, which the wrong versions are read with as if it were written out."""
    mixed = 0.5 * maps.mean(dim=2) + 0.5 * torch.eye(maps.shape[-1], dtype=maps.dtype)
    return mixed


@rollout.misconception(ORDER)
def _(maps):
    n = maps.shape[-1]
    mixed = 0.5 * maps.mean(dim=2) + 0.5 * torch.eye(n, dtype=maps.dtype)
    result = mixed[:, 0]
    for block in range(1, maps.shape[1]):
        result = result @ mixed[:, block]
    return result


@rollout.misconception(NO_IDENTITY)
def _(maps):
    return product(maps.mean(dim=2))


@rollout.misconception(NO_HALVES)
def _(maps):
    return product(maps.mean(dim=2) + torch.eye(maps.shape[-1], dtype=maps.dtype))


@rollout.misconception("The identity is added whole to half of the mean: both get one half.")
def _(maps):
    return product(0.5 * maps.mean(dim=2) + torch.eye(maps.shape[-1], dtype=maps.dtype))


@rollout.misconception(LARGEST)
def _(maps):
    return product(0.5 * maps.amax(dim=2) + 0.5 * torch.eye(maps.shape[-1], dtype=maps.dtype))


@rollout.misconception(LARGEST + " And the product is in the wrong order: the last block stands leftmost.")
def _(maps):
    mixed = 0.5 * maps.amax(dim=2) + 0.5 * torch.eye(maps.shape[-1], dtype=maps.dtype)
    return product(mixed.flip(1))


@rollout.misconception(
    "The heads are fused by their largest weight and each row divided by its sum: fuse them by their mean."
)
def _(maps):
    fused = maps.amax(dim=2) + torch.eye(maps.shape[-1], dtype=maps.dtype)
    return product(fused / fused.sum(dim=-1, keepdim=True))


@rollout.misconception("The heads are fused by their smallest weight, and should be by their mean.")
def _(maps):
    return product(0.5 * maps.amin(dim=2) + 0.5 * torch.eye(maps.shape[-1], dtype=maps.dtype))


@rollout.misconception(HEADS_SUMMED)
def _(maps):
    return product(0.5 * maps.sum(dim=2) + 0.5 * torch.eye(maps.shape[-1], dtype=maps.dtype))


@rollout.misconception("Only the first head is used: take the mean of all heads.")
def _(maps):
    return product(0.5 * maps[:, :, 0] + 0.5 * torch.eye(maps.shape[-1], dtype=maps.dtype))


@rollout.misconception(ENTRIES)
def _(maps):
    mixed = of_blocks(maps)
    return mixed.prod(dim=1)


@rollout.misconception("The blocks are averaged: multiply them, the last one leftmost.")
def _(maps):
    mixed = of_blocks(maps)
    return mixed.mean(dim=1)


@rollout.misconception("The blocks are added up: multiply them, the last one leftmost.")
def _(maps):
    mixed = of_blocks(maps)
    return mixed.sum(dim=1)


@rollout.misconception(
    "The mean is taken over the blocks, and the product runs over the heads: maps are (B, L, h, n, n), blocks before heads."
)
def _(maps):
    return product(0.5 * maps.mean(dim=1) + 0.5 * torch.eye(maps.shape[-1], dtype=maps.dtype))


@rollout.misconception(ONE_BLOCK + " The last one is missing here.")
def _(maps):
    mixed = of_blocks(maps)
    identity = torch.eye(maps.shape[-1], dtype=maps.dtype).expand(len(maps), -1, -1)
    return product(torch.cat([identity.unsqueeze(1), mixed[:, :-1]], dim=1))


@rollout.misconception(ONE_BLOCK + " The first one is missing here.")
def _(maps):
    mixed = of_blocks(maps)
    identity = torch.eye(maps.shape[-1], dtype=maps.dtype).expand(len(maps), -1, -1)
    return product(torch.cat([identity.unsqueeze(1), mixed[:, 1:]], dim=1))


@rollout.misconception(
    ONE_BLOCK + " The last one is missing here: blocks are counted from 0, so range(1, L) ends with it."
)
def _(maps):
    mixed = of_blocks(maps)
    last = max(mixed.shape[1] - 1, 1)
    return product(mixed[:, :last])


@rollout.misconception(ONE_BLOCK + " Block 2 is missing here: blocks are counted from 0, so that it is number 1.")
def _(maps):
    mixed = of_blocks(maps)
    return product(torch.cat([mixed[:, :1], mixed[:, 2:]], dim=1))


@rollout.misconception(
    "The loop runs past the last block: there are L, counted from 0, so that a product that begins with block 0 goes on with "
    "range(1, L)."
)
def _(maps):
    mixed = of_blocks(maps)
    result = mixed[:, 0]
    for block in range(1, maps.shape[1] + 1):
        result = mixed[:, block] @ result
    return result


@rollout.misconception(
    "The first block is multiplied twice, and the last one is missing: a product that begins with block 0 goes on with "
    "range(1, L)."
)
def _(maps):
    mixed = of_blocks(maps)
    last = max(mixed.shape[1] - 1, 1)
    result = product(mixed[:, :last])
    return result @ mixed[:, 0] if maps.shape[1] > 1 else result


@rollout.misconception("The last block is multiplied twice: a product that begins with it goes on with the one before.")
def _(maps):
    mixed = of_blocks(maps)
    return product(torch.cat([mixed, mixed[:, -1:]], dim=1))


@rollout.misconception(
    "Only the last two blocks are multiplied: each block is multiplied with the product of all that come before it."
)
def _(maps):
    mixed = of_blocks(maps)
    return product(mixed[:, -2:])


@rollout.misconception("The first block is multiplied twice: a product that begins with it goes on with block 2.")
def _(maps):
    mixed = of_blocks(maps)
    return product(torch.cat([mixed[:, :1], mixed], dim=1))


@rollout.misconception("These are the last block's weights alone: the rollout is the product of all blocks.")
def _(maps):
    return 0.5 * maps[:, -1].mean(dim=1) + 0.5 * torch.eye(maps.shape[-1], dtype=maps.dtype)


@rollout.misconception("The result is transposed: row i says what token i of the last block is made of.")
def _(maps):
    mixed = of_blocks(maps)
    return product(mixed).transpose(1, 2)


ONCE = (
    "The identity is added once, at the end: every block has its residual connection, so it belongs into each factor."
)


@rollout.misconception(ONCE)
def _(maps):
    return 0.5 * product(maps.mean(dim=2)) + 0.5 * torch.eye(maps.shape[-1], dtype=maps.dtype)


@rollout.misconception(ONCE + " " + HEADS_SUMMED)
def _(maps):
    return 0.5 * product(maps.sum(dim=2)) + 0.5 * torch.eye(maps.shape[-1], dtype=maps.dtype)


@rollout.misconception(
    "The identity is added to the product so far: it belongs into the factor of each block, Ã_l = Ā_l / 2 + I / 2, which is then "
    "multiplied."
)
def _(maps):
    identity = torch.eye(maps.shape[-1], dtype=maps.dtype)
    result = identity
    for block in range(maps.shape[1]):
        result = 0.5 * maps[:, block].mean(dim=1) @ result + 0.5 * identity
    return result


@rollout.misconception(
    "The sums of the rows have lost their axis: keep it with keepdim=True, so that each row is divided by its own sum."
)
def _(maps):
    added = maps.mean(dim=2) + torch.eye(maps.shape[-1], dtype=maps.dtype)
    return product(added / added.sum(dim=-1))


@rollout.misconception("A matrix of ones stands where the identity should: torch.eye, with ones on the diagonal only.")
def _(maps):
    return product(0.5 * maps.mean(dim=2) + 0.5)


@rollout.misconception(
    "The product is taken for each head, and the heads averaged afterwards: average the heads of each block first."
)
def _(maps):
    mixed = 0.5 * maps + 0.5 * torch.eye(maps.shape[-1], dtype=maps.dtype)  # (B, L, h, n, n)
    result = mixed[:, 0]
    for block in range(1, maps.shape[1]):
        result = mixed[:, block] @ result
    return result.mean(dim=1)


@rollout.misconception("The softmax is applied again: the maps are weights already, and each row sums to 1.")
def _(maps):
    return product(0.5 * maps.softmax(dim=-1).mean(dim=2) + 0.5 * torch.eye(maps.shape[-1], dtype=maps.dtype))


@rollout.misconception(
    "The columns are brought to the sum 1, and not the rows: each token's shares sum to 1 by themselves."
)
def _(maps):
    added = maps.mean(dim=2) + torch.eye(maps.shape[-1], dtype=maps.dtype)
    return product(added / added.sum(dim=-2, keepdim=True))


@rollout.misconception("The images are averaged: each has a rollout of its own.")
def _(maps):
    mixed = of_blocks(maps)
    return product(mixed).mean(dim=0, keepdim=True).expand(len(maps), -1, -1)


@rollout.misconception("Only the class token's row is returned: return the whole matrix, (B, n, n).")
def _(maps):
    mixed = of_blocks(maps)
    return product(mixed)[:, 0]


EXERCISES = (rollout,)
