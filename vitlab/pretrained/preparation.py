"""How a picture becomes what a model sees: each entry of preprocessor_config.json is followed, or refused."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vitlab.data.pictures import in_8_bits
from vitlab.pretrained.checkpoint import read_settings
from vitlab.pretrained.forms import CheckpointError
from vitlab.validation import Colour, Limits, validated

PREPROCESSOR_FILE = "preprocessor_config.json"
LARGEST = 2**24  # pixels that a model is given
LONGEST = 256  # times the shorter side: from a strip of one pixel by thousands would come millions, and minutes of work

# Entries that change no pixel here: pictures always become RGB, or grey for a model of one channel.
OTHERS = """image_processor_type feature_extractor_type processor_class do_convert_rgb data_format input_data_format
return_tensors do_reduce_labels reduce_labels device disable_grouping _valid_processor_keys""".split()

Side = Annotated[int, Limits(ge=1, le=4096)]
Mean = Annotated[float, Limits(ge=-1e6, le=1e6)]
Factor = Annotated[float, Limits(ge=1e-6, le=1e6)]


@dataclass(frozen=True)
class Extent:
    """Height and width; or the shortest edge, with the other one in proportion."""

    height: Side | None = None
    width: Side | None = None
    shortest_edge: Side | None = None

    @property
    def shape(self) -> str:
        return " and ".join(name for name, value in vars(self).items() if value)


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """From a picture to numbers: resize, crop, rescale, normalize, in this order.

    Attributes:
        do_resize, size, resample: by Pillow's filter of this number.
        do_center_crop, crop_size: the middle, with a black border where the picture is smaller.
        do_rescale, rescale_factor: what bytes are multiplied with.
        do_normalize, image_mean, image_std: of each channel, after the rescaling.
        palette: a colour for each class of a segmentation, which this package adds to the file.
    """

    do_resize: bool = True
    size: Extent = Extent()
    resample: Annotated[int, Limits(ge=0, le=5)] = Image.Resampling.BILINEAR.value
    do_center_crop: bool = False
    crop_size: Extent = Extent()
    do_rescale: bool = True
    rescale_factor: Factor = 1 / 255
    do_normalize: bool = True
    image_mean: tuple[Mean, ...] = ()
    image_std: tuple[Factor, ...] = ()
    palette: tuple[Colour, ...] = ()

    def __call__(self, picture: Image.Image, channels: int) -> Tensor:
        """A picture of H' x W' pixels -> (C, H, W).

        Raises:
            ValueError: if it is too large or too narrow.
            DataError: if it is none, or of 32 bits.
        """
        picture = in_8_bits(picture, "the picture").convert("L" if channels == 1 else "RGB")
        size = picture.size  # (W, H), as Pillow wants it
        if self.do_resize and self.size.shortest_edge:
            size = tuple(side * self.size.shortest_edge // min(size) for side in size)
        elif self.do_resize:
            size = (self.size.width, self.size.height)
        if size[0] * size[1] > LARGEST:
            raise ValueError(f"{size[1]} x {size[0]} pixels are too many for a model: {LARGEST:,} are the most.")
        if max(size) > LONGEST * min(size):
            raise ValueError(f"{size[1]} x {size[0]} pixels are a strip: a side is at most {LONGEST} times the other.")
        if size != picture.size:
            picture = picture.resize(size, self.resample)
        if self.do_center_crop:
            width, height = self.crop_size.width, self.crop_size.height
            left, top = (picture.width - width) // 2, (picture.height - height) // 2
            picture = picture.crop((left, top, left + width, top + height))
        x = torch.from_numpy(np.array(picture)).float().view(picture.height, picture.width, channels)
        x = x.permute(2, 0, 1)  # (H, W, C) -> (C, H, W)
        if self.do_rescale:
            x = x * self.rescale_factor
        if self.do_normalize:
            mean, deviation = (torch.tensor(each).view(-1, 1, 1) for each in (self.image_mean, self.image_std))
            x = (x - mean) / deviation
        return x


def read_preparation(id_or_folder: str | Path, channels: int, num_classes: int, is_segmentation: bool) -> Preparation:
    """What preprocessor_config.json says.

    Args:
        id_or_folder: as in `from_pretrained`.
        channels: C of the model's images.
        num_classes: of the model.
        is_segmentation: whether the model says something of every pixel.

    Raises:
        CheckpointError: if the file cannot be read, has an entry that is not known here, or does not suit the model.
    """
    settings, where = read_settings(id_or_folder, PREPROCESSOR_FILE), f"{PREPROCESSOR_FILE} of {id_or_folder}"
    known = {field.name for field in fields(Preparation)}
    entries = {
        name: {"height": value, "width": value} if name in ("size", "crop_size") and isinstance(value, int) else value
        for name, value in settings.items()
        if name not in OTHERS and value is not None and (name in known or value is not False)
    }
    made = validated(Preparation, entries, where, CheckpointError)
    fault = None
    if made.do_resize and made.size.shape not in ("height and width", "shortest_edge"):
        fault = "do_resize, but size has to have either height and width, or shortest_edge"
    elif made.do_center_crop and made.crop_size.shape != "height and width":
        fault = "do_center_crop, but crop_size has to have height and width"
    elif made.do_center_crop and is_segmentation:
        fault = "do_center_crop, but a segmentation has to see all of a picture"
    elif made.do_normalize and not len(made.image_mean) == len(made.image_std) == channels:
        fault = f"do_normalize, but image_mean and image_std have to have a number for each channel, {channels}"
    elif len(made.palette) not in (0, num_classes):
        fault = f"palette, but it has {len(made.palette)} colours for {num_classes} classes"
    if fault:
        raise CheckpointError(f"{where} says {fault}.")
    return made
