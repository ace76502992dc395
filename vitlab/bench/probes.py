"""What can be read from every block of our weights: `python -m vitlab.bench.probes`, run in the repository's root.

Linear probes on the tokens of CIFAR-10's test images, of which one part fits the probe and another one tests it. The
same is read from the same model with random weights. The numbers go to book/results/probes.json.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from vitlab.bench import RESULTS
from vitlab.bench.cifar import WEIGHTS
from vitlab.data import Split, load
from vitlab.embeddings import patchify
from vitlab.files import write_json
from vitlab.interpretation import block_outputs, linear_probe, logit_lens
from vitlab.machine import provenance
from vitlab.pretrained.predictor import read_predictor
from vitlab.training.run import which_weights
from vitlab.vit import ViT


def colours(images: Tensor, patch_size: int) -> Tensor:
    """The mean colour of every patch: (B, C, H, W) -> (B, n, C)."""
    patches = patchify(images, patch_size)  # (B, n, P²·C)
    return patches.unflatten(-1, (-1, images.shape[1])).mean(dim=-2)


def edges(images: Tensor, patch_size: int) -> Tensor:
    """How strong the edges of every patch are, and in which direction: (B, C, H, W) -> (B, n, 2).

    The gradient (x, y) of the brightness has the direction θ, and an edge looks the same from both sides: of each pixel
    (x² - y², 2xy), its squared length times (cos 2θ, sin 2θ), is averaged over the patch.
    """
    grey = images.mean(dim=1)  # (B, H, W)
    y, x = torch.gradient(grey, dim=(1, 2))
    directions = torch.stack([x**2 - y**2, 2 * x * y], dim=1)  # (B, 2, H, W)
    strength = (x**2 + y**2).mean(dim=(1, 2)).sqrt()  # (B,)
    return colours(directions / strength[:, None, None, None].clamp(min=1e-3), patch_size)


def explained(read: Tensor, true: Tensor) -> float:
    """The share of the variance that was read (R²): 1 for all of it, 0 for no more than the mean."""
    return (1 - (read - true).square().sum() / (true - true.mean(dim=0)).square().sum()).item()


def read_from(outputs: Tensor, images: Tensor, labels: Tensor, patch_size: int, count: int) -> dict[str, list[float]]:
    """What linear probes read from each of z_0 ... z_L; the first `count` images fit them, the others test them.

    Args:
        outputs: (B, L+1, n+1, d).
        images: (B, C, H, W), in 0 ... 1.
        labels: (B,).

    Returns:
        What is read -> a score for every block: an accuracy, or a share of variance.
    """
    scores: dict[str, list[float]] = {"class, from the class token": [], "class, from the mean of the patches": []}
    of_patches = {"colour of the patch": colours, "edges of the patch": edges}
    scores |= {name: [] for name in of_patches}
    one_hot = F.one_hot(labels, 10)
    for z in outputs.unbind(1):  # (B, n+1, d)
        for name, features in zip(scores, (z[:, 0], z[:, 1:].mean(dim=1)), strict=False):
            read = linear_probe(features[:count], one_hot[:count], features[count:], penalty=0.1)
            scores[name].append((read.argmax(dim=-1) == labels[count:]).double().mean().item())
        for name, measure in of_patches.items():
            tokens, true = z[:, 1::4], measure(images, patch_size)[:, ::4]  # a quarter of the patches is enough
            read = linear_probe(tokens[:count].flatten(0, 1), true[:count].flatten(0, 1), tokens[count:].flatten(0, 1))
            scores[name].append(explained(read, true[count:].flatten(0, 1).double()))
    return scores


@torch.no_grad()
def measure(weights: Path, test: Split, count: int, test_count: int) -> dict[str, Any]:
    """The scores of the trained and of random weights, and what the logit lens says of the trained ones."""
    predictor = read_predictor(weights)
    torch.manual_seed(0)
    models = {"trained": predictor.model, "random": ViT(predictor.model.config).eval()}
    labels = test.labels[: count + test_count]
    images = test.images[: count + test_count].float() / 255
    found: dict[str, Any] = {"images": count, "test_images": test_count}
    for name, model in models.items():
        parts = predictor.normalization(images).split(250)
        outputs = torch.cat([block_outputs(model, part) for part in parts])  # (B, L+1, n+1, d)
        found[name] = read_from(outputs, images, labels, model.config.patch_size, count)
        if name == "trained":
            right = logit_lens(model, outputs).argmax(dim=-1) == labels[:, None]  # (B, L+1)
            found["logit lens"] = right.double().mean(dim=0).tolist()
    return found


def main() -> None:
    data = load("cifar10")
    found = measure(WEIGHTS, data.test, 1500, 1000)
    found |= {"data": data.card.name, "weights": which_weights(WEIGHTS), "where": provenance()}
    write_json(RESULTS / "probes.json", found)


if __name__ == "__main__":
    main()
