"""What a training needs to know, in a TOML file: the data, the model, and the numbers of the optimization."""

import json
import tomllib
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
from torch import nn

from vitlab.ade20k import poly_learning_rate
from vitlab.cifar import learning_rate
from vitlab.data import NAMES as DATA_NAMES
from vitlab.data import Dataset
from vitlab.pretrained import load_pretrained
from vitlab.pretrained.forms import FORMS
from vitlab.pretrained.predictor import KINDS as PUBLISHED_KINDS
from vitlab.segmentation.unet import UNet
from vitlab.training.augment import ImageAugmentation, MaskAugmentation

RECIPES = Path(__file__).parent / "recipes"
KINDS = PUBLISHED_KINDS | {"UNet": UNet}
SCHEDULES = {"cosine": learning_rate, "poly": poly_learning_rate}


class TrainingError(Exception):
    """A training cannot begin or go on; the sentence says why and what to change."""


@dataclass(frozen=True)
class Recipe:
    """All that decides what a training computes, but for the machine.

    Attributes:
        name: the file's name.
        data: the data set's name and the options of its loader.
        model: its `kind` (ViT, MiT, SegFormer, UNet) and then one of three: the numbers of its config; `size`, the name
            of a published size; `pretrained`, a folder or an id on the hub whose weights it starts from.
            `encoder_weights` is a folder or an id of a MiT, for a SegFormer whose encoder alone starts from it.
        steps: how many updates of the weights.
        batch_size: images of an update, over all processes together.
        lr: the highest learning rate, of the encoder.
        weight_decay: of AdamW, for matrices and kernels; biases, norms and embeddings have none.
        warmup_steps: during which the learning rate rises from 0.
        schedule: how it falls to 0 afterwards: "cosine", or "poly" (a straight line).
        head_lr_factor: what the head's or decoder's learning rate is multiplied with; SegFormer was trained with 10.
        layer_lr_decay: the learning rate of a block is that of the block above it times this; 1 is the same for all.
        average: how much of the running average of the weights stays in a step (EMA); the average is what is evaluated.
        clip: the greatest norm of the gradient.
        augmentation: the settings of `ImageAugmentation` or, for a segmentation, `MaskAugmentation`.
        evaluations: how often, in equal steps, the test images are looked at.
        compile: whether torch.compile is used on a GPU; on a processor it never is.
        seed: decides the first weights, the order of the images and every augmentation.
    """

    name: str
    data: dict[str, Any]
    model: dict[str, Any]
    steps: int
    batch_size: int
    lr: float
    weight_decay: float = 0.05
    warmup_steps: int = 0
    schedule: str = "cosine"
    head_lr_factor: float = 1.0
    layer_lr_decay: float = 1.0
    average: float = 0.999
    clip: float = 1.0
    augmentation: dict[str, Any] = field(default_factory=dict)
    evaluations: int = 10
    compile: bool = False
    seed: int = 0

    @property
    def log_every(self) -> int:
        """Steps from one line of the log to the next."""
        return max(1, self.steps // 100)

    @property
    def evaluate_every(self) -> int:
        """Steps from one look at the test images to the next, which coincides with a line of the log."""
        return self.log_every * max(1, round(self.steps / (self.evaluations * self.log_every)))


def recipe_names() -> list[str]:
    """The recipes that come with the package."""
    return sorted(path.stem for path in RECIPES.glob("*.toml"))


def read_recipe(name_or_path: str, **changes) -> Recipe:
    """A recipe that comes with the package, or one of your own.

    Args:
        name_or_path: one of `recipe_names()`, or the path of a TOML file.
        changes: fields to set otherwise. With other `steps`, the warm-up takes the same share of them as before, unless
            it is set as well.

    Raises:
        TrainingError: if there is none, or the file is not a recipe.
    """
    path = Path(name_or_path) if name_or_path.endswith(".toml") else RECIPES / f"{name_or_path}.toml"
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise TrainingError(
            f"there is no recipe {name_or_path!r}: give a TOML file, or one of {', '.join(recipe_names())}."
        ) from error
    except ValueError as error:  # also where the file is no text
        raise TrainingError(f"{path} is no TOML file: {error}.") from error
    return make_recipe({"name": path.stem} | content, str(path), **changes)


def make_recipe(content: dict[str, Any], source: str, **changes) -> Recipe:
    """A recipe from the content of a file, checked.

    Raises:
        TrainingError: if an entry is unknown, missing or of the wrong kind.
    """
    known = {f.name: f for f in fields(Recipe)}
    check_names(content, known, source)
    for name, f in known.items():
        if name not in content:
            if f.default is MISSING and f.default_factory is MISSING:
                raise TrainingError(f"{source} has no {name!r}, which every recipe needs.")
            continue
        right = (int, float) if f.type is float else getattr(f.type, "__origin__", f.type)
        if not isinstance(content[name], right) or (isinstance(content[name], bool) and f.type is not bool):
            kind = getattr(f.type, "__name__", str(f.type))
            raise TrainingError(f"{source}: {name} is {content[name]!r}, but it must be of type {kind}.")
    for table, key in (("data", "name"), ("model", "kind")):
        if key not in content[table]:
            raise TrainingError(f"{source}: [{table}] has no {key!r}.")
    recipe, changes = Recipe(**content), {name: value for name, value in changes.items() if value is not None}
    if "steps" in changes and recipe.steps > 0:  # the warm-up keeps its share of them
        changes = {"warmup_steps": recipe.warmup_steps * changes["steps"] // recipe.steps} | changes
    recipe = replace(recipe, **changes)
    for name in ("steps", "batch_size", "lr", "evaluations"):
        if getattr(recipe, name) <= 0:
            raise TrainingError(f"{source}: {name} is {getattr(recipe, name)}, but it must be above 0.")
    if not 0 <= recipe.warmup_steps < recipe.steps:
        raise TrainingError(
            f"{source}: warmup_steps is {recipe.warmup_steps}, but it must be from 0 to below the {recipe.steps} steps."
        )
    if recipe.schedule not in SCHEDULES:
        raise TrainingError(f"{source}: schedule is {recipe.schedule!r}, but it must be {' or '.join(SCHEDULES)}.")
    return recipe


def check_names(given: dict[str, Any], known, where: str) -> None:
    """Name the first entry that is not known, and the one that may have been meant.

    Raises:
        TrainingError: if there is one.
    """
    for name in given:
        if name not in known:
            close = get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"these exist: {', '.join(known)}."
            raise TrainingError(f"{where} has an entry {name!r} that nobody reads: {hint}")


def data_options(name: str) -> dict[str, Any]:
    """What `vitlab.data.load` takes for a data set as it is by default, or for the data of a recipe.

    Args:
        name: of a data set, or as in `read_recipe`.

    Raises:
        TrainingError: if it is neither.
    """
    return {"name": name} if name in DATA_NAMES and name != "folder" else read_recipe(name).data


def augmentation_of(recipe: Recipe, dataset: Dataset) -> ImageAugmentation | MaskAugmentation:
    """The recipe's augmentation, of the kind that the data need.

    Raises:
        TrainingError: if a setting is unknown.
    """
    kind = MaskAugmentation if dataset.is_segmentation else ImageAugmentation
    check_names(recipe.augmentation, [f.name for f in fields(kind)], f"[augmentation] of {recipe.name}")
    return kind(**{name: _tuples(value) for name, value in recipe.augmentation.items()})


def build_model(recipe: Recipe, dataset: Dataset) -> nn.Module:
    """The recipe's model with as many outputs as the data have classes; its new weights depend on the seed alone.

    Raises:
        TrainingError: if the model is described wrongly.
        CheckpointError: if the weights it should start from cannot be had.
    """
    torch.manual_seed(recipe.seed)
    numbers = {name: _tuples(value) for name, value in recipe.model.items()}
    kind_name, where = numbers.pop("kind"), f"[model] of {recipe.name}"
    if kind_name not in KINDS:
        raise TrainingError(f"{where}: there is no kind {kind_name!r}; these exist: {', '.join(KINDS)}.")
    kind, classes = KINDS[kind_name], len(dataset.classes)
    encoder = numbers.pop("encoder_weights", None)
    try:
        if "pretrained" in numbers:
            model = kind.from_pretrained(numbers.pop("pretrained"), num_classes=classes)
            check_names(numbers, ["pretrained", "encoder_weights"], where)
        elif "size" in numbers:
            model = kind.from_config(numbers.pop("size"), num_classes=classes, **numbers)
        elif kind is UNet:
            model = UNet(num_classes=classes, **numbers)
        else:
            if "encoder" in numbers:
                numbers["encoder"] = dict(**numbers["encoder"], num_classes=0)
            model = kind.from_numbers(num_classes=classes, **numbers)
    except (TypeError, ValueError, KeyError) as error:
        raise TrainingError(f"{where} makes no {kind_name}: {error}") from error
    if encoder:
        load_pretrained(model.encoder, encoder, with_head=False)
    if kind_name in FORMS:
        FORMS[kind_name].write_config(asdict(model.config))  # what cannot be saved at the end shall fail now
    return model.train()


def _tuples(value: Any) -> Any:
    """TOML's lists as tuples, which configs hold."""
    if isinstance(value, dict):
        return {name: _tuples(each) for name, each in value.items()}
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def as_content(recipe: Recipe) -> dict[str, Any]:
    """A recipe as a checkpoint writes it down: what JSON makes of it."""
    return json.loads(json.dumps(asdict(recipe)))
