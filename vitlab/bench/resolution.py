"""A model used at sizes that it was not trained at: `python -m vitlab.bench.resolution`, run in the repository's root.

Small models name the digit that a token belongs to. They differ only in how a token may learn where it is: from
learned positions, which are interpolated for another grid; not at all; from a Mix-FFN with zeros beyond the border;
from a Mix-FFN with copies of the border, which shows a token its neighbours but hides the border.

Each digit, 8 x 8 pixels, lies somewhere in a cell of 16 x 16, whole tokens from its border. The models are trained on
four cells at a time, that is on grids of 8 x 8 tokens; two kinds also on one cell at a time, 4 x 4 tokens. Then the
same cells with the same digits, none of which was seen in training, go through the model 1, 4, 8 and 16 at a time, so
that nothing differs but the grid. Some minutes on one core; the numbers go to book/results/resolution.json.
"""

import math
import time
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from vitlab.bench import RESULTS
from vitlab.data.digits import load
from vitlab.embeddings import interpolate_positions
from vitlab.encoder import EncoderBlock, initialize
from vitlab.ffn import FeedForward
from vitlab.files import write_json
from vitlab.machine import provenance
from vitlab.mix_ffn import MixFeedForward
from vitlab.sra import SpatialReductionAttention

CELL, PATCH = 16, 4  # pixels
GRIDS = ((1, 1), (2, 2), (2, 4), (4, 4))  # cells below and beside each other that are seen at once
D, HEADS, DEPTH, STEPS = 32, 4, 2, 500
LEARNED, NONE, ZEROS, COPIES = "learned positions", "no positions", "Mix-FFN, zeros", "Mix-FFN, copies"
BATCH, SEEDS = 16, (0, 1, 2)


class WithCopies(MixFeedForward):
    """A Mix-FFN whose border is continued by copies of the tokens there."""

    def forward(self, Z: Tensor, steps: object = None) -> Tensor:
        features = F.pad(self.expand(Z).permute(0, 3, 1, 2), (1, 1, 1, 1), "replicate")  # (B, d_ff, H+2, W+2)
        convolved = F.conv2d(features, self.depthwise.weight, self.depthwise.bias, groups=features.shape[1])
        return self.compress(F.gelu(convolved.permute(0, 2, 3, 1)))  # (B, H, W, d)


FFNS = {LEARNED: FeedForward, NONE: FeedForward, ZEROS: MixFeedForward, COPIES: WithCopies}
TRAININGS = {(2, 2): tuple(FFNS), (1, 1): (LEARNED, ZEROS)}  # the cells of a training image -> what is trained on it


class Reader(nn.Module):
    """Patches, pre-LN blocks on the grid, LN, a linear layer: (B, 1, H, W) -> (B, rows, columns, 10)."""

    def __init__(self, kind: str, grid: tuple[int, int]):
        super().__init__()
        self.grid = grid  # that it is trained on; only learned positions ask for it
        self.patches = nn.Conv2d(1, D, PATCH, stride=PATCH)
        self.blocks = nn.Sequential(
            *[EncoderBlock(D, SpatialReductionAttention(D, HEADS, 1), FFNS[kind](D, 4 * D)) for _ in range(DEPTH)]
        )
        self.head = nn.Sequential(nn.LayerNorm(D), nn.Linear(D, 10))
        self.apply(initialize)
        # the row of the class embedding, which is not used here, and one for every patch
        self.positions = nn.Parameter(0.1 * torch.randn(1 + math.prod(self.grid), D)) if kind == LEARNED else None

    def forward(self, images: Tensor) -> Tensor:
        Z = self.patches(images).permute(0, 2, 3, 1)  # (B, rows, columns, d)
        if self.positions is not None:
            grid = (Z.shape[1], Z.shape[2])
            Z = Z + interpolate_positions(self.positions, self.grid, grid)[1:].reshape(*grid, D)
        return self.head(self.blocks(Z))


def scatter(digits: Tensor, generator: Generator) -> Tensor:
    """Each digit at a random place of its cell, whole tokens from the border: (B, 1, 8, 8) -> (B, 1, 16, 16)."""
    cells = torch.zeros(len(digits), 1, CELL, CELL)
    places = PATCH * torch.randint((CELL - 8) // PATCH + 1, (len(digits), 2), generator=generator)
    for cell, digit, (y, x) in zip(cells, digits, places.tolist(), strict=True):
        cell[:, y : y + 8, x : x + 8] = digit
    return cells


def inked(cells: Tensor) -> Tensor:
    """The patches that belong to a digit: (B, 1, H, W) -> (B, rows, columns)."""
    return F.avg_pool2d(cells, PATCH)[:, 0] > 0.1


def laid_out(cells: Tensor, rows: int, columns: int) -> Tensor:
    """Cells below and beside each other: (B·rows·columns, ..., h, w) -> (B, ..., rows·h, columns·w)."""
    grid = cells.unflatten(0, (-1, rows, columns))  # (B, rows, columns, ..., h, w)
    return grid.movedim(1, -3).movedim(1, -2).flatten(-4, -3).flatten(-2)  # (B, ..., rows·h, columns·w)


def of_tokens(labels: Tensor, rows: int, columns: int) -> Tensor:
    """The digit of the cell that a token lies in: (B·rows·columns,) -> (B, rows of tokens, columns of tokens)."""
    return laid_out(labels[:, None, None].expand(-1, CELL // PATCH, CELL // PATCH), rows, columns)


def trained(kind: str, cells: tuple[int, int], digits: Tensor, labels: Tensor, seed: int, steps: int) -> Reader:
    """A model after AdamW, a short warm-up, half a cosine; the loss is that of the inked tokens."""
    torch.manual_seed(seed)
    generator = Generator().manual_seed(seed)
    model = Reader(kind, (cells[0] * CELL // PATCH, cells[1] * CELL // PATCH))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.05)
    for step in range(steps):
        rate = 3e-3 * min(1, (step + 1) / 40) * (1 + math.cos(math.pi * step / steps)) / 2
        optimizer.param_groups[0]["lr"] = rate
        chosen = torch.randint(len(digits), (BATCH * math.prod(cells),), generator=generator)
        images = laid_out(scatter(digits[chosen], generator), *cells)
        ink = inked(images)
        loss = F.cross_entropy(model(images)[ink], of_tokens(labels[chosen], *cells)[ink])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model


@torch.no_grad()
def accuracy(model: nn.Module, cells: Tensor, labels: Tensor, rows: int, columns: int) -> float:
    """The share of inked tokens whose digit is named right, with rows x columns cells seen at once."""
    images = laid_out(cells, rows, columns)
    right = model(images).argmax(dim=-1) == of_tokens(labels, rows, columns)
    return right[inked(images)].double().mean().item()


def measure(steps: int = STEPS, seeds: tuple[int, ...] = SEEDS) -> dict[str, Any]:
    """What was trained on -> the kind of model -> the grid of cells -> the accuracy of every seed."""
    data = load()
    digits, test_digits = data.train.images / 255, data.test.images / 255
    count = len(test_digits) // 16 * 16  # whole layouts
    cells, labels = scatter(test_digits[:count], Generator().manual_seed(100)), data.test.labels[:count]
    found: dict[str, Any] = {}
    for on, kinds in TRAININGS.items():
        of_training = found[f"{on[0]} x {on[1]}"] = {}
        for kind in kinds:
            models = [trained(kind, on, digits, data.train.labels, seed, steps) for seed in seeds]
            of_training[kind] = {
                f"{rows} x {columns}": [accuracy(model, cells, labels, rows, columns) for model in models]
                for rows, columns in GRIDS
            }
    return {"accuracy": found, "test_digits": count, "steps": steps, "seeds": list(seeds)}


def main() -> None:
    start = time.process_time()
    found = measure()
    found |= {"cell": CELL, "patch_size": PATCH, "batch": BATCH, "d": D, "depth": DEPTH, "data": "digits"}
    write_json(
        RESULTS / "resolution.json", found | {"processor_seconds": time.process_time() - start, "where": provenance()}
    )


if __name__ == "__main__":
    main()
