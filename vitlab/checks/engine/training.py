"""An exercise in which the student trains a model: points by its score on held-back images.

The student's function gets images with their labels and further images without, and returns what its model says of
the latter. Their labels stay with the check. So that nobody can look an image up in a data set that is known, all
images are drawn, moved by a fraction of a pixel and lit in another way for each seed (`moved_and_lit`), and classes may
get new numbers (`renumbered`). Who still recognizes an image knows its class's old number, and needs the training
images to find the new one.

The function runs in the process of the check, also where marks are given, and could read the labels in its memory, as it
could read everything else: whoever does that has written it into the notebook that is handed in. The limit of seconds is
kept as `candidate.perform` says.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from vitlab.checks.engine import switches
from vitlab.checks.engine.advice import advice
from vitlab.checks.engine.candidate import Candidate, Outcome
from vitlab.checks.engine.judge import fault_of_form, kind_of, remarks
from vitlab.checks.engine.report import ExerciseResult, PartResult
from vitlab.segmentation.metrics import ConfusionMatrix


@dataclass(frozen=True)
class Task:
    """Images and labels to train on, images to predict, and the labels of those, which are held back."""

    images: Tensor
    labels: Tensor
    test_images: Tensor
    test_labels: Tensor


@dataclass(frozen=True)
class Level:
    """So many points for a score of at least this, between 0 and 1."""

    score: float
    points: int


@dataclass(frozen=True)
class TrainingExercise:
    reference: Callable[[Tensor, Tensor, Tensor], Tensor]  # its name and those of its arguments are the exercise's
    returns: str  # the shape in the lecture's symbols, such as "(S,)"
    task: Callable[[Generator], Task]
    measure: str  # the name of the score, such as "accuracy"
    score: Callable[[Tensor, Tensor], float]  # of predictions and labels
    levels: tuple[Level, ...]  # from the lowest score to the highest
    seconds: float  # of processor time, in one thread
    low_score: str  # the sentence on what a low score usually means

    @property
    def name(self) -> str:
        return self.reference.__name__

    @property
    def arguments(self) -> tuple[str, ...]:
        return tuple(inspect.signature(self.reference).parameters)

    @property
    def points(self) -> int:
        return sum(level.points for level in self.levels)


def judge_training(exercise: TrainingExercise, candidate: Candidate, seed: int) -> ExerciseResult:
    """Let a candidate train once, and give it the points of every level that its score reaches.

    Args:
        exercise: what to check.
        candidate: what reaches the student's code.
        seed: draws the images. The student's own random numbers start at the same place whatever it is.
    """
    with switches.own(), switches.random_streams_kept():
        task = exercise.task(Generator().manual_seed(seed))
        outcome = candidate.call(exercise.name, (task.images, task.labels, task.test_images), seconds=exercise.seconds)
        fault = _fault(exercise, outcome, task)
        score = 0.0 if fault else exercise.score(outcome.output, task.test_labels)
        sentences = [fault] if fault else _about(exercise, outcome, score, len(task.test_images))
    parts = tuple(
        PartResult(
            f"{exercise.measure} of at least {100 * level.score:g}%",
            level.points,
            None if not fault and score >= level.score else "",
        )
        for level in exercise.levels
    )
    better = advice(outcome.source) if all(part.failed_on is None for part in parts) else ()
    return ExerciseResult(exercise.name, parts, tuple(sentences), None, remarks([outcome]), advice=better)


def _fault(exercise: TrainingExercise, outcome: Outcome, task: Task) -> str:
    if outcome.kind == "late":
        return (
            f"The training was stopped: it took more than {exercise.seconds:g} seconds of processor time. Take fewer "
            f"steps, smaller batches or a smaller model."
        )
    if fault := fault_of_form(exercise, outcome, task.test_labels):
        if isinstance(outcome.output, Tensor) and outcome.output.ndim == task.test_labels.ndim + 1:
            fault += " If these are the scores of the classes, argmax along their axis gives the class."
        return fault
    if kind_of(outcome.output) == "float":
        return f"The function returns {outcome.output.dtype}; classes are integers: argmax gives them."
    return ""


def _about(exercise: TrainingExercise, outcome: Outcome, score: float, count: int) -> list[str]:
    sentences = [
        f"On {count} held-back images the {exercise.measure} is {score:.1%}, after {outcome.seconds:.1f} of "
        f"{exercise.seconds:g} seconds of processor time."
    ]
    missed = [level for level in exercise.levels if score < level.score]
    if missed:
        points = f"{missed[0].points} point{'' if missed[0].points == 1 else 's'}"
        sentences.append(
            f"From {100 * missed[0].score:g}% on there {'is' if missed[0].points == 1 else 'are'} {points} more."
        )
        same = bool((outcome.output == outcome.output.flatten()[0]).all())
        sentences.append(
            f"Every prediction is class {outcome.output.flatten()[0]}: was the model trained, and is the argmax taken "
            f"along the axis of the classes?"
            if same
            else exercise.low_score
        )
    return sentences


def accuracy(predictions: Tensor, labels: Tensor) -> float:
    """The fraction of equal numbers."""
    return (predictions == labels).double().mean().item()


def mean_iou(predictions: Tensor, labels: Tensor, num_classes: int, ignore_index: int = 255) -> float:
    """The mIoU of all images together. A prediction that is no class at all counts as a further, wrong one."""
    matrix = ConfusionMatrix(num_classes + 1, ignore_index=ignore_index)
    is_class = (predictions >= 0) & (predictions < num_classes)
    matrix.update(torch.where(is_class, predictions.long(), num_classes), labels)
    return matrix.mean_iou()


def moved_and_lit(
    images: Tensor, generator: Generator, pixels: float = 0.5, masks: Tensor | None = None
) -> tuple[Tensor, Tensor | None]:
    """Each image moved by up to so many pixels along both axes, and darkened: x -> u x + v with u in 0.8 ... 1, u + v <= 1.

    Args:
        images: (N, C, H, W), in 0 ... 1. What comes in at an edge repeats it.
        masks: (N, H, W), moved with the images, each pixel taking the nearest label.

    Returns:
        images and masks.
    """
    N, _, H, W = images.shape
    shift = (2 * torch.rand(N, 2, generator=generator) - 1) * 2 * pixels / torch.tensor([W, H])  # the image is 2 wide
    maps = torch.cat([torch.eye(2).expand(N, 2, 2), shift.unsqueeze(-1)], dim=-1)  # (N, 2, 3)
    places = F.affine_grid(maps, list(images.shape), align_corners=False)  # (N, H, W, 2)
    moved = F.grid_sample(images, places, padding_mode="border", align_corners=False)
    u = 0.8 + 0.2 * torch.rand(N, 1, 1, 1, generator=generator)
    v = (1 - u) * torch.rand(N, 1, 1, 1, generator=generator)
    if masks is not None:
        near = F.grid_sample(
            masks.unsqueeze(1).double(), places.double(), mode="nearest", padding_mode="border", align_corners=False
        )
        masks = near.squeeze(1).to(masks.dtype)  # (N, 1, H, W) -> (N, H, W)
    return u * moved + v, masks


def renumbered(generator: Generator, num_classes: int, *labels: Tensor) -> tuple[Tensor, ...]:
    """The same new numbers for the classes 0 ... num_classes - 1 in all the labels."""
    new = torch.randperm(num_classes, generator=generator)
    return tuple(new[x.long()] for x in labels)
