"""The scenes of shapes: repeatable, exact, varied, and not to be solved by colour."""

import math

import numpy as np
import pytest
import torch
from sklearn.ensemble import RandomForestClassifier

from vitlab.data import DataError, load
from vitlab.data.shapes import SHAPES, draw_scene
from vitlab.segmentation import ConfusionMatrix


def scenes(**options):
    return load("shapes", **{"images": 12, "test_images": 6, "size": 32} | options)


def test_images_and_masks_are_what_a_split_promises():
    shapes = scenes(size=(24, 40))
    assert shapes.train.images.shape == (12, 3, 24, 40) and shapes.train.images.dtype == torch.uint8
    assert shapes.train.labels.shape == (12, 24, 40) and shapes.train.labels.dtype == torch.uint8
    assert len(shapes.test) == 6 and shapes.is_segmentation
    assert len(shapes.palette.unique(dim=0)) == len(shapes.classes) == 6
    mean, deviation = shapes.normalization().mean, shapes.normalization().deviation
    assert ((0.3 < mean) & (mean < 0.7)).all() and ((0.1 < deviation) & (deviation < 0.4)).all()


def test_an_image_depends_on_the_seed_and_its_place_but_not_on_how_many_there_are():
    few, many = scenes(images=3), scenes(images=9)
    assert torch.equal(few.train.images, many.train.images[:3]) and torch.equal(few.train.labels, many.train.labels[:3])
    assert torch.equal(few.test.images, many.test.images)
    assert not torch.equal(few.train.images, scenes(images=3, seed=1).train.images)


def test_no_image_is_in_both_splits():
    shapes = scenes(images=200, test_images=200)
    both = torch.cat([shapes.train.images, shapes.test.images])
    assert len(both.flatten(1).unique(dim=0)) == 400


def test_every_class_is_common():
    shapes = scenes(images=200)
    present = torch.stack([(shapes.train.labels == c).flatten(1).any(dim=1) for c in range(6)], dim=1)
    assert present[:, 0].all() and (present[:, 1:].float().mean(0) > 0.3).all()


FARTHEST = {  # from the centre, of a shape with the area of the unit circle
    "circle": 1,
    "triangle": math.sqrt(math.pi / (3 / 4 * math.sqrt(3))),
    "square": math.sqrt(math.pi / 2),
    "star": math.sqrt(math.pi / (5 / 2 * math.sin(math.pi / 5))),
    "ring": math.sqrt(4 / 3),
}


@pytest.mark.parametrize("name", SHAPES)
def test_a_shape_has_the_area_of_the_unit_circle_and_reaches_as_far_as_its_formula_says(name):
    y, x = np.mgrid[-2:2:801j, -2:2:801j]
    inside = SHAPES[name](x, y) < 0
    assert inside.mean() * 16 == pytest.approx(math.pi, rel=0.005)
    assert np.hypot(x, y)[inside].max() == pytest.approx(FARTHEST[name], abs=0.01)


@pytest.mark.parametrize("name", SHAPES)
def test_the_distance_grows_by_one_for_each_step_across_the_edge(name):
    y, x = np.mgrid[-2:2:801j, -2:2:801j]
    distance = SHAPES[name](x, y)
    slope = np.hypot(*np.gradient(distance, 4 / 800))
    near = np.abs(distance) < 0.04
    assert np.median(slope[near]) == pytest.approx(1, abs=0.01)


def test_a_mask_changes_where_the_image_does():
    """Over many scenes the step of colour between two neighbours is far larger where their labels differ."""
    shapes = scenes(images=100)
    images, labels = shapes.train.images.float(), shapes.train.labels
    step = (images[..., 2:] - images[..., :-2]).norm(dim=1)
    differ = labels[..., 2:] != labels[..., :-2]
    assert step[differ].mean() > 3 * step[~differ].mean()


def test_the_same_scene_is_drawn_at_another_size():
    small, large = (draw_scene(np.random.default_rng(5), size, size)[1] for size in (32, 96))
    assert (small == large[1::3, 1::3]).mean() > 0.93


def test_the_colour_of_a_pixel_does_not_tell_its_class():
    """A forest that sees only the colour finds hardly more than guessing "background" everywhere."""

    def colours(split):
        return split.images.permute(0, 2, 3, 1).reshape(-1, 3).numpy()  # (pixels, 3)

    shapes = scenes(images=100, test_images=50)
    forest = RandomForestClassifier(20, max_depth=12, random_state=0)
    forest.fit(colours(shapes.train), shapes.train.labels.flatten().numpy())
    matrix = ConfusionMatrix(6)
    matrix.update(torch.from_numpy(forest.predict(colours(shapes.test))), shapes.test.labels.flatten())
    assert matrix.mean_iou() < 0.2


def test_more_than_memory_holds_is_explained():
    with pytest.raises(DataError, match="more than the memory here holds"):
        scenes(images=10**9)
