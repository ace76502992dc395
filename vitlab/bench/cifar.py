"""What the chapter `cifar` says of our weights: `python -m vitlab.bench.cifar`, run in the repository's root.

book/results/vit-cifar10-answers.json holds what the weights answer on all test images of CIFAR-10: the counts of the
confusion matrix, how often they are right at each confidence, and the ten images on which they are surest and wrong,
whose pixels are in vit-cifar10-wrong.png beside it. book/results/transfer.json holds what they are worth on another
task: they are fine-tuned on a few handwritten digits, beside a model of the same config with random weights.
"""

from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from vitlab.bench import RESULTS
from vitlab.cifar import cross_entropy, learning_rate
from vitlab.data import Normalization, Split, load
from vitlab.files import write_json
from vitlab.machine import provenance
from vitlab.pretrained import hub
from vitlab.pretrained.predictor import Predictor, read_predictor
from vitlab.segmentation.metrics import confusion_matrix
from vitlab.training.run import which_weights
from vitlab.vit import ViT

WEIGHTS = hub.WEIGHTS / "vit-cifar10"
WRONG = 10  # images that are kept


@torch.no_grad()
def probabilities(predictor: Predictor, images: Tensor, batch_size: int = 250) -> Tensor:
    """What a classifier says of images (N, C, H, W) in uint8: (N, number of classes)."""
    parts = [predictor.model(predictor.normalization(part.float() / 255)) for part in images.split(batch_size)]
    return torch.cat(parts).softmax(dim=-1)


def answers(weights: Path, test: Split) -> tuple[dict[str, Any], Tensor]:
    """What weights say of test images.

    Returns:
        For JSON: accuracy, counts[label][prediction], confidence (ten bins: images, and how many of them are right) and
        wrong, the images that are surest and wrong; and the pixels of the latter, (WRONG, 3, H, W) in uint8.
    """
    predictor = read_predictor(weights)
    confidence, prediction = probabilities(predictor, test.images).max(dim=-1)
    right = prediction == test.labels
    bins = (10 * confidence).long().clamp(max=9)
    surest = torch.where(right, 0, confidence).topk(WRONG).indices
    classes = predictor.classes
    return {
        "accuracy": right.double().mean().item(),
        "classes": list(classes),
        "counts": confusion_matrix(prediction, test.labels, len(classes), 255).tolist(),
        "confidence": [{"images": int((bins == i).sum()), "right": int(right[bins == i].sum())} for i in range(10)],
        "wrong": [
            {
                "image": int(i),
                "label": classes[test.labels[i]],
                "prediction": classes[prediction[i]],
                "probability": confidence[i].item(),
            }
            for i in surest
        ],
    }, test.images[surest]


def as_photographs(images: Tensor, size: int) -> Tensor:
    """Grey images (N, 1, H, W) in uint8 with three equal channels, enlarged to size x size; in 0 ... 1."""
    grey = F.interpolate(images.float() / 255, size=(size, size), mode="bilinear", align_corners=False)
    return grey.expand(-1, 3, -1, -1)


def part_of(split: Split, per_class: int, seed: int) -> Tensor:
    """The numbers of `per_class` random images of every class."""
    order = torch.randperm(len(split), generator=torch.Generator().manual_seed(seed))
    chosen = [order[split.labels[order] == k][:per_class] for k in range(int(split.labels.max()) + 1)]
    return torch.cat(chosen)


def fine_tune(model: ViT, images: Tensor, labels: Tensor, steps: int, batch_size: int, peak: float, seed: int) -> None:
    """Train all weights of a model on images that are normalized."""
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.05)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, steps, steps // 10, peak)
        batch = torch.randint(len(images), (batch_size,), generator=generator)
        loss = cross_entropy(model(images[batch]), labels[batch], smoothing=0.1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def transfer(weights: Path, *, sizes: tuple[int, ...], seeds: int, steps: int, batch_size: int, peak: float) -> dict:
    """Fine-tune weights on parts of the digits, and the same model from random weights, in the same way.

    Args:
        weights: a folder with a ViT for images of three channels.
        sizes: how many digits of every class there are to train on.
        seeds: how many times, each with other digits and another random beginning.
        steps, batch_size, peak: of every training.
    """
    data = load("digits")
    size = ViT.from_pretrained(weights).config.image_size
    images, test_images = (as_photographs(split.images, size) for split in (data.train, data.test))
    normalization = Normalization(images.mean((0, 2, 3)), images.std((0, 2, 3)))
    runs = []
    for per_class in sizes:
        for seed in range(seeds):
            part = part_of(data.train, per_class, seed)
            for start in ("our weights", "random weights"):
                torch.manual_seed(seed)
                model = ViT.from_pretrained(weights, num_classes=10)
                if start == "random weights":
                    model = ViT(model.config)
                fine_tune(
                    model.train(), normalization(images[part]), data.train.labels[part], steps, batch_size, peak, seed
                )
                with torch.no_grad():
                    logits = torch.cat([model.eval()(normalization(x)) for x in test_images.split(90)])
                accuracy = (logits.argmax(dim=-1) == data.test.labels).double().mean().item()
                runs.append({"start": start, "per_class": per_class, "seed": seed, "accuracy": accuracy})
                print(runs[-1], flush=True)
    training = {"steps": steps, "batch_size": batch_size, "peak": peak}
    return {"data": data.card.name, "test_images": len(data.test), "training": training, "runs": runs}


def main() -> None:
    data = load("cifar10")
    found, pixels = answers(WEIGHTS, data.test)
    write_json(RESULTS / "vit-cifar10-answers.json", found | {"data": data.card.name, "where": provenance()})
    strip = torch.cat(list(pixels), dim=-1).permute(1, 2, 0)  # (WRONG, 3, H, W) -> (H, WRONG·W, 3)
    Image.fromarray(strip.numpy()).save(RESULTS / "vit-cifar10-wrong.png")
    moved = transfer(WEIGHTS, sizes=(4, 16), seeds=2, steps=60, batch_size=32, peak=5e-4)
    write_json(RESULTS / "transfer.json", moved | {"weights": which_weights(WEIGHTS), "where": provenance()})


if __name__ == "__main__":
    main()
