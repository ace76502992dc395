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
from vitlab.figures.attention import show_attention, show_columns, show_matrices
from vitlab.figures.embeddings import show_patch_grid
from vitlab.figures.mit import show_place, show_shares
from vitlab.figures.overlap_embeddings import show_placements, show_pyramid
from vitlab.overlap_embeddings import output_size


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def photograph() -> torch.Tensor:
    return torch.rand(1, 3, 8, 12, generator=torch.Generator().manual_seed(0))  # 2 x 3 patches of 4 pixels


def test_patch_grid_leaves_the_patches_whole():
    image = photograph()
    show_patch_grid(image, patch_size=4, gap=2)
    drawn = torch.as_tensor(plt.gca().images[0].get_array())  # (2·6, 3·6, 3)
    torch.testing.assert_close(drawn[6:10, 12:16], image[0, :, 4:8, 8:12].permute(1, 2, 0))
    assert (drawn[4:6] == 1).all() and (drawn[:, 4:6] == 1).all()


def test_attention_maps_share_one_scale_that_begins_at_zero():
    even, sharp = torch.full((6,), 1 / 6), torch.tensor([0.0, 0.0, 0.9, 0.1, 0.0, 0.0])
    show_attention({"even": (0, even), "sharp": (2, sharp)}, (2, 3), image=photograph())
    picture, *maps = (ax.images[0] for ax in plt.gcf().axes[:3])
    torch.testing.assert_close(torch.as_tensor(picture.get_array()), photograph()[0].permute(1, 2, 0))
    assert [drawn.get_clim() for drawn in maps] == [(0, pytest.approx(0.9))] * 2
    assert torch.equal(torch.as_tensor(maps[1].get_array()), sharp.reshape(2, 3))
    query = plt.gcf().axes[2].patches[-2]  # its frame; the last one is the outline of the map
    assert (query.get_xy(), query.get_width()) == ((1.5, -0.5), 1)


def test_matrices_share_one_scale_in_which_zero_is_white():
    show_matrices({"A": torch.tensor([[1.0, -2.0]]), "B": torch.tensor([[0.0]])}, rows=["row"])
    drawn = [ax.images[0] for ax in plt.gcf().axes]
    assert [image.get_clim() for image in drawn] == [(-2, 2)] * 2
    assert min(drawn[1].to_rgba(drawn[1].get_array())[0, 0]) > 0.95


def test_numbers_have_the_colour_of_their_head_and_as_many_digits_as_they_need():
    heads = torch.tensor([[0, 1, -1]])
    show_columns({"whole": (torch.tensor([[11, 12, 13]]), heads), "not": (torch.tensor([[1.0, 0.5, 0.25]]), heads)})
    whole, fractions = plt.gcf().axes
    assert [text.get_text() for text in whole.texts] == ["11", "12", "13"]
    assert [text.get_text() for text in fractions.texts] == ["1.00", "0.50", "0.25"]
    assert len({patch.get_facecolor() for patch in whole.patches}) == 3


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


def test_every_patch_that_fits_is_drawn_and_no_other():
    lines = {"a": (16, 7, 4, 3), "b": (20, 4, 2, 1), "c": (15, 4, 3, 0)}
    show_placements(lines)
    for ax, (size, k, s, padding) in zip(plt.gcf().axes, lines.values(), strict=True):
        bars = [patch for patch in ax.patches if patch.get_y() < 0]
        assert len(bars) == output_size(size, k, s, padding)
        assert len(ax.patches) - len(bars) == size + 2 * padding
        assert bars[-1].get_x() + bars[-1].get_width() < size + padding


def test_a_map_is_drawn_as_large_as_it_is():
    maps = {name: torch.rand(1, 3, side, 2 * side) for name, side in (("F_1", 16), ("F_2", 8))}
    show_pyramid(maps)
    widths = [right - left for left, right, _, _ in (image.get_extent() for image in plt.gca().images)]
    assert widths == [32, 16]


def test_the_stages_bars_are_their_shares():
    show_shares({"products": [1, 1, 2, 4], "parameters": [5, 5, 5, 5]})
    widths = [bar.get_width() for bar in plt.gca().patches]
    assert widths == [12.5, 12.5, 25, 50, 25, 25, 25, 25]


def test_a_place_lies_in_the_square_of_its_token_at_every_resolution():
    show_place(torch.rand(3, 64, 64), 40, 20, sides=(4, 8, 16, 32))
    for square in plt.gca().patches:
        (x, y), side = square.get_xy(), square.get_width()
        assert x < 20 < x + side and y < 40 < y + side and (x + 0.5) % side == 0
