"""What the published models share: sizes that have names, and weights that travel."""

from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

from torch import nn

from vitlab.pretrained import checkpoint


class PublishedModel(nn.Module):
    """A model made from a config, a `Config`; those that have names are in `CONFIGS`."""

    Config: ClassVar[type]
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
    def from_numbers(cls, **numbers) -> Self:
        """A model with random weights from the fields of its config.

        Args:
            numbers: the fields. A dict gives those of a part that has a config of its own, a SegFormer's encoder.

        Raises:
            TypeError: if a field is unknown or missing.
        """
        parts = {field.name: field.type for field in fields(cls.Config) if is_dataclass(field.type)}
        made = {name: Part(**numbers[name]) for name, Part in parts.items() if name in numbers}
        return cls(cls.Config(**numbers | made))

    @classmethod
    def from_pretrained(cls, id_or_folder: str | Path, *, num_classes: int | None = None) -> Self:
        """A model with published weights: see `vitlab.pretrained.from_pretrained`.

        Weights have the licence of who published them; NVIDIA's SegFormer weights are for research only.
        """
        return checkpoint.from_pretrained(cls, id_or_folder, num_classes=num_classes)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write config.json and model.safetensors: see `vitlab.pretrained.save_pretrained`."""
        checkpoint.save_pretrained(self, folder)
