"""What the figures compute, and how a notebook gets them; what they draw is looked at in the book."""

import re
from base64 import b64decode
from io import BytesIO

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from PIL import Image
from sklearn.datasets import load_sample_image

matplotlib.use("Agg")

from vitlab.figures import look_at_it, show_images, to_svg
from vitlab.figures.attention import describe_patches, show_attention
from vitlab.figures.embeddings import show_patch_grid


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def photograph() -> torch.Tensor:
    return torch.rand(1, 3, 8, 12, generator=torch.Generator().manual_seed(0))  # 2 x 3 patches of 4 pixels


def test_each_group_of_a_description_has_length_one():
    lengths = describe_patches(photograph(), patch_size=4).unflatten(-1, (3, 8)).norm(dim=-1)
    torch.testing.assert_close(lengths, torch.ones(1, 6, 3))


def test_colour_group_finds_the_patch_of_the_same_colour():
    image = torch.zeros(1, 3, 4, 16)  # four patches: red, blue, red, green
    for i, channel in enumerate((0, 2, 0, 1)):
        image[:, channel, :, 4 * i : 4 * i + 4] = 1
    colour = describe_patches(image, patch_size=4)[0, :, :8]
    similarity = colour @ colour.T
    torch.testing.assert_close(similarity[0, 2], torch.tensor(1.0))
    assert similarity[0, 1] < 0 and similarity[0, 3] < 0


def test_texture_group_tells_directions_apart():
    image = torch.full((1, 3, 4, 12), 0.5)  # three patches: upright stripes, level stripes, upright stripes
    image[..., 0:4:2] = 0
    image[..., ::2, 4:8] = 0
    image[..., 8:12:2] = 0
    texture = describe_patches(image, patch_size=4)[0, :, 8:16]
    assert texture[0] @ texture[2] > 0.5 > texture[0] @ texture[1]


def test_position_group_falls_off_with_distance():
    position = describe_patches(torch.rand(1, 3, 4, 40), patch_size=4)[0, :, 16:]
    similarity = position[0] @ position.T
    assert (similarity.diff() < 0).all()


def test_patch_grid_leaves_the_patches_whole():
    image = photograph()
    show_patch_grid(image, patch_size=4, gap=2)
    drawn = torch.as_tensor(plt.gca().images[0].get_array())  # (2·6, 3·6, 3)
    torch.testing.assert_close(drawn[6:10, 12:16], image[0, :, 4:8, 8:12].permute(1, 2, 0))
    assert (drawn[4:6] == 1).all() and (drawn[:, 4:6] == 1).all()


def test_attention_is_brightest_where_the_weight_is_largest():
    weights = torch.tensor([0.1, 0.1, 0.1, 0.1, 0.5, 0.1])
    show_attention(torch.ones(1, 3, 8, 12), {"": weights}, patch_size=4, query=0)
    drawn = torch.as_tensor(plt.gcf().axes[0].images[0].get_array())
    assert (drawn[4:8, 4:8] == 1).all()
    assert drawn[0:4].max() < 0.5


def test_a_result_that_cannot_be_drawn_gets_a_sentence(capsys):
    with look_at_it():
        raise NotImplementedError
    assert "Nothing to see yet" in capsys.readouterr().out
    with look_at_it():
        plt.figure()
        raise ValueError("5 patches")
    assert "cannot be drawn (ValueError: 5 patches)" in capsys.readouterr().out
    assert not plt.get_fignums()


def pictures_in(svg: str) -> list[Image.Image]:
    data = re.findall(r"data:image/(\w+);base64,([^\"]+)", svg)
    assert {form for form, _ in data} <= {"webp"}
    return [Image.open(BytesIO(b64decode(picture))) for _, picture in data]


def test_a_notebook_gets_an_svg_and_nothing_else():
    show_images({"a title": photograph()})
    InteractiveShell.instance()  # display() prints without one
    with capture_output() as shown:
        InteractiveShell.instance().display_formatter.format(plt.gcf())
    (output,) = shown.outputs
    assert list(output.data) == ["image/svg+xml"] and output.data["image/svg+xml"].startswith("<?xml")


def test_photographs_are_webp_of_the_size_shown():
    china = torch.tensor(load_sample_image("china.jpg")).permute(2, 0, 1)[None] / 255
    show_images({"": china})
    svg = to_svg(plt.gcf())
    (picture,) = pictures_in(svg)
    assert 576 <= picture.width <= china.shape[-1]  # six inches are 576 pixels of a page
    assert len(svg) < 100_000
    upright = picture.convert("RGB").transpose(Image.Transpose.FLIP_TOP_BOTTOM)  # Matplotlib stores it upside down
    small = np.asarray(upright.resize((64, 43))) / 255
    expected = np.asarray(Image.fromarray(load_sample_image("china.jpg")).resize((64, 43))) / 255
    assert np.abs(small - expected).mean() < 0.02


def test_pictures_of_few_colours_lose_nothing():
    chessboard = (torch.arange(8)[:, None] + torch.arange(8)) % 2
    show_images({"": chessboard.float()[None, None]})
    (picture,) = pictures_in(to_svg(plt.gcf()))
    assert {colour[:3] for _, colour in picture.convert("RGBA").getcolors()} == {(0, 0, 0), (255, 255, 255)}


def test_the_same_figure_is_the_same_text():
    texts = []
    for _ in range(2):
        show_images({"a title": photograph()})
        texts.append(to_svg(plt.gcf()))
    assert texts[0] == texts[1]
