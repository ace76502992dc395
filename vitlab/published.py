"""What the published models share: sizes that have names, and weights that travel."""

from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Self

from torch import nn


class PublishedModel(nn.Module):
    """A model made from a config; the named configs are in `CONFIGS`."""

    CONFIGS: ClassVar[dict[str, Any]]

    @classmethod
    def from_config(cls, name: str, **changes) -> Self:
        """A model of a published size, with random weights.

        Args:
            name: one of those in `CONFIGS`.
            changes: fields of the config to set otherwise, such as num_classes=10.

        Raises:
            ValueError: if there is no configuration or field of that name.
        """
        if name not in cls.CONFIGS:
            raise ValueError(f"there is no configuration {name!r}; these exist: {', '.join(cls.CONFIGS)}.")
        config = cls.CONFIGS[name]
        unknown = [field for field in changes if field not in config.__dataclass_fields__]
        if unknown:
            known = ", ".join(config.__dataclass_fields__)
            raise ValueError(f"{name} has nothing called {unknown[0]!r} to set; these can be set: {known}.")
        return cls(replace(config, **changes))

    @classmethod
    def from_pretrained(cls, id_or_folder: str | Path, *, num_classes: int | None = None) -> Self:
        """A model with published weights: see `vitlab.pretrained.from_pretrained`."""
        from vitlab import pretrained  # here, because reading weights needs more than torch

        return pretrained.from_pretrained(cls, id_or_folder, num_classes=num_classes)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write config.json and model.safetensors: see `vitlab.pretrained.save_pretrained`."""
        from vitlab import pretrained

        pretrained.save_pretrained(self, folder)
