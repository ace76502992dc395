"""What a training needs to know, in a TOML file: the data, the model, and the numbers of the optimization."""

import json
import math
import tomllib
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from torch import nn

from vitlab.ade20k import poly_learning_rate
from vitlab.cifar import learning_rate
from vitlab.data import NAMES as DATA_NAMES
from vitlab.data import WITH_MASKS, Dataset
from vitlab.machine import memory
from vitlab.pretrained import load_pretrained
from vitlab.pretrained.forms import FORMS
from vitlab.pretrained.predictor import KINDS as PUBLISHED_KINDS
from vitlab.segmentation.unet import UNet
from vitlab.training.augment import ImageAugmentation, MaskAugmentation
from vitlab.training.cnn import CNN
from vitlab.training.first_weights import leave_out_attention_biases, look_at_neighbours
from vitlab.validation import FileName, Limits, Many, NotNegative, Positive, Rate, Seed, path_of, read_table, validated
from vitlab.vit import ViT

RECIPES = Path(__file__).parent / "recipes"
KINDS = PUBLISHED_KINDS | {"UNet": UNet, "CNN": CNN}
FOR_MASKS = ("SegFormer", "UNet")  # the other kinds are classifiers
SCHEDULES = {"cosine": learning_rate, "poly": poly_learning_rate}
COPIES = 5  # of the weights, in training: their average, their gradient and AdamW's two moments


class TrainingError(Exception):
    """A training cannot begin or go on; the sentence says why and what to change."""


@dataclass(frozen=True)
class Recipe:
    """All that decides what a training computes, but for the machine.

    Attributes:
        name: the file's name.
        data: the data set's name and the options of its loader.
        model: its `kind` (ViT, MiT, SegFormer, UNet, CNN) and then one of three: the numbers of its config; `size`, the
            name of a published size; `pretrained`, a folder or an id on the hub whose weights it starts from.
            `encoder_weights` is a folder or an id of a MiT, for a SegFormer whose encoder alone starts from it.
        steps: how many updates of the weights.
        batch_size: images of an update, over all processes together.
        lr: the highest learning rate, of the encoder.
        weight_decay: of AdamW, for matrices and kernels; biases, norms and embeddings have none.
        warmup_steps: during which the learning rate rises from 0.
        schedule: how it falls to 0 afterwards: "cosine", or "poly" (a straight line).
        cycles: how often the schedule, warm-up included, is gone through from its beginning; each takes as many steps.
            At the end of a cycle the model is as good as if the training ended there (Loshchilov and Hutter, "SGDR",
            2017), so that a training can be made longer without being made anew.
        head_lr_factor: what the head's or decoder's learning rate is multiplied with; SegFormer was trained with 10.
        layer_lr_decay: the learning rate of a block is that of the block above it times this; 1 is the same for all.
        average: how much of the running average of the weights stays in a step (EMA); the average is what is evaluated.
        clip: the greatest norm of the gradient.
        augmentation: the settings of `ImageAugmentation` or, for a segmentation, `MaskAugmentation`.
        evaluations: how often, in equal steps, the test images are looked at.
        first_weights: "random", as the layers are made, or "neighbours" for `look_at_neighbours` (ViT).
        attention_biases: whether attention has biases; without, they stay 0, as in the lecture.
        patch_dropout: the share of its patches that an image lacks in the first step (ViT). It falls to 0 in a line: at
            first many images are seen in part, at last each as a whole.
        bf16: whether a processor computes in bfloat16 too. With AMX (Intel, from 2023) a step takes half the time.
        compile: whether torch.compile is used on a GPU; on a processor it never is.
        seed: decides the first weights, the order of the images and every augmentation.
    """

    name: FileName
    data: dict[str, Any]
    model: dict[str, Any]
    steps: Many
    batch_size: Many
    lr: Positive
    weight_decay: NotNegative = 0.05
    warmup_steps: Annotated[int, Limits(ge=0)] = 0
    schedule: Literal["cosine", "poly"] = "cosine"
    cycles: Many = 1
    head_lr_factor: NotNegative = 1.0
    layer_lr_decay: Annotated[float, Limits(gt=0, le=1)] = 1.0
    average: Rate = 0.999
    clip: Positive = 1.0
    augmentation: dict[str, Any] = field(default_factory=dict)
    evaluations: Many = 10
    first_weights: Literal["random", "neighbours"] = "random"
    attention_biases: bool = True
    patch_dropout: Rate = 0.0
    bf16: bool = False
    compile: bool = False
    seed: Seed = 0

    @property
    def cycle_steps(self) -> int:
        """Steps of a cycle of the schedule; the last cycle has fewer where `cycles` does not divide `steps`."""
        return math.ceil(self.steps / self.cycles)

    @property
    def log_every(self) -> int:
        """Steps from one line of the log to the next."""
        return max(1, self.steps // 100)

    @property
    def evaluate_every(self) -> int:
        """Steps from one look at the test images to the next, which coincides with a line of the log."""
        return self.log_every * max(1, round(self.steps / (self.evaluations * self.log_every)))


@dataclass(frozen=True)
class Beginning:
    """Where a model begins: what the table [model] may say beside the numbers of the config, see `Recipe`."""

    kind: Literal[*KINDS]
    size: str | None = None
    pretrained: str | None = None
    encoder_weights: str | None = None


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
    path = path_of(name_or_path, TrainingError)
    path = path if path.suffix.lower() == ".toml" else RECIPES / f"{name_or_path}.toml"
    try:
        content = read_table(path, TrainingError, tomllib.loads)
    except FileNotFoundError as error:
        raise TrainingError(
            f"there is no recipe {name_or_path!r}: give a TOML file, or one of {', '.join(recipe_names())}."
        ) from error
    except OSError as error:
        raise TrainingError(f"the recipe {path} cannot be read: {error.strerror}.") from error
    return make_recipe({"name": path.stem} | content, str(path), **changes)


def make_recipe(content: dict[str, Any], source: str, **changes) -> Recipe:
    """A recipe from the content of a file, all of it checked but the data's options, which `vitlab.data.load` checks.

    Raises:
        TrainingError: if an entry of any table is unknown, missing, of the wrong kind or out of range.
    """
    recipe = validated(Recipe, content, source, TrainingError)
    changes = {name: value for name, value in changes.items() if value is not None}
    changed = validated(Recipe, asdict(recipe) | changes, source, TrainingError)
    if "warmup_steps" not in changes:  # it keeps its share of the steps
        changed = replace(changed, warmup_steps=recipe.warmup_steps * changed.steps // recipe.steps)
    recipe = changed
    if recipe.warmup_steps >= recipe.cycle_steps:
        of_a_cycle = " of a cycle" if recipe.cycles > 1 else ""
        raise TrainingError(
            f"{source}: warmup_steps is {recipe.warmup_steps}, but it must be from 0 to below the {recipe.cycle_steps} "
            f"steps{of_a_cycle}."
        )
    if recipe.data.get("name") not in DATA_NAMES:
        raise TrainingError(f"[data] of {source} has no 'name' of a data set; these exist: {', '.join(DATA_NAMES)}.")
    with_masks = recipe.data["name"] in WITH_MASKS
    augmentation_of(recipe, with_masks)
    model_config(recipe, with_masks, 1)
    return recipe


def data_options(name: str) -> dict[str, Any]:
    """What `vitlab.data.load` takes for a data set as it is by default, or for the data of a recipe.

    Args:
        name: of a data set, or as in `read_recipe`.

    Raises:
        TrainingError: if it is neither.
    """
    if name == "folder":
        raise TrainingError("the data set folder needs options: give a recipe whose table [data] has them.")
    return {"name": name} if name in DATA_NAMES else read_recipe(name).data


def augmentation_of(recipe: Recipe, with_masks: bool) -> ImageAugmentation | MaskAugmentation:
    """The recipe's augmentation, of the kind that the data need.

    Raises:
        TrainingError: if a setting is unknown, of the wrong kind or out of range.
    """
    kind = MaskAugmentation if with_masks else ImageAugmentation
    return validated(kind, recipe.augmentation, f"[augmentation] of {recipe.name}", TrainingError)


def model_config(recipe: Recipe, with_masks: bool, num_classes: int) -> tuple[Beginning, Any]:
    """How the recipe's model begins, and the numbers of its config; None where published weights bring their own.

    Raises:
        TrainingError: if the model is described wrongly, does not suit the data, or is too large for this machine.
        CheckpointError: if it could not be saved.
    """
    where, own = f"[model] of {recipe.name}", [each.name for each in fields(Beginning)]
    given, numbers = ({k: v for k, v in recipe.model.items() if (k in own) == mine} for mine in (True, False))
    beginning = validated(Beginning, given, where, TrainingError)
    kind = KINDS[beginning.kind]
    if with_masks != (beginning.kind in FOR_MASKS):
        right = [name for name in KINDS if with_masks == (name in FOR_MASKS)]
        labels = "a mask" if with_masks else "one class"
        raise TrainingError(
            f"{where}: a {beginning.kind} does not suit these data, whose images have {labels} each: choose "
            f"{' or '.join(right)}."
        )
    if beginning.encoder_weights and beginning.kind != "SegFormer":
        raise TrainingError(f"{where}: encoder_weights are for a SegFormer, not for a {beginning.kind}.")
    for name, usual in (("first_weights", "random"), ("patch_dropout", 0)):
        if getattr(recipe, name) != usual and kind is not ViT:
            raise TrainingError(f"{where}: {name} = {getattr(recipe, name)!r} is for a ViT.")
    if "num_classes" in numbers:
        raise TrainingError(f"{where}: the data decide num_classes: leave it out.")
    if beginning.pretrained:
        if beginning.kind not in FORMS:
            raise TrainingError(f"{where}: pretrained weights are for {', '.join(FORMS)}; a {beginning.kind} has none.")
        if beginning.encoder_weights:
            raise TrainingError(f"{where}: the pretrained weights are the encoder's, too: leave encoder_weights out.")
        if recipe.first_weights != "random":
            raise TrainingError(f"{where}: the pretrained weights are the first ones: leave first_weights out.")
        if numbers or beginning.size:
            raise TrainingError(f"{where}: the pretrained weights decide {[*numbers, 'size'][0]}: leave it out.")
        return beginning, None
    if beginning.size:
        sizes = getattr(kind, "CONFIGS", {})
        if beginning.size not in sizes:
            known = ", ".join(sizes) or "none"
            raise TrainingError(f"{where}: there is no size {beginning.size!r}; these exist: {known}.")
        numbers = asdict(sizes[beginning.size]) | numbers
    if isinstance(numbers.get("encoder"), dict):
        numbers["encoder"] = numbers["encoder"] | {"num_classes": 0}
    config = validated(kind.Config, numbers | {"num_classes": num_classes}, where, TrainingError)
    try:
        with torch.device("meta"):  # the model without its memory
            parameters = sum(parameter.numel() for parameter in _new_model(kind, config, recipe).parameters())
    except ValueError as error:
        raise TrainingError(f"{where} makes no {beginning.kind}: {error}") from error
    if 4 * COPIES * parameters > memory():
        raise TrainingError(f"{where} has {parameters:,} parameters, which this machine has no memory to train.")
    if beginning.kind in FORMS:
        FORMS[beginning.kind].write_config(asdict(config))  # what cannot be saved at the end shall fail now
    return beginning, config


def _new_model(kind: type[nn.Module], config: Any, recipe: Recipe) -> nn.Module:
    model = kind(config)
    if recipe.first_weights == "neighbours":
        look_at_neighbours(model)
    return model


def build_model(recipe: Recipe, dataset: Dataset) -> nn.Module:
    """The recipe's model with as many outputs as the data have classes; its new weights depend on the seed alone.

    Raises:
        TrainingError: as `model_config`.
        CheckpointError: if the weights it should start from cannot be had.
    """
    beginning, config = model_config(recipe, dataset.is_segmentation, len(dataset.classes))
    kind = KINDS[beginning.kind]
    torch.manual_seed(recipe.seed)
    if beginning.pretrained:
        model = kind.from_pretrained(beginning.pretrained, num_classes=len(dataset.classes))
    else:
        model = _new_model(kind, config, recipe)
    if beginning.encoder_weights:
        load_pretrained(model.encoder, beginning.encoder_weights, with_head=False)
    if not recipe.attention_biases:
        leave_out_attention_biases(model)
    return model.train()


def as_content(recipe: Recipe) -> dict[str, Any]:
    """A recipe as a checkpoint writes it down: what JSON makes of it."""
    return json.loads(json.dumps(asdict(recipe)))
