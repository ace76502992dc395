"""Augmentation: each operation against PIL or its formula, and the numbers of a step independent of who computes it."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps

from vitlab.data import IGNORE
from vitlab.training.augment import ImageAugmentation, MaskAugmentation, colours, geometry, mixing, rows
from vitlab.training.augment.randaugment import GEOMETRIC, OPERATIONS, rand_affine, rand_photometric

EVERYTHING = ImageAugmentation(
    crop_padding=4, flip=True, num_ops=2, magnitude=9, erase=0.5, mixup=0.8, cutmix=1.0, smoothing=0.1
)
EVERYTHING_FOR_MASKS = MaskAugmentation(crop=(20, 24), scale=(0.5, 2.0), flip=True, photometric=True)


def make_images(B: int, C: int = 3, H: int = 16, W: int = 24) -> torch.Tensor:
    """Smooth, coloured and not symmetric, each with a level range of its own."""
    y, x = torch.linspace(0, 1, H)[:, None], torch.linspace(0, 1, W)
    generator = torch.Generator().manual_seed(0)
    a, b, c, d = torch.rand(4, B, C, 1, 1, generator=generator)
    return (255 * (a * x + b * y + c * (9 * x * d + 5 * y).sin().abs()).clamp(0, 2) / 2.1).to(torch.uint8)


def run(augmentation, images, *, seed=0, step=0, labels=None, num_classes=5):
    labels = torch.arange(len(images)) % num_classes if labels is None else labels
    draws = augmentation.draw(len(images), seed=seed, step=step)
    return augmentation.apply(images, labels, draws, num_classes=num_classes)


def coordinates(H: int, W: int) -> torch.Tensor:
    """(1, 3, H, W): an image whose pixels say where they are: row, column, and a third channel that is never 0."""
    y, x = torch.meshgrid(torch.arange(H), torch.arange(W), indexing="ij")
    return torch.stack([y, x, torch.full_like(y, 200)])[None].to(torch.uint8)


# What both kinds promise.


def test_by_default_nothing_happens():
    images, masks = make_images(4), torch.randint(0, 5, (4, 16, 24), dtype=torch.uint8)
    found, targets = run(ImageAugmentation(), images)
    assert torch.equal(found, images / 255) and torch.equal(targets, torch.eye(5)[:4])
    found, labels = run(MaskAugmentation(), images, labels=masks)
    assert torch.equal(found, images / 255) and torch.equal(labels, masks.long())


BOTH = [(EVERYTHING, torch.arange(8) % 5), (EVERYTHING_FOR_MASKS, torch.arange(8)[:, None, None].expand(8, 16, 24))]


@pytest.mark.parametrize(("augmentation", "labels"), BOTH)
def test_two_processes_compute_what_one_does(augmentation, labels):
    images, labels = make_images(8), labels.to(torch.uint8).long()
    draws = augmentation.draw(8, seed=1, step=2)
    whole = augmentation.apply(images, labels, draws, num_classes=5)
    halves = [
        augmentation.apply(images[part], labels[part], rows(draws, part), num_classes=5)
        for part in (slice(0, 4), slice(4, 8))
    ]
    for one, two in zip(whole, zip(*halves, strict=True), strict=True):
        assert torch.equal(one, torch.cat(two))


@pytest.mark.parametrize(("augmentation", "labels"), BOTH)
def test_seed_and_step_decide_everything(augmentation, labels):
    images = make_images(8)
    first = run(augmentation, images, seed=1, step=2, labels=labels)
    again = run(augmentation, images, seed=1, step=2, labels=labels)
    assert torch.equal(first[0], again[0]) and torch.equal(first[1], again[1])
    assert not torch.equal(first[0], run(augmentation, images, seed=1, step=3, labels=labels)[0])
    assert not torch.equal(first[0], run(augmentation, images, seed=2, step=2, labels=labels)[0])


@pytest.mark.parametrize(("augmentation", "labels"), BOTH)
@pytest.mark.parametrize("C", [1, 3])
def test_images_stay_between_0_and_1_and_the_originals_as_they_were(augmentation, labels, C):
    images = make_images(8, C)
    before = images.clone()
    for step in range(20):
        found = run(augmentation, images, step=step, labels=labels)[0]
        assert found.dtype == torch.float32 and 0 <= found.min() and found.max() <= 1
    assert torch.equal(images, before)


# Geometry.


def test_a_shift_is_a_crop_of_the_padded_image_and_reaches_every_place():
    images = make_images(200)
    found, _ = run(ImageAugmentation(crop_padding=2), images)
    shifts = set()
    for image, new in zip(images, found * 255, strict=True):
        mean = image.float().mean((1, 2)).round()[:, None, None]
        padded = torch.nn.functional.pad(image - mean, (2, 2, 2, 2)) + mean
        crops = {(y, x): padded[:, y : y + 16, x : x + 24] for y in range(5) for x in range(5)}
        shifts |= {place for place, crop in crops.items() if torch.allclose(crop, new, atol=1e-3)}
    assert len(shifts) == 25


def test_every_second_image_is_mirrored():
    images = make_images(400)
    found, _ = run(ImageAugmentation(flip=True), images)
    mirrored = (found * 255 - images.flip(-1)).abs().amax((1, 2, 3)) < 1e-3
    same = (found * 255 - images).abs().amax((1, 2, 3)) < 1e-3
    assert torch.equal(mirrored, ~same) and 160 < mirrored.sum() < 240


QUARTER = {"angle": torch.tensor([torch.pi / 2]), "shear": torch.zeros(1, 2), "shift": torch.zeros(1, 2)}


def test_a_quarter_turn_is_that_of_rot90():
    images = make_images(1, H=16, W=16).float()
    found = geometry.warp(images, geometry.affine(**QUARTER), (16, 16), fill=0.0)
    assert torch.allclose(found, images.rot90(1, (2, 3)), atol=1e-3)


def test_rotation_comes_before_shear_and_shift():
    a, s, t = torch.tensor([0.3]), torch.tensor([[0.2, -0.4]]), torch.tensor([[5.0, -7.0]])
    rotation = torch.tensor([[a.cos(), -a.sin(), 0], [a.sin(), a.cos(), 0], [0, 0, 1]])
    shear_and_shift = torch.tensor([[1, 0.2, 5.0], [-0.4, 1, -7.0], [0, 0, 1]])
    assert torch.allclose(geometry.affine(angle=a, shear=s, shift=t)[0], shear_and_shift @ rotation)


@pytest.mark.parametrize("name", GEOMETRIC)
def test_geometric_operations_agree_with_pil(name):
    """PIL is given the matrix of the formula, about the same centre."""
    m, (H, W) = 0.7, (16, 24)
    image = make_images(1, C=1)
    a = np.deg2rad(30 * m)
    (p, q), (r, s), t = {
        "rotate": ((np.cos(a), -np.sin(a)), (np.sin(a), np.cos(a)), (0, 0)),
        "shear_x": ((1, 0.3 * m), (0, 1), (0, 0)),
        "shear_y": ((1, 0), (0.3 * m, 1), (0, 0)),
        "translate_x": ((1, 0), (0, 1), (0.3 * m * W, 0)),
        "translate_y": ((1, 0), (0, 1), (0, 0.3 * m * H)),
    }[name]
    centre = np.array([W / 2, H / 2])
    offset = centre + t - np.array([[p, q], [r, s]]) @ centre
    data = (p, q, offset[0], r, s, offset[1])
    expected = Image.fromarray(image[0, 0].numpy()).transform(
        (W, H), Image.Transform.AFFINE, data, Image.Resampling.BILINEAR, fillcolor=0
    )
    matrix = rand_affine(torch.tensor([[OPERATIONS.index(name)]]), torch.tensor([[m]]), (H, W))
    found = geometry.warp(image.float(), matrix, (H, W), fill=0.0)[0, 0]
    x, y = torch.meshgrid(torch.arange(W) + 0.5, torch.arange(H) + 0.5, indexing="xy")
    from_x, from_y = p * x + q * y + data[2], r * x + s * y + data[5]
    inside = (from_x > 0.5) & (from_x < W - 0.5) & (from_y > 0.5) & (from_y < H - 0.5)  # PIL does not blend the border
    assert inside.float().mean() > 0.5
    assert (found - torch.tensor(np.asarray(expected)).float())[inside].abs().max() < 1.01


@pytest.mark.parametrize("scale", [(0.25, 0.25), (0.5, 2.0), (1.0, 1.0), (2.0, 2.0)])
def test_image_and_mask_move_together(scale):
    """The masks are the row and the column of each pixel, and so are the image's first two channels."""
    image = coordinates(40, 60).expand(32, -1, -1, -1)
    augmentation = MaskAugmentation(crop=(20, 30), scale=scale, flip=True)
    found, row = run(augmentation, image, labels=image[:, 0])
    _, column = run(augmentation, image, labels=image[:, 1])
    inner = (row > 0) & (row < 39) & (column > 0) & (column < 59)  # the border is blended with the mean colour
    assert inner.flatten(1).any(dim=1).all()
    assert ((found[:, 0] * 255 - row).abs()[inner] < 1.01).all()  # half a pixel and a rounding
    assert ((found[:, 1] * 255 - column).abs()[inner] < 1.01).all()
    assert torch.equal(row == IGNORE, column == IGNORE)


def test_a_crop_without_resizing_is_a_piece_of_the_image():
    """At whole pixels; place = 0.5 is the middle."""
    image = coordinates(40, 60)
    augmentation = MaskAugmentation(crop=(20, 30))
    draws = augmentation.draw(1, seed=0, step=0) | {"place": torch.tensor([[0.5, 0.5]])}
    found, labels = augmentation.apply(image, image[:, 0], draws, num_classes=60)
    assert torch.allclose(found * 255, image[:, :, 10:30, 15:45].float(), atol=1e-3)
    assert torch.equal(labels, image[:, 0, 10:30, 15:45].long())


def test_place_0_is_the_left_top_corner_whether_the_image_is_larger_or_smaller_than_the_crop():
    image, crop = coordinates(40, 60), (20, 30)
    for scale in (1.0, 0.25):
        augmentation = MaskAugmentation(crop=crop, scale=(scale, scale))
        draws = augmentation.draw(1, seed=0, step=0) | {"place": torch.zeros(1, 2)}
        _, labels = augmentation.apply(image, image[:, 1], draws, num_classes=60)
        assert labels[0, 0, 0] <= 1.5 / scale and (labels[0, -1, -1] == IGNORE) == (scale < 0.5)


def test_every_part_of_an_image_is_cropped_and_only_what_lies_outside_is_ignored():
    image = coordinates(40, 60).expand(300, -1, -1, -1)
    _, labels = run(MaskAugmentation(crop=(20, 30), scale=(1.0, 2.0)), image, labels=image[:, 1])
    assert set(labels.unique().tolist()) == set(range(60))
    _, labels = run(MaskAugmentation(crop=(20, 30), scale=(0.25, 0.25)), image, labels=image[:, 1])
    shown = (labels != IGNORE).sum((1, 2))
    assert ((shown >= 9 * 14) & (shown <= 11 * 16)).all()  # the whole image, 10 x 15, never cut


def test_masks_are_never_mixed():
    masks = torch.where(torch.rand(16, 24, 32) < 0.5, 1, 200).to(torch.uint8)
    _, labels = run(EVERYTHING_FOR_MASKS, make_images(16, H=24, W=32), labels=masks)
    assert set(labels.unique().tolist()) == {1, 200, IGNORE} and labels.dtype == torch.int64


def test_images_of_several_sizes_become_one_batch():
    images = [make_images(1)[0], make_images(1, H=30, W=40)[0]]
    masks = [torch.zeros(16, 24, dtype=torch.uint8), torch.ones(30, 40, dtype=torch.uint8)]
    found, labels = run(EVERYTHING_FOR_MASKS, images, labels=masks)
    assert found.shape == (2, 3, 20, 24) and labels.shape == (2, 20, 24)
    for i in range(2):
        assert set(labels[i].unique().tolist()) - {IGNORE} == {i}
    with pytest.raises(ValueError, match="several sizes: give a crop"):
        run(MaskAugmentation(flip=True), images, labels=masks)


# Photometry against PIL.


def pil_image(levels: torch.Tensor) -> Image.Image:
    return Image.fromarray(levels.permute(1, 2, 0).numpy())


FACTORS = (0.1, 0.7, 1.0, 1.3, 1.9)
CASES = [
    *[("brightness", f, lambda x, f: ImageEnhance.Brightness(x).enhance(f), 1) for f in FACTORS],
    *[("contrast", f, lambda x, f: ImageEnhance.Contrast(x).enhance(f), 2) for f in FACTORS],  # and the mean, times 0.9
    *[("colour", f, lambda x, f: ImageEnhance.Color(x).enhance(f), 2) for f in FACTORS],  # and the grey
    *[("sharpness", f, lambda x, f: ImageEnhance.Sharpness(x).enhance(f), 2) for f in FACTORS],  # and the blurred
    *[("posterize", b, ImageOps.posterize, 0) for b in (1, 4, 7, 8)],
    *[("solarize", t, ImageOps.solarize, 0) for t in (0, 77, 128, 256)],
    ("autocontrast", None, lambda x, _: ImageOps.autocontrast(x), 1),
    ("equalize", None, lambda x, _: ImageOps.equalize(x), 0),
]


@pytest.mark.parametrize(("name", "value", "by_pil", "tolerance"), CASES, ids=[f"{c[0]}-{c[1]}" for c in CASES])
def test_photometric_operations_agree_with_pil(name, value, by_pil, tolerance):
    images = torch.cat([make_images(4, H=48, W=64), torch.full((1, 3, 48, 64), 77, dtype=torch.uint8)])
    values = [] if value is None else [torch.full((len(images), 1, 1, 1), float(value))]
    found = getattr(colours, name)(images.float(), *values)
    expected = np.stack([np.asarray(by_pil(pil_image(image), value)) for image in images])
    difference = (found.permute(0, 2, 3, 1) - torch.from_numpy(expected).float()).abs()
    assert difference.max() <= tolerance


def test_randaugment_does_to_each_image_what_was_drawn_for_it_in_that_order():
    names = [("invert", "posterize"), ("posterize", "invert"), ("identity", "solarize"), ("rotate", "identity")]
    operation = torch.tensor([[OPERATIONS.index(name) for name in pair] for pair in names])
    images, m = make_images(4).float(), torch.full((4, 2), 0.5)
    found = rand_photometric(images.clone(), operation, m)
    bits, threshold = torch.tensor(6.0), torch.tensor(128.0)
    assert torch.equal(found[0], colours.posterize(255 - images[0], bits))
    assert torch.equal(found[1], 255 - colours.posterize(images[1], bits))
    assert torch.equal(found[2], colours.solarize(images[2], threshold))
    assert torch.equal(found[3], images[3])
    matrices = rand_affine(operation, m, (16, 24))
    assert torch.equal(matrices[:3], torch.eye(3).expand(3, 3, 3))
    assert matrices[3, 0, 0].item() == pytest.approx(np.cos(np.deg2rad(15)))


def test_randaugment_draws_every_operation_equally_often():
    draws = EVERYTHING.draw(6000, seed=0, step=0)
    counts = torch.bincount((draws["operation"] * len(OPERATIONS)).long().flatten(), minlength=len(OPERATIONS))
    assert len(counts) == len(OPERATIONS) and counts.min() > 0.85 * counts.float().mean()


def test_randaugment_makes_as_many_images_brighter_as_darker():
    images, augmentation = make_images(400), ImageAugmentation(num_ops=1, magnitude=5)
    brightness = (OPERATIONS.index("brightness") + 0.5) / len(OPERATIONS)
    draws = augmentation.draw(400, seed=0, step=0) | {"operation": torch.full((400, 1), brightness)}
    found, _ = augmentation.apply(images, torch.zeros(400, dtype=torch.long), draws, num_classes=2)
    brighter = found.mean((1, 2, 3)) > (images / 255).mean((1, 2, 3))
    assert 160 < brighter.sum() < 240


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (2, 9), (9, 1)])
def test_an_image_that_is_all_border_is_as_sharp_as_before(size):
    levels = torch.randint(0, 256, (2, 3, *size)).float()
    assert torch.equal(colours.sharpness(levels, torch.full((2, 1, 1, 1), 1.9)), levels)


def test_the_photometry_of_masks_changes_brightness_contrast_and_colour_by_a_factor_of_a_half_to_one_and_a_half():
    images, augmentation = make_images(2), MaskAugmentation(photometric=True)
    draws = augmentation.draw(2, seed=0, step=0) | {"factors": torch.tensor([[0.0, 0.5, 1.0], [0.8, 0.1, 0.5]])}
    found, _ = augmentation.apply(images, images[:, 0], draws, num_classes=5)
    for image, new, (b, c, s) in zip(images.float(), found, ((0.5, 1.0, 1.5), (1.3, 0.6, 1.0)), strict=True):
        expected = colours.brightness(image[None], torch.tensor(b))
        expected = colours.colour(colours.contrast(expected, torch.tensor(c)), torch.tensor(s))
        assert torch.allclose(new * 255, expected[0], atol=1.01)


def test_a_larger_magnitude_changes_more():
    images = make_images(100)
    change = [
        (run(ImageAugmentation(num_ops=1, magnitude=m), images)[0] - images / 255).abs().mean() for m in (0, 3, 6, 9)
    ]
    assert all(less < more for less, more in pairwise(change))


# Rectangles and mixtures.


def test_erasing_takes_the_promised_share_of_the_promised_images_and_fills_with_their_mean():
    images = make_images(1000, H=32, W=32)
    found = run(ImageAugmentation(erase=0.4), images)[0] * 255
    whole = mixing.erased(torch.rand(1000, 5), 1.0, (32, 32)).float().mean((1, 2, 3))
    assert whole.min() > 0.01 and whole.max() < 0.37 and 0.15 < whole.mean() < 0.2
    changed = (found - images).abs() > 1e-3
    assert 0.35 < changed.flatten(1).any(1).float().mean() < 0.45
    mean = images.float().mean((2, 3), keepdim=True)
    assert ((found - mean).abs()[changed] <= 0.51).all()


@pytest.mark.parametrize("augmentation", [ImageAugmentation(mixup=0.8), ImageAugmentation(cutmix=1.0), EVERYTHING])
def test_targets_are_probabilities(augmentation):
    _, targets = run(augmentation, make_images(64))
    assert torch.allclose(targets.sum(1), torch.ones(64)) and targets.min() >= 0


def flat_pairs(B: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Black and white images by turns, with the labels 0 and 1: what is seen is the share of label 1."""
    labels = torch.arange(B) % 2
    return (255 * labels[:, None, None, None]).expand(B, 3, 16, 24).to(torch.uint8), labels


def test_cutmix_targets_are_the_areas():
    images, labels = flat_pairs(64)
    found, targets = run(ImageAugmentation(cutmix=1.0), images, labels=labels, num_classes=2)
    assert set(found.unique().tolist()) == {0.0, 1.0}
    white = (found[:, 0] == 1).sum((1, 2))  # pixels
    assert torch.allclose(targets[:, 1] * 16 * 24, white.float(), atol=1e-3)
    assert white.unique().numel() > 30


def test_a_cutmix_rectangle_in_the_middle_has_the_area_that_was_drawn():
    weights = mixing.cutmix_weights(torch.tensor([0.75]), torch.tensor([[0.5, 0.5]]), (16, 24))
    expected = torch.ones(16, 24)
    expected[4:12, 6:18] = 0
    assert torch.equal(weights[0, 0], expected)


def test_mixup_targets_are_the_weights():
    images, labels = flat_pairs(64)
    found, targets = run(ImageAugmentation(mixup=0.8), images, labels=labels, num_classes=2)
    assert torch.allclose(found, targets[:, 1, None, None, None].expand_as(found), atol=1e-6)
    assert targets[:, 1].unique().numel() > 30


def test_mixup_and_cutmix_share_the_images_evenly():
    images, labels = flat_pairs(400)
    found, _ = run(ImageAugmentation(mixup=1.0, cutmix=1.0), images, labels=labels, num_classes=2)
    by_mixup = ((found > 0) & (found < 1)).all(dim=3).all(dim=2).all(dim=1)
    assert 160 < by_mixup.sum() < 240


def test_partners_are_neighbours():
    labels = torch.arange(6)
    _, targets = run(ImageAugmentation(mixup=1.0), make_images(6), labels=labels, num_classes=6)
    assert torch.equal(targets > 0, torch.block_diag(*[torch.ones(2, 2)] * 3).bool())


def test_an_odd_number_of_images_cannot_be_mixed():
    with pytest.raises(ValueError, match="in pairs, but there are 3 in this process: make it even"):
        run(ImageAugmentation(mixup=0.8), make_images(3))


def test_label_smoothing_is_its_formula():
    _, targets = run(ImageAugmentation(smoothing=0.2), make_images(2), labels=torch.tensor([3, 0]), num_classes=4)
    assert torch.allclose(targets, torch.tensor([[0.05, 0.05, 0.05, 0.85], [0.85, 0.05, 0.05, 0.05]]))
