"""A model with all that it takes to use it on a picture: the names of its classes, and how pictures are prepared.

The form is that of the Hugging Face hub, so that published checkpoints can be used in the same way as one's own:

    vitlab predict runs/digits/model five.png
    vitlab predict nvidia/segformer-b0-finetuned-ade-512-512 street.jpg   (NVIDIA's weights: for research only)
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor, nn

from vitlab.data import DataError, Dataset, Normalization
from vitlab.data.dataset import default_palette
from vitlab.mit import MiT
from vitlab.pretrained.checkpoint import from_pretrained, read_settings, save_pretrained
from vitlab.pretrained.forms import CONFIG_FILE, FORMS, CheckpointError
from vitlab.segformer import SegFormer
from vitlab.vit import ViT

KINDS = {"ViT": ViT, "MiT": MiT, "SegFormer": SegFormer}
PREPROCESSOR_FILE = "preprocessor_config.json"


@dataclass(frozen=True)
class Predictor:
    """A model and how to use it.

    Attributes:
        model: in evaluation mode.
        classes: the name of each of its outputs.
        normalization: of its images.
        size: (H, W) that pictures are resized to first; None where any size will do.
        palette: (N, 3) in uint8, a colour for each class.
    """

    model: nn.Module
    classes: tuple[str, ...]
    normalization: Normalization
    size: tuple[int, int] | None
    palette: Tensor

    @torch.no_grad()
    def __call__(self, picture: Image.Image) -> Tensor:
        """The probability of each class: (N,), or (N, H, W) for each pixel of the picture."""
        prepared = picture.convert("L" if len(self.normalization.mean) == 1 else "RGB")
        if self.size:
            prepared = prepared.resize(self.size[::-1], Image.Resampling.BILINEAR)
        pixels = torch.from_numpy(np.array(prepared)).float().div(255)  # (H, W) or (H, W, C)
        images = pixels.reshape(1, *pixels.shape[:2], -1).permute(0, 3, 1, 2)  # (1, C, H, W)
        logits = self.model(self.normalization(images))  # (1, N) or (1, N, H, W)
        if logits.ndim == 4:
            size = (picture.height, picture.width)
            logits = nn.functional.interpolate(logits, size=size, mode="bilinear", align_corners=False)
        return logits[0].softmax(dim=0)


def save_predictor(folder: Path, model: nn.Module, dataset: Dataset, normalization: Normalization) -> None:
    """Write a model, trained on a data set, as `read_predictor` and `transformers` read it.

    Args:
        folder: receives config.json, model.safetensors and preprocessor_config.json.
        model: a ViT, MiT or SegFormer.
        dataset: gives the names and colours of the classes, and the size of a classifier's images.
        normalization: of the images in training.
    """
    save_pretrained(model, folder, classes=dataset.classes)
    settings = {
        "image_processor_type": "SegformerImageProcessor" if dataset.is_segmentation else "ViTImageProcessor",
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": normalization.mean.tolist(),
        "image_std": normalization.deviation.tolist(),
        "do_resize": not dataset.is_segmentation,
    }
    if dataset.is_segmentation:
        settings["palette"] = dataset.palette.tolist()
    else:
        height, width = dataset.train.images.shape[-2:]
        settings["size"] = {"height": height, "width": width}
    (folder / PREPROCESSOR_FILE).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def read_predictor(id_or_folder: str | Path) -> Predictor:
    """A trained or published model, ready to be used.

    Args:
        id_or_folder: a folder that `vitlab train` wrote, its folder model/, or a name on the Hugging Face hub.

    Raises:
        CheckpointError: if it cannot be reached or read, or is of no known kind.
    """
    if (Path(id_or_folder) / "model").is_dir():
        id_or_folder = Path(id_or_folder) / "model"
    settings = read_settings(id_or_folder, CONFIG_FILE)
    architecture = (settings.get("architectures") or ["nothing"])[0]
    kind = next((kind for name, kind in KINDS.items() if architecture in FORMS[name].architectures), None)
    if kind is None:
        raise CheckpointError(f"{id_or_folder} holds a {architecture}, but only {', '.join(KINDS)} are known here.")
    model = from_pretrained(kind, id_or_folder)
    names = settings.get("id2label", {})
    classes = tuple(names[key] for key in sorted(names, key=int))
    if not classes:
        raise CheckpointError(f"{id_or_folder} has no classifier: it must be trained on a task first.")
    preparation = read_settings(id_or_folder, PREPROCESSOR_FILE)
    palette = preparation.get("palette") or default_palette(len(classes))
    return Predictor(
        model,
        classes,
        Normalization(torch.tensor(preparation["image_mean"]), torch.tensor(preparation["image_std"])),
        size=_size(preparation),
        palette=torch.tensor(palette, dtype=torch.uint8),
    )


def _size(preparation: dict) -> tuple[int, int] | None:
    """(H, W) to resize to. Older files of the hub hold one number, or {"shortest_edge": 224}, for a square."""
    if not preparation.get("do_resize", True):
        return None
    size = preparation["size"]
    if isinstance(size, dict) and "height" in size:
        return size["height"], size["width"]
    side = size["shortest_edge"] if isinstance(size, dict) else size
    return side, side


def read_picture(path: Path) -> Image.Image:
    """A picture from a file.

    Raises:
        DataError: if the file is missing or no picture.
    """
    try:
        with Image.open(path) as picture:
            return picture.convert("RGB")
    except (OSError, UnidentifiedImageError) as error:
        raise DataError(f"{path} is no picture that can be read: {error}.") from error


def draw_overlay(picture: Image.Image, probabilities: Tensor, predictor: Predictor, path: Path) -> dict[str, float]:
    """Colour a picture by its most probable classes, with a legend.

    Args:
        picture: of H x W pixels.
        probabilities: (N, H, W).
        predictor: names and colours.
        path: of the PNG to write.

    Returns:
        The part of the picture that each class takes, the largest first.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    labels = probabilities.argmax(dim=0)  # (H, W)
    colours = predictor.palette[labels].numpy()  # (H, W, 3)
    mixed = (np.array(picture.convert("RGB")) * 0.5 + colours * 0.5).astype(np.uint8)
    counts = torch.bincount(labels.flatten(), minlength=len(predictor.classes))
    order = [i for i in counts.argsort(descending=True).tolist() if counts[i]]
    parts = {predictor.classes[i]: counts[i].item() / labels.numel() for i in order}

    figure = Figure(figsize=(8, 8 * picture.height / picture.width * 0.75), layout="constrained")
    ax = figure.subplots()
    ax.imshow(mixed)
    ax.axis("off")
    patches = [
        Patch(
            color=predictor.palette[i].numpy() / 255, label=f"{predictor.classes[i]} {parts[predictor.classes[i]]:.0%}"
        )
        for i in order[:12]
    ]
    figure.legend(handles=patches, loc="outside right upper", fontsize=9)
    figure.savefig(path, dpi=150)
    return parts
