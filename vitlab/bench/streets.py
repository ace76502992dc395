"""What the chapter `ade20k` says of our model for streets: `python -m vitlab.bench.streets`, in the repository's root.

It takes CamVid, a folder of which VITLAB_DATA has to name. book/results/streets.json holds how often the pixels of each
class are called by each name, over all test photographs, and how many of the mistakes lie at the edge of something.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from vitlab.bench import RESULTS
from vitlab.data import IGNORE, Split, load
from vitlab.files import write_json
from vitlab.machine import provenance
from vitlab.pretrained import hub
from vitlab.pretrained.predictor import Predictor, read_predictor
from vitlab.segmentation.metrics import ConfusionMatrix
from vitlab.training.recipe import read_recipe
from vitlab.training.run import which_weights

MODEL, RECIPE = "segformer-camvid", "camvid-fine-cpu"
NEAR = 2  # pixels to another label: an edge


def edges(labels: Tensor, near: int = NEAR) -> Tensor:
    """Where another label lies within `near` pixels, across or along: (H, W) -> (H, W), booleans."""
    x = labels[None, None].float()
    highest = F.max_pool2d(x, 2 * near + 1, stride=1, padding=near)
    lowest = -F.max_pool2d(-x, 2 * near + 1, stride=1, padding=near)
    return (highest != lowest)[0, 0]


@torch.no_grad()
def mistakes(predictor: Predictor, test: Split) -> dict[str, Any]:
    """What a segmentation says of photographs.

    Returns:
        counts: N rows of N numbers, the pixels of a class (row) that are called by each name (column).
        edges, wrong, wrong_at_edges: how many of the pixels that count lie at edges, are called by another name, both.
    """
    matrix, totals = ConfusionMatrix(len(predictor.classes)), torch.zeros(3, dtype=torch.int64)
    for image, labels in zip(test.images, test.labels, strict=True):
        said = predictor.model.segment(predictor.normalization(image[None].float() / 255))  # (1, H, W)
        matrix.update(said, labels[None])
        counted, at_edge = labels != IGNORE, edges(labels)
        wrong = counted & (said[0] != labels)
        totals += torch.stack([(counted & at_edge).sum(), wrong.sum(), (wrong & at_edge).sum()])
    found = dict(zip(("edges", "wrong", "wrong_at_edges"), totals.tolist(), strict=True))
    return {"counts": matrix.counts.tolist(), **found}


def main() -> None:
    data = load(**read_recipe(RECIPE).data)
    found = {"classes": list(data.classes), "photographs": len(data.test)}
    found |= mistakes(read_predictor(MODEL), data.test)
    write_json(RESULTS / "streets.json", found | {"weights": which_weights(hub.WEIGHTS / MODEL), "where": provenance()})


if __name__ == "__main__":
    main()
