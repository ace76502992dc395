"""Five segmentation heads on the same small ViT: `python -m vitlab.bench.heads`, run in the repository's root.

Each head gets its own copy of vit-cifar10's encoder, and both are trained together on the same scenes of shapes, for
the same seconds of one core. The five take turns, a step each time to the one that has had the fewest seconds, so that
what disturbs one disturbs all. book/results/heads.json has what came out; heads.png beside it has what each head (in
its row) says of the first test scenes (in their columns), as numbers of classes.
"""

import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from vitlab.bench import RESULTS
from vitlab.bench.cifar import WEIGHTS
from vitlab.data import Dataset, Normalization, load
from vitlab.files import write_json
from vitlab.machine import provenance
from vitlab.segmentation import (
    AllMLPHead,
    ConfusionMatrix,
    LinearHead,
    SegmentationViT,
    SegmenterHead,
    SETRPUPHead,
    UPerNetHead,
)
from vitlab.segmentation.head import Head
from vitlab.training.operations import flop_of_forward
from vitlab.training.run import which_weights
from vitlab.vit import ViT

HEADS: dict[str, Callable[[int, int], Head]] = {  # name -> the head for d features and N classes
    "linear": LinearHead,
    "SETR-PUP": lambda d, N: SETRPUPHead(d, N, C=32),
    "UPerNet": lambda d, N: UPerNetHead(d, N, C=32),
    "Segmenter": SegmenterHead,
    "All-MLP": lambda d, N: AllMLPHead(d, N, C=32),
}
PICTURES = 4  # test scenes that are kept


@dataclass
class Run:
    """A training of one head, as far as it has come."""

    name: str
    model: SegmentationViT
    optimizer: torch.optim.Optimizer
    generator: torch.Generator
    seconds: float = 0.0  # of the core
    losses: list[float] = field(default_factory=list)


def begin(name: str, num_classes: int, seed: int) -> Run:
    torch.manual_seed(seed)
    vit = ViT.from_pretrained(WEIGHTS)
    model = SegmentationViT(vit, HEADS[name](vit.config.d, num_classes)).train()
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.05)
    return Run(name, model, optimizer, torch.Generator().manual_seed(seed))


def step(run: Run, images: Tensor, labels: Tensor, seconds: float, batch_size: int, peak: float) -> None:
    """One step of a training that may take `seconds`: the rate rises in the first tenth of them and falls to 0."""
    began = time.process_time()
    share = run.seconds / seconds
    for group in run.optimizer.param_groups:
        group["lr"] = peak * min(1, (share + 0.01) / 0.1) * (1 - share)
    batch = torch.randint(len(images), (batch_size,), generator=run.generator)
    loss = run.model.loss(images[batch], labels[batch])
    run.optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(run.model.parameters(), 1.0)
    run.optimizer.step()
    run.losses.append(loss.item())
    run.seconds += time.process_time() - began


def prepared(dataset: Dataset, normalization: Normalization) -> tuple[Tensor, Tensor, Tensor]:
    """Training images, their labels, and test images, as the model takes them."""
    images, test = (normalization(split.images.float() / 255) for split in (dataset.train, dataset.test))
    return images, dataset.train.labels.long(), test


def size_of(run: Run, image: Tensor) -> dict[str, int]:
    """Parameters and multiply-adds of a head and of the encoder; what only the training needs is not counted."""
    model, image = deepcopy(run.model).to("meta").eval(), image.to("meta")
    head, encoder = model.head, flop_of_forward(model.features, image)
    return {
        "parameters": sum(p.numel() for name, p in head.named_parameters() if not name.startswith("auxiliary")),
        "encoder_parameters": sum(p.numel() for p in model.parameters()) - sum(p.numel() for p in head.parameters()),
        "multiply_adds": (flop_of_forward(model, image) - encoder) // 2,
        "encoder_multiply_adds": encoder // 2,
    }


def tested(run: Run, images: Tensor, labels: Tensor, num_classes: int) -> tuple[dict[str, Any], Tensor]:
    """Measures on the test scenes, and what is said of the first of them, (PICTURES, H, W)."""
    run.model.eval()
    said = torch.cat([run.model.segment(part) for part in images.split(50)])
    matrix = ConfusionMatrix(num_classes)
    matrix.update(said, labels.long())
    measures = {"miou": matrix.mean_iou(), "pixel_accuracy": matrix.pixel_accuracy(), "iou": matrix.iou().tolist()}
    return measures, said[:PICTURES]


def measure(*, seconds: float, images: int, test_images: int, size: int, batch_size: int, peak: float, seed: int):
    """Train and test all heads: for JSON, and (heads, PICTURES, H, W) of classes."""
    data = load("shapes", images=images, test_images=test_images, size=size)
    normalization = Normalization(torch.full((3,), 0.5), torch.full((3,), 0.25))
    train, labels, test = prepared(data, normalization)
    runs = [begin(name, len(data.classes), seed) for name in HEADS]
    while (run := min(runs, key=lambda run: run.seconds)).seconds < seconds:
        step(run, train, labels, seconds, batch_size, peak)
    found, pictures = {}, []
    for run in runs:
        measures, said = tested(run, test, data.test.labels, len(data.classes))
        curve = [part.mean().item() for part in torch.tensor(run.losses).tensor_split(10)]
        counts = size_of(run, test[:1])
        found[run.name] = measures | counts | {"steps": len(run.losses), "seconds": run.seconds, "loss": curve}
        pictures.append(said)
        print(run.name, found[run.name], flush=True)
    training = {"seconds": seconds, "images": images, "batch_size": batch_size, "peak": peak, "seed": seed}
    result = {"data": data.card.name, "size": size, "test_images": test_images, "classes": list(data.classes)}
    return result | {"training": training, "heads": found}, torch.stack(pictures), data.palette


def main() -> None:
    torch.set_num_threads(1)
    found, pictures, palette = measure(
        seconds=45, images=4000, test_images=300, size=32, batch_size=16, peak=5e-4, seed=0
    )
    write_json(RESULTS / "heads.json", found | {"encoder": which_weights(WEIGHTS), "where": provenance()})
    rows = pictures.permute(0, 2, 1, 3).flatten(2).flatten(0, 1)  # (heads, scenes, H, W) -> (heads·H, scenes·W)
    image = Image.fromarray(rows.to(torch.uint8).numpy(), mode="P")
    image.putpalette(palette.flatten().tolist())
    image.save(RESULTS / "heads.png")


if __name__ == "__main__":
    main()
