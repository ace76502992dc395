"""Scenes of shapes, drawn by the program, with a mask that is right in every pixel.

The colours and textures are drawn without regard to the class, so that only the form tells what a pixel belongs to.
"""

import math
from collections.abc import Callable
from typing import Annotated

import numpy as np
import torch

from vitlab.data.dataset import Card, DataError, Dataset, Split
from vitlab.machine import memory
from vitlab.validation import Limits, Many, Seed

Side = Annotated[int, Limits(ge=16, le=2**15)]

CARD = Card(
    name="Shapes",
    source="drawn by vitlab.data.shapes from a seed",
    licence="that of this package",
    size="any number of images of any size, 6 classes; nothing is downloaded",
    citation="this course",
)
PALETTE = (  # of Okabe and Ito, whose colours colour-blind readers tell apart
    (0, 0, 0),  # background
    (86, 180, 233),  # circle
    (230, 159, 0),  # triangle
    (0, 158, 115),  # square
    (240, 228, 66),  # star
    (204, 121, 167),  # ring
)


def load(
    *, images: Many = 2000, test_images: Many = 400, size: Side | tuple[Side, Side] = 64, seed: Seed = 0
) -> Dataset:
    """Scenes of two or three overlapping shapes, to train on and, drawn from other seeds, to test on.

    Image i depends on the seed, the split, the size and i alone, not on how many images are drawn.

    Args:
        images, test_images: how many, in each split.
        size: (H, W) in pixels, or one number for both.
        seed: of the scenes.

    Returns:
        images (N, 3, H, W) and masks (N, H, W).

    Raises:
        DataError: if there is no memory for so many images.
    """
    H, W = (size, size) if isinstance(size, int) else size
    if 4 * (images + test_images) * H * W > memory():  # three bytes of colour and one of mask a pixel
        raise DataError(f"{images} + {test_images} images of {H} x {W} pixels are more than the memory here holds.")
    return Dataset(
        card=CARD,
        classes=("background", *SHAPES),
        train=_scenes(images, H, W, seed, 0),
        test=_scenes(test_images, H, W, seed, 1),
        palette=torch.tensor(PALETTE, dtype=torch.uint8),
    )


def _scenes(count: int, H: int, W: int, seed: int, split: int) -> Split:
    images, masks = np.empty((count, 3, H, W), np.uint8), np.empty((count, H, W), np.uint8)
    for i in range(count):
        images[i], masks[i] = draw_scene(np.random.default_rng((seed, split, i)), H, W)
    return Split(torch.from_numpy(images), torch.from_numpy(masks))


def draw_scene(rng: np.random.Generator, H: int, W: int) -> tuple[np.ndarray, np.ndarray]:
    """One image (3, H, W) and its mask (H, W), both in uint8: a background, shapes over it, the later over the earlier.

    A pixel belongs to a shape if its centre lies inside. The image shows the edge smoothly, the mask is never mixed.
    """
    y, x = np.mgrid[:H, :W].astype(np.float32)
    side = min(H, W)
    count = rng.integers(2, 4)
    colours, centres = spread(rng, 1 + count, 3), 0.15 + 0.7 * spread(rng, count, 2)
    mask = np.zeros((H, W), np.uint8)
    image = paint(rng, colours[0], 3 * x / side, 3 * y / side)
    for colour, centre in zip(colours[1:], centres, strict=True):
        label = rng.integers(1, 1 + len(SHAPES))
        radius, angle = side * rng.uniform(0.17, 0.27), rng.uniform(0, 2 * math.pi)
        dx, dy = x - W * centre[0], y - H * centre[1]
        u = (math.cos(angle) * dx + math.sin(angle) * dy) / radius  # the pixels in the shape's own coordinates
        v = (math.cos(angle) * dy - math.sin(angle) * dx) / radius
        distance = list(SHAPES.values())[label - 1](u, v) * radius  # in pixels, negative inside
        mask[distance < 0] = label
        cover = np.clip(0.5 - distance, 0, 1)  # how much of a pixel lies inside, nearly
        image += cover * (paint(rng, colour, u, v) - image)
    image += rng.uniform(0, 0.04) * rng.standard_normal(image.shape, np.float32)
    return np.rint(image.clip(0, 1) * 255).astype(np.uint8), mask


def spread(rng: np.random.Generator, count: int, axes: int) -> np.ndarray:
    """(count, axes): points in 0 ... 1, each the one of 6 random points that is farthest from all before it.

    As colours they can be told apart, as places they seldom hide each other.
    """
    points = rng.random((1, axes), np.float32)
    for _ in range(count - 1):
        candidates = rng.random((6, axes), np.float32)
        nearest = np.linalg.norm(candidates[:, None] - points, axis=-1).min(axis=1)  # (6,)
        points = np.concatenate([points, candidates[nearest.argmax(), None]])
    return points


def paint(rng: np.random.Generator, colour: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(3, H, W): a surface, plain one time in two, else striped, dotted or shaded with a second colour near its own."""
    second = np.clip(colour + rng.uniform(0.1, 0.25) * np.sign(rng.random(3, np.float32) - 0.5), 0, 1)
    angle, frequency, texture = rng.uniform(0, 2 * math.pi), rng.uniform(6, 14), rng.integers(-2, 4)
    along, across = math.cos(angle) * x + math.sin(angle) * y, math.cos(angle) * y - math.sin(angle) * x
    if texture <= 0:
        share = np.zeros_like(x)
    elif texture == 1:
        share = np.sin(frequency * along) > 0
    elif texture == 2:
        share = np.sin(frequency * along) * np.sin(frequency * across) > 0.4
    else:
        share = np.clip(0.5 + along / 2, 0, 1)
    colour, second = colour[:, None, None], second[:, None, None]  # (3, 1, 1)
    return colour + (second - colour) * share


# Each shape is its signed distance: (H, W) coordinates of pixels -> (H, W), negative inside. All have the area of the
# unit circle, so that their size does not tell them apart. Near an outer corner the distance is a little too small,
# which no mask sees, for its sign is right.


def circle(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.hypot(x, y) - 1


def ring(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    outer = 1 / math.sqrt(1 - 0.5**2)  # the hole has half that radius
    return np.abs(np.hypot(x, y) - 0.75 * outer) - 0.25 * outer


def fold(x: np.ndarray, y: np.ndarray, corners: int) -> tuple[np.ndarray, np.ndarray]:
    """Turn and mirror each pixel into the one wedge, of half the angle between two corners, that repeats all around.

    The corner lies on the x axis.
    """
    wedge = 2 * math.pi / corners
    angle = np.arctan2(y, x)
    angle = np.abs(angle - wedge * np.rint(angle / wedge))  # from the nearest corner
    length = np.hypot(x, y)
    return length * np.cos(angle), length * np.sin(angle)


def star_of(corners: int, inner: float) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """A star whose dents lie `inner` times as far out as its corners; with cos(π / corners), a regular polygon."""
    half = math.pi / corners  # the angle between a corner and a dent
    outer = math.sqrt(half / (inner * math.sin(half)))
    dent = inner * math.cos(half), inner * math.sin(half)
    edge = math.hypot(1 - dent[0], dent[1])

    def distance(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        x, y = fold(x, y, corners)
        return ((x - outer) * dent[1] + y * (1 - dent[0])) / edge  # from the line through the corner and the dent

    return distance


SHAPES = {
    "circle": circle,
    "triangle": star_of(3, math.cos(math.pi / 3)),
    "square": star_of(4, math.cos(math.pi / 4)),
    "star": star_of(5, 0.5),
    "ring": ring,
}
