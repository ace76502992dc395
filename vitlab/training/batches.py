"""Which images a step takes, and what becomes of them before the model sees them."""

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from vitlab.data import Dataset
from vitlab.training.augment import ImageAugmentation, MaskAugmentation, rows
from vitlab.training.recipe import Recipe, TrainingError


def seed_of(*numbers: int) -> int:
    """One seed from several numbers: other numbers give another one."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)  # torch takes 63 bits


class Batches:
    """The batch of any step, computed from the seed and the number of the step.

    In each epoch every image is taken once, in an order of its own; a batch may reach from one epoch into the next.

    Args:
        recipe: gives the seed and the size of the batch.
        dataset: whose split `train` lies on the device.
        augmentation: what happens to the images.
        rank, processes: each process computes its own, equal part of the batch.

    Raises:
        TrainingError: if the batch cannot be split evenly, or is larger than the data set, or no image stays in sight,
            or more than half of each crop is empty.
    """

    def __init__(
        self,
        recipe: Recipe,
        dataset: Dataset,
        augmentation: ImageAugmentation | MaskAugmentation,
        rank: int = 0,
        processes: int = 1,
    ):
        if recipe.batch_size % (2 * processes):
            raise TrainingError(
                f"batch_size is {recipe.batch_size}, but every process takes an even number of images: it must be a "
                f"multiple of {2 * processes}."
            )
        if recipe.batch_size > len(dataset.train):
            raise TrainingError(
                f"batch_size is {recipe.batch_size}, but there are only {len(dataset.train)} images to train on."
            )
        if getattr(augmentation, "crop_padding", 0) > min(dataset.train.images[0].shape[1:]):
            raise TrainingError(f"crop_padding is {augmentation.crop_padding}, which moves images out of sight.")
        if getattr(augmentation, "crop", None):
            sides = zip(*(image.shape[1:] for image in dataset.train.images), strict=True)
            rooms = [max(side) * augmentation.scale[1] for side in sides]  # of the largest image, scaled at most
            if any(side > 2 * room for side, room in zip(augmentation.crop, rooms, strict=True)):
                raise TrainingError(
                    f"crop is {augmentation.crop[0]} x {augmentation.crop[1]}, but the images fill {rooms[0]:.0f} x "
                    f"{rooms[1]:.0f} at most: more than half of every batch would be empty."
                )
        self.seed, self.batch_size = recipe.seed, recipe.batch_size
        self.split, self.num_classes = dataset.train, len(dataset.classes)
        self.augmentation = augmentation
        own = recipe.batch_size // processes
        self.part = slice(rank * own, (rank + 1) * own)
        self.order = lru_cache(maxsize=2)(self._order)

    def __call__(self, step: int) -> tuple[Tensor, Tensor]:
        """This process's part of the batch: images (b, C, H, W) in 0 ... 1, and targets (b, N) or masks (b, H, W)."""
        chosen = self.indices(step)[self.part]
        draws = rows(self.augmentation.draw(self.batch_size, seed=self.seed, step=step), self.part)
        images, labels = self.split.images, self.split.labels
        if isinstance(images, Tensor):
            chosen = torch.from_numpy(chosen).to(images.device)
            images, labels = images[chosen], labels[chosen]
        else:
            images, labels = [images[i] for i in chosen], [labels[i] for i in chosen]
        return self.augmentation.apply(images, labels, draws, num_classes=self.num_classes)

    def indices(self, step: int) -> np.ndarray:
        """The numbers of the images of a step, over all processes: (batch_size,)."""
        positions = np.arange(step * self.batch_size, (step + 1) * self.batch_size)
        epochs, places = np.divmod(positions, len(self.split))
        return np.array([self.order(int(epoch))[place] for epoch, place in zip(epochs, places, strict=True)])

    def _order(self, epoch: int) -> np.ndarray:
        rng = np.random.default_rng((self.seed, epoch, 1))  # 1, so that no augmentation draws the same numbers
        return rng.permutation(len(self.split))
