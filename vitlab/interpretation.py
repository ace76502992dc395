"""What a ViT looks at: from the attention of its blocks to that of the whole model.

Lecture: "What do different blocks learn?", "Finding (Caron et al., 2021)".
Papers: Abnar and Zuidema, "Quantifying Attention Flow in Transformers", 2020; Dosovitskiy et al., 2021, section 4.5;
Caron et al., "Emerging Properties in Self-Supervised Vision Transformers", 2021.
"""

import torch
from torch import Tensor

from vitlab.steps import Steps
from vitlab.vit import ViT


def attention_rollout(maps: Tensor) -> Tensor:
    """How much of each token of the images reaches each token of the last block, through all blocks.

        Ā_l = 1/h Σ_j A'_l(j),    Ã_l = Ā_l / 2 + I / 2,    R = Ã_L ⋯ Ã_2 Ã_1

    The half that is the identity stands for the residual connection, by which a token keeps itself.

    Args:
        maps: (B, L, h, n, n), A' of every head of every block, block 1 first. `ViT.attention_maps` gives a list of L
            tensors (B, h, n, n), which `torch.stack(list, dim=1)` makes one of.

    Returns:
        (B, n, n), R: row i says what token i is made of. Every row sums to 1, as those of `maps` do.

    Source: Abnar and Zuidema, section 3.
    """
    L, n = maps.shape[1], maps.shape[-1]
    mean = maps.mean(dim=2)  # (B, L, h, n, n) -> (B, L, n, n)
    identity = torch.eye(n, dtype=maps.dtype, device=maps.device)
    mixed = mean / 2 + identity / 2  # (B, L, n, n)
    rollout = mixed[:, 0]  # (B, n, n)
    for block in range(1, L):
        rollout = mixed[:, block] @ rollout  # (B, n, n) @ (B, n, n) -> (B, n, n)
    return rollout


def mean_attention_distance(maps: Tensor, grid: tuple[int, int]) -> Tensor:
    """How far the patches look: the distance of each patch to every other, weighted by its attention.

        D_l(j) = 1/n Σ_i Σ_k a_ik |i - k| / Σ_k a_ik

    where i and k are patches on their grid, |i - k| is the distance of their centres, and a are the weights of block l
    and head j. The class token has no place on the grid and is left out.

    Args:
        maps: (B, L, h, n+1, n+1), the class token first.
        grid: rows and columns of patches, n together.

    Returns:
        (L, h), in patches, the mean over the images.

    Source: Dosovitskiy et al., 2021, section 4.5.
    """
    beside = (torch.arange(side, dtype=maps.dtype, device=maps.device) for side in grid)
    places = torch.cartesian_prod(*beside)  # (n, 2)
    distances = torch.cdist(places, places)  # (n, n)
    among_patches = maps[..., 1:, 1:]  # (B, L, h, n, n)
    weighted = (among_patches * distances).sum(dim=-1) / among_patches.sum(dim=-1)  # (B, L, h, n)
    return weighted.mean(dim=(0, 3))


def block_outputs(model: ViT, images: Tensor) -> Tensor:
    """The sequence that enters the first block, and what every block puts out: z_0, z_1 ... z_L of `encoder`.

    The last LN comes after them: it makes the z_L of `ViT.tokens` from the last of these.

    Args:
        images: (B, C, H, W), normalized.

    Returns:
        (B, L+1, n+1, d).
    """
    steps = Steps()
    model.tokens(images, steps)
    blocks = [steps[f"block_{number}"]["plus_ffn"] for number in range(1, model.config.depth + 1)]
    return torch.stack([steps["z_0"], *blocks], dim=1)


def logit_lens(model: ViT, outputs: Tensor) -> Tensor:
    """What the model would answer if it ended after each block: the last LN and the head, on the class token.

    Args:
        outputs: (B, L+1, n+1, d), of `block_outputs`.

    Returns:
        (B, L+1, N).

    Source: nostalgebraist, "interpreting GPT: the logit lens", 2020.
    """
    return model.classify(model.encoder.norm(outputs[:, :, 0]))


def linear_probe(features: Tensor, targets: Tensor, test_features: Tensor, penalty: float = 1e-3) -> Tensor:
    """What one linear layer can read: least squares with a small penalty, solved at once.

        W = argmin |X W - Y|² / m + penalty · |W|²

    Features are brought to mean 0 and deviation 1 first, so that the penalty means the same for all.

    Args:
        features: (m, d), X.
        targets: (m, k), Y: numbers to be read, or a 1 in the column of each class.
        test_features: (t, d).

    Returns:
        (t, k), what is read from `test_features`.

    Source: Alain and Bengio, "Understanding Intermediate Layers Using Linear Classifier Probes", 2017.
    """
    X, Y = features.double(), targets.double()
    mean, deviation, middle = X.mean(dim=0), X.std(dim=0) + 1e-6, Y.mean(dim=0)
    X = (X - mean) / deviation
    ridge = penalty * len(X) * torch.eye(X.shape[1], dtype=X.dtype, device=X.device)
    W = torch.linalg.solve(X.T @ X + ridge, X.T @ (Y - middle))  # (d, k)
    return ((test_features.double() - mean) / deviation) @ W + middle


def heaviest(weights: Tensor, mass: float) -> Tensor:
    """The fewest tokens that hold a share of the weight together: true where a token is one of them.

    Args:
        weights: (..., n), positive; each row is divided by its sum.
        mass: the share, 0 ... 1.

    Source: Caron et al., 2021, appendix D: they keep 60% of the mass.
    """
    shares, order = (weights / weights.sum(dim=-1, keepdim=True)).sort(dim=-1, descending=True)
    before = shares.cumsum(dim=-1) - shares  # what the heavier ones hold
    return torch.zeros_like(weights, dtype=torch.bool).scatter(-1, order, before < mass)


def jaccard(chosen: Tensor, wanted: Tensor) -> Tensor:
    """How well a set of places covers another: what both have, divided by what either has. (..., n) -> (...).

    Source: Jaccard, 1901; for attention, Caron et al., 2021, section 4.2.2.
    """
    both, either = (chosen & wanted).sum(dim=-1), (chosen | wanted).sum(dim=-1)
    return both / either.clamp(min=1)
