"""What the published models share: sizes that have names, and weights that travel."""

from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from vitlab.pretrained import checkpoint
from vitlab.steps import UNSEEN
from vitlab.validation import validated


class PublishedModel(nn.Module):
    """A model made from a config, a `Config`; those that have names are in `CONFIGS`.

    Raises:
        ValueError: if a number of the config is of another type or out of the range that its field names; and, in use,
            if images are no tensor of the model's own kind of numbers.
    """

    Config: ClassVar[type]
    CONFIGS: ClassVar[dict[str, Any]]

    def __init__(self, config: Any):
        super().__init__()
        if not isinstance(config, self.Config):
            raise ValueError(f"a {type(self).__name__} is made from a {self.Config.__name__}, not from {config!r}.")
        self.config = validated(self.Config, asdict(config), self.Config.__name__)
        self.register_forward_pre_hook(_checked, with_kwargs=True)

    @classmethod
    def from_config(cls, name: str, **changes) -> Self:
        """A model of a published size, with random weights.

        Args:
            name: one of those in `CONFIGS`.
            changes: fields of the config to set otherwise, such as num_classes=10.

        Raises:
            ValueError: if there is no configuration or field of that name.
        """
        if name not in [*cls.CONFIGS]:  # a list also takes what cannot be hashed
            raise ValueError(f"there is no configuration {name!r}; these exist: {', '.join(cls.CONFIGS)}.")
        return cls(validated(cls.Config, asdict(cls.CONFIGS[name]) | changes, name))

    @classmethod
    def from_pretrained(cls, id_or_folder: str | Path, *, num_classes: int | None = None) -> Self:
        """A model with published weights: see `vitlab.pretrained.from_pretrained`.

        Weights have the licence of who published them; NVIDIA's SegFormer weights are for research only.
        """
        return checkpoint.from_pretrained(cls, id_or_folder, num_classes=num_classes)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write config.json and model.safetensors: see `vitlab.pretrained.save_pretrained`."""
        checkpoint.save_pretrained(self, folder)


def _checked(model: PublishedModel, arguments: tuple, named: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
    """The arguments of `forward`, whose images are floats like the weights."""
    checked(model, arguments[0] if arguments else named.get("images"))
    # PyTorch's older ONNX exporter hands over the defaults, too, and takes UNSEEN to pieces.
    return tuple(UNSEEN if type(each) is dict else each for each in arguments), named


def checked(model: nn.Module, images: Tensor) -> Tensor:
    """Images, as they are.

    Raises:
        ValueError: if they are no tensor of floats like the model's weights.
    """
    weights = next(model.parameters())
    if not isinstance(images, Tensor) or not images.is_floating_point():
        kind = images.dtype if isinstance(images, Tensor) else type(images).__name__
        raise ValueError(f"images must be a tensor of floats, normalized, but these are {kind}.")
    if images.dtype != weights.dtype and not torch.is_autocast_enabled(images.device.type):
        raise ValueError(f"the images are {images.dtype}, but the model's weights are {weights.dtype}: convert either.")
    return images
