"""Does attention find objects without labels? `python -m vitlab.bench.distillation`, run in the repository's root.

The finding of Caron et al. (2021), tried from nothing at a size that one core can pay: a small ViT is trained by
self-distillation on scenes of shapes without looking at their masks or classes; a second one is trained to say which
classes are in a scene; a third keeps its random weights. The class token's attention in the last block of each is
compared with the masks of scenes that none has seen. Two short runs show how self-distillation collapses when centring
or sharpening is left out; a last one shows what changes if the background tells nothing, for which its masks are looked
at. book/results/distillation.json is written after each seed; all of it takes about a quarter of an hour of one core.

Source: Caron et al., "Emerging Properties in Self-Supervised Vision Transformers", 2021, section 3 and algorithm 1.
"""

import math
import time
from copy import deepcopy
from dataclasses import asdict
from typing import Any

import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from torch.nn import functional as F

from vitlab.bench import RESULTS
from vitlab.cifar import learning_rate
from vitlab.data import load
from vitlab.data.dataset import Split
from vitlab.files import write_json
from vitlab.interpretation import heaviest, jaccard, linear_probe
from vitlab.machine import provenance
from vitlab.training.augment.geometry import scale_and_crop, shift_and_flip, warp
from vitlab.vit import ViT, ViTConfig

CONFIG = ViTConfig(depth=3, d=64, num_heads=4, patch_size=4, image_size=32, num_classes=0)
GLOBAL, LOCAL = (2, 24, (0.5, 1.0)), (4, 12, (0.2, 0.6))  # how many views, their side in pixels, their share of a scene
K = 256  # outputs of the projection
STUDENT, TEACHER = 0.1, 0.04  # temperatures
COLOURS = 0.25  # how much the views' colours are mixed
MASS = 0.6  # of the attention that is kept
FIT = 1000  # training scenes on which the best head and the probe are found
PICTURES = 2  # test scenes whose attention is kept


def views(scenes: Tensor, count: int, side: int, area: tuple[float, float]) -> Tensor:
    """Square pieces of every scene, at random places, mirrored or not, each in colours of its own.

    Args:
        scenes: (B, 3, H, H), with mean 0; or (B, 4, H, H), the last channel a mask, outside of which each view gets a
            plain colour of its own.
        count: how many of every scene.
        side: of a view, in pixels.
        area: the smallest and the largest share of the scene that a view shows.

    Returns:
        (count, B, 3, side, side).
    """
    x = scenes.repeat(count, 1, 1, 1)  # (count·B, 3 or 4, H, H)
    n, size = len(x), x.shape[-2:]
    scale = side / (size[0] * torch.empty(n).uniform_(*area).sqrt())
    where = scale_and_crop(scale, torch.rand(n, 2), size, (side, side))
    x = warp(x, where @ shift_and_flip(torch.zeros(n, 2), torch.rand(n) < 0.5), (side, side), fill=0.0)
    x, inside = x[:, :3], x[:, 3:]
    mixed = torch.eye(3) + COLOURS * torch.randn(n, 3, 3)  # each new colour is a mixture of the three old ones
    x = torch.einsum("nij,njhw->nihw", mixed, x) + COLOURS * torch.randn(n, 3, 1, 1)
    x = torch.lerp(torch.randn(n, 3, 1, 1), x, inside) if inside.shape[1] else x
    return x.unflatten(0, (count, -1))  # (count, B, 3, side, side)


class Projection(nn.Module):
    """From the class token to K scores: an MLP, its output brought to length 1, and its cosines with K directions.

    Shapes: (B, d) -> (B, K).
    """

    def __init__(self, d: int, hidden: int = 256, bottleneck: int = 64):
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(d, hidden), nn.GELU(), nn.Linear(hidden, bottleneck))
        self.directions = nn.Parameter(torch.randn(K, bottleneck))

    def forward(self, z: Tensor) -> Tensor:
        return F.normalize(self.mlp(z), dim=-1) @ F.normalize(self.directions, dim=-1).T


class Network(nn.Module):
    """A ViT and what follows it: (..., 3, H, W) -> (..., outputs). The ViT's products are in bfloat16 in training."""

    def __init__(self, vit: ViT, head: nn.Module):
        super().__init__()
        self.vit, self.head = vit, head

    def forward(self, images: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=torch.is_grad_enabled()):
            z = self.vit(images.flatten(0, -4))  # (..., 3, H, W) -> (N, d)
        return self.head(z.float()).unflatten(0, images.shape[:-3])  # (..., outputs)


def entropy(p: Tensor) -> Tensor:
    """The mean entropy of distributions (..., K), in nats."""
    return torch.special.entr(p).sum(dim=-1).mean()


def optimizer_of(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW(model.parameters(), weight_decay=0.04)


def update(model: nn.Module, optimizer: torch.optim.Optimizer, loss: Tensor, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 3.0)
    optimizer.step()


def distill(
    scenes: Tensor,
    *,
    steps: int,
    batch_size: int,
    peak: float,
    seed: int,
    centring: bool = True,
    sharpening: bool = True,
) -> tuple[ViT, dict[str, list[float]]]:
    """Train a student to say of every view what its teacher says of a global view of the same scene.

    Args:
        scenes: (N, 3 or 4, H, H), as `views` takes them.
        centring: whether the teacher's mean output is subtracted from its outputs.
        sharpening: whether the teacher's temperature is lower than the student's.

    Returns:
        The teacher; and of every step the entropy of what it said, and the KL divergence of what the student said.
    """
    torch.manual_seed(seed)
    student = Network(ViT(CONFIG), Projection(CONFIG.d))
    teacher = deepcopy(student)
    optimizer, centre = optimizer_of(student), torch.zeros(K)
    curves: dict[str, list[float]] = {"entropy": [], "kl": []}
    for step in range(steps):
        batch = scenes[torch.randint(len(scenes), (batch_size,))]
        large, small = views(batch, *GLOBAL), views(batch, *LOCAL)
        with torch.no_grad():
            t = teacher(large)  # (2, B, K)
        said = ((t - centre) / (TEACHER if sharpening else STUDENT)).softmax(dim=-1)
        s = (torch.cat([student(large), student(small)]) / STUDENT).log_softmax(dim=-1)  # (2 + 4, B, K)
        cross = -torch.einsum("tbk,sbk->ts", said, s) / batch_size  # (2, 6): of every pair of views
        loss = cross[~torch.eye(*cross.shape, dtype=torch.bool)].mean()  # no view is compared with itself
        update(student, optimizer, loss, learning_rate(step, steps, steps // 10, peak))
        momentum = 1 - 0.01 * (1 + math.cos(math.pi * step / steps)) / 2  # from 0.99 to 1
        with torch.no_grad():
            for old, new in zip(teacher.parameters(), student.parameters(), strict=True):
                old.lerp_(new, 1 - momentum)
            if centring:
                centre.lerp_(t.mean(dim=(0, 1)), 0.1)
        curves["entropy"].append(entropy(said).item())
        curves["kl"].append(loss.item() - curves["entropy"][-1])
    return teacher.vit, curves


def supervise(scenes: Tensor, present: Tensor, *, steps: int, batch_size: int, peak: float, seed: int) -> ViT:
    """Train the same ViT to say which classes are in a whole scene; `present` is (N, classes), of 0 and 1."""
    torch.manual_seed(seed)
    model = Network(ViT(CONFIG), nn.Linear(CONFIG.d, present.shape[1]))
    optimizer = optimizer_of(model)
    for step in range(steps):
        batch = torch.randint(len(scenes), (batch_size,))
        (x,) = views(scenes[batch], 1, scenes.shape[-1], (1.0, 1.0))
        loss = F.binary_cross_entropy_with_logits(model(x), present[batch])
        update(model, optimizer, loss, learning_rate(step, steps, steps // 10, peak))
    return model.vit


def prepared(split: Split) -> tuple[Tensor, Tensor, Tensor]:
    """Scenes (N, 3, H, W); which patches are more than half an object's, (N, n); which classes are there, (N, 5)."""
    objects = F.avg_pool2d((split.labels > 0).float(), CONFIG.patch_size).flatten(1) > 0.5
    present = torch.stack([(split.labels == k).flatten(1).any(dim=1) for k in range(1, 6)], dim=1)
    return (split.images.float() / 255 - 0.5) / 0.25, objects, present.float()


@torch.no_grad()
def class_attention(model: ViT, scenes: Tensor) -> Tensor:
    """What the class token looks at in the last block: (B, 3, H, W) -> (B, h, n)."""
    return torch.cat([model.attention_maps(part)[-1][:, :, 0, 1:] for part in scenes.split(100)])


def score(attention: Tensor, objects: Tensor) -> Tensor:
    """The mean Jaccard index of every head: (B, h, n) and (B, n) -> (h,)."""
    return jaccard(heaviest(attention, MASS), objects[:, None]).mean(dim=0)


def of_both(attention: Tensor, objects: Tensor) -> dict[str, float]:
    """The mean score of all heads, on the objects and on the background."""
    return {"objects": score(attention, objects).mean().item(), "background": score(attention, ~objects).mean().item()}


def baselines(objects: Tensor) -> dict[str, dict[str, float]]:
    """What attention scores that no model has computed."""
    side = CONFIG.image_size // CONFIG.patch_size
    y, x = torch.meshgrid(*[torch.arange(side) - (side - 1) / 2] * 2, indexing="ij")
    ways = {
        "patches at random": 1 + 1e-3 * torch.rand(objects.shape, generator=torch.Generator().manual_seed(0)),
        "middle of the scene": 1 - 1e-3 * (y**2 + x**2).flatten().expand(objects.shape),
        "evenly over the objects": 1e-9 + objects,
        "evenly over the background": 1e-9 + ~objects,
    }
    return {name: of_both(attention[:, None], objects) for name, attention in ways.items()}


def ordered(read: Tensor, true: Tensor) -> float:
    """The area under the ROC curve, mean over columns: how often a scene with a class gets more than one without."""
    return float(roc_auc_score(true.numpy(), read.numpy()))


def measured(model: ViT, train: tuple[Tensor, ...], test: tuple[Tensor, ...]) -> dict[str, Any]:
    """The heads' scores on test scenes, the best head chosen on training scenes; and what a probe reads of classes."""
    scenes, objects, present = train
    model.eval()
    best = score(class_attention(model, scenes), objects).argmax()
    attention = class_attention(model, test[0])  # (B, h, n)
    heads = score(attention, test[1])  # (h,)
    with torch.no_grad():
        read = linear_probe(model(scenes), present, model(test[0]), penalty=0.01)
    return {
        "heads": heads.tolist(),
        "best": heads[best].item(),
        "mean": of_both(attention, test[1]),
        "even_over": entropy(attention / attention.sum(dim=-1, keepdim=True)).exp().item(),  # as many patches
        "probe": ordered(read, test[2]),
        "maps": [[[round(x, 4) for x in head] for head in scene] for scene in attention[:PICTURES].tolist()],
    }


def in_pieces(curves: dict[str, list[float]]) -> dict[str, list[float]]:
    """Means over fifty pieces of a training."""
    return {name: [x.mean().item() for x in torch.tensor(each).tensor_split(50)] for name, each in curves.items()}


def one_seed(train: tuple[Tensor, ...], test: tuple[Tensor, ...], *, steps: int, **training: Any) -> dict[str, Any]:
    """Random, supervised and self-supervised weights, measured; all three begin with the same random numbers.

    Twice as many steps of the supervised training take about as long as those of self-distillation.
    """
    torch.manual_seed(training["seed"])
    models, seconds = {"random": ViT(CONFIG)}, {"random": 0.0}
    began = time.process_time()
    models["supervised"] = supervise(train[0], train[2], steps=2 * steps, **training)
    seconds["supervised"] = time.process_time() - began
    models["self-supervised"], curves = distill(train[0], steps=steps, **training)
    seconds["self-supervised"] = time.process_time() - began - seconds["supervised"]
    part = tuple(x[:FIT] for x in train)
    rows = {name: measured(model, part, test) | {"seconds": seconds[name]} for name, model in models.items()}
    return {"seed": training["seed"], "models": rows, "curves": in_pieces(curves)}


def main() -> None:
    torch.set_num_threads(1)
    data = load("shapes", images=4000, test_images=300, size=CONFIG.image_size)
    train, test = prepared(data.train), prepared(data.test)
    training = {"steps": 400, "batch_size": 96, "peak": 2e-3}
    short = training | {"steps": 100}
    counts = {"images": len(train[0]), "test_images": len(test[0]), "views": GLOBAL[0] + LOCAL[0], "outputs": K}
    found: dict[str, Any] = {"data": data.card.name} | counts | {"training": training, "collapse_steps": short["steps"]}
    found |= {"vit": asdict(CONFIG), "baselines": baselines(test[1]), "collapse": {}, "runs": []}
    for left_out in ("centring", "sharpening"):
        _, curves = distill(train[0], seed=0, **short, **{left_out: False})
        found["collapse"][left_out] = in_pieces(curves)
    with_masks = torch.cat([train[0], (data.train.labels > 0)[:, None].float()], dim=1)  # (N, 4, H, W)
    model, _ = distill(with_masks, seed=0, **training)
    found["plain_backgrounds"] = measured(model, tuple(x[:FIT] for x in train), test)
    for seed in range(3):
        found["runs"].append(one_seed(train, test, seed=seed, **training))
        write_json(RESULTS / "distillation.json", found | {"where": provenance()})


if __name__ == "__main__":
    main()
