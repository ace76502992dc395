"""A model with all that it takes to use it on a picture: the names of its classes, and how pictures are prepared.

The form is that of the Hugging Face hub, so that published checkpoints can be used in the same way as one's own:

    vitlab predict runs/digits/model five.png
    vitlab predict nvidia/segformer-b0-finetuned-ade-512-512 street.jpg   (NVIDIA's weights: for research only)
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn

from vitlab.data import DataError, Dataset, Normalization
from vitlab.data.dataset import default_palette
from vitlab.decoder import upsample
from vitlab.files import folder_written_whole, write_json
from vitlab.mit import MiT
from vitlab.pretrained.checkpoint import from_pretrained, read_settings, save_pretrained
from vitlab.pretrained.forms import CONFIG_FILE, FORMS, CheckpointError, read_labels
from vitlab.pretrained.preparation import PREPROCESSOR_FILE, Preparation, read_preparation
from vitlab.segformer import SegFormer
from vitlab.validation import finite, path_of
from vitlab.vit import ViT

KINDS = {"ViT": ViT, "MiT": MiT, "SegFormer": SegFormer}


@dataclass(frozen=True)
class Predictor:
    """A model and how to use it.

    Attributes:
        model: in evaluation mode.
        classes: the name of each of its outputs.
        channels: C of its images.
        preparation: how pictures become its images.
    """

    model: nn.Module
    classes: tuple[str, ...]
    channels: int
    preparation: Preparation

    @property
    def is_segmentation(self) -> bool:
        return isinstance(self.model, SegFormer)

    @property
    def normalization(self) -> Normalization:
        """Of images in 0 ... 1, for who has tensors and no pictures: it makes of them what `prepare` makes."""
        told = self.preparation
        mean, deviation = torch.zeros(self.channels), torch.ones(self.channels)
        if told.do_normalize:
            mean, deviation = torch.tensor(told.image_mean), torch.tensor(told.image_std)
        white = 255 * told.rescale_factor if told.do_rescale else 255  # what 1 is before it is normalized
        return Normalization(mean / white, deviation / white)

    @property
    def palette(self) -> Tensor:
        """(N, 3) in uint8, a colour for each class, of 256 at most."""
        return torch.tensor(self.preparation.palette or default_palette(len(self.classes)), dtype=torch.uint8)

    def prepare(self, pictures: Iterable[Image.Image]) -> Tensor:
        """Pictures that are of one size, once prepared -> (B, C, H, W), on the model's device."""
        images = [self.preparation(picture, self.channels).movedim(0, -1) for picture in pictures]  # (H, W, C) each
        images = torch.stack(images).movedim(-1, 1)  # (B, C, H, W), channels last, as the encoder wants them
        return images.to(next(self.model.parameters()).device)

    def __call__(self, picture: Image.Image) -> Tensor:
        """The probability of each class: (N,), or (N, H, W) for each pixel of the picture."""
        logits = self._logits(picture)
        return (upsample(logits, picture.size[::-1]) if self.is_segmentation else logits)[0].softmax(dim=0)

    def segment(self, picture: Image.Image) -> Tensor:
        """The class of each pixel of the picture: (H, W).

        Raises:
            DataError: if the picture does not suit the model, or the model tells classes of whole pictures.
        """
        if not self.is_segmentation:
            raise DataError(f"a {type(self.model).__name__} tells classes of whole pictures, and not of their pixels.")
        with _suiting():
            return self.model.segment(self.prepare([picture]), picture.size[::-1])[0]

    @torch.no_grad()
    def _logits(self, picture: Image.Image) -> Tensor:
        """(1, N), or (1, N, h, w)."""
        with _suiting():
            return finite(self.model(self.prepare([picture]), **({"upsample": False} if self.is_segmentation else {})))


@contextmanager
def _suiting() -> Iterator[None]:
    """Models say in a ValueError what images they take."""
    try:
        yield
    except ValueError as error:
        raise DataError(f"the picture does not suit the model: {error}") from error


def save_predictor(folder: Path, model: nn.Module, dataset: Dataset, normalization: Normalization) -> None:
    """Write a model, trained on a data set, as `read_predictor` and `transformers` read it.

    Args:
        folder: receives config.json, model.safetensors and preprocessor_config.json.
        model: a ViT, MiT or SegFormer.
        dataset: gives the names and colours of the classes, and the size of a classifier's images.
        normalization: of the images in training.
    """
    settings = {
        "image_processor_type": "SegformerImageProcessor" if dataset.is_segmentation else "ViTImageProcessor",
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": normalization.mean.tolist(),
        "image_std": normalization.deviation.tolist(),
        "do_resize": isinstance(dataset.test.images, Tensor),  # else there is no one size that it was tested with
    }
    if settings["do_resize"]:
        height, width = dataset.test.images.shape[-2:]
        shortest = {"shortest_edge": min(height, width)}  # a photograph held upright is not made broad
        settings["size"] = shortest if dataset.is_segmentation else {"height": height, "width": width}
    if dataset.is_segmentation:
        settings["palette"] = dataset.palette.tolist()
    with folder_written_whole(folder) as draft:
        save_pretrained(model, draft, classes=dataset.classes)
        write_json(draft / PREPROCESSOR_FILE, settings)


def read_predictor(id_or_folder: str | Path) -> Predictor:
    """A trained or published model, ready to be used.

    Args:
        id_or_folder: a folder that `vitlab train` wrote, its folder model/, or a name on the Hugging Face hub.

    Raises:
        CheckpointError: if it cannot be reached or read, is of no known kind, or has fewer than two outputs.
    """
    inside = path_of(id_or_folder, CheckpointError) / "model"
    id_or_folder = inside if inside.is_dir() else id_or_folder
    settings = read_settings(id_or_folder, CONFIG_FILE)
    architecture, names = read_labels(settings, f"{id_or_folder}/{CONFIG_FILE}")
    kind = next((kind for name, kind in KINDS.items() if architecture in FORMS[name].architectures), None)
    if kind is None:
        raise CheckpointError(f"{id_or_folder} holds a {architecture}, but only {', '.join(KINDS)} are known here.")
    model = from_pretrained(kind, id_or_folder)
    count = model.config.num_classes
    if not count:
        raise CheckpointError(f"{id_or_folder} has no classifier: it must be trained on a task first.")
    if count == 1:
        raise CheckpointError(f"{id_or_folder} has one output, but a softmax needs two or more to tell anything apart.")
    channels = getattr(model.config, "encoder", model.config).channels
    preparation = read_preparation(id_or_folder, channels, count, is_segmentation=kind is SegFormer)
    return Predictor(model, tuple(map(str.strip, names)), channels, preparation)
