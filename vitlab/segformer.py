"""SegFormer: the MiT encoder and the All-MLP decoder.

Lecture: "Efficient Hierarchical Transformer", "SegFormer Architecture".
Paper: Xie et al., "SegFormer: Simple and Efficient Design for Semantic Segmentation with Transformers", 2021.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from vitlab.decoder import AllMLPDecoder, upsampled_cross_entropy
from vitlab.decoder import upsample as upsample_to
from vitlab.encoder import initialize
from vitlab.fast import all_mlp_classes
from vitlab.mit import CONFIGS as MIT_CONFIGS
from vitlab.mit import MiT, MiTConfig
from vitlab.pretrained.model import PublishedModel
from vitlab.steps import UNSEEN, Steps
from vitlab.validation import Classes, Rate, Size


@dataclass(frozen=True)
class SegFormerConfig:
    """The numbers that make a SegFormer.

    Attributes:
        encoder: those of its MiT, which needs no head.
        C: channels of the decoder.
        num_classes: N_classes.
        dropout: rate of the dropout before the classifier.
    """

    encoder: MiTConfig
    C: Size
    num_classes: Classes = 150
    dropout: Rate = 0.1


_DECODER_CHANNELS = {"B0": 256, "B1": 256, "B2": 768, "B3": 768, "B4": 768, "B5": 768}

CONFIGS = {
    name: SegFormerConfig(replace(MIT_CONFIGS[f"MiT-{name}"], num_classes=0), C)
    for name, C in _DECODER_CHANNELS.items()
}


class SegFormer(PublishedModel):
    """From images to class scores for every pixel.

        F_1, ..., F_4 = MiT(x),    Logits = Upsample(Decoder(F_1, ..., F_4))

    Set `model.encoder.gradient_checkpointing = True` to train with less memory and more time.

    Names of published sizes: "B0" ... "B5".

    Args:
        config: its numbers. `SegFormer.from_config("B0")` takes the published ones.

    Shapes: (B, C, H, W) -> (B, num_classes, H, W), or (B, num_classes, ⌈H/4⌉, ⌈W/4⌉) with `upsample=False`. Any H and W
    from 29 up.

    Raises:
        ValueError: if an image has another number of channels or is too small.

    Source: lecture, "SegFormer Architecture".
    """

    Config, CONFIGS = SegFormerConfig, CONFIGS

    def __init__(self, config: SegFormerConfig):
        super().__init__(config)
        self.encoder = MiT(config.encoder)
        self.decoder = AllMLPDecoder(config.encoder.d, config.C, config.num_classes, dropout=config.dropout)
        self.decoder.apply(initialize)

    def forward(self, images: Tensor, upsample: bool = True, steps: Steps = UNSEEN) -> Tensor:
        """(B, C, H, W) -> (B, num_classes, H, W). Steps: those of the encoder's `features` and of the decoder."""
        features = self.encoder.features(images, steps)  # (B, d_i, ⌈H/2^{i+1}⌉, ⌈W/2^{i+1}⌉) each
        logits = self.decoder(features, steps)  # (B, num_classes, ⌈H/4⌉, ⌈W/4⌉)
        return upsample_to(logits, images.shape[-2:]) if upsample else logits

    @torch.no_grad()
    def segment(self, images: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """The class of every pixel, with few logits of full size at once: (B, C, H, W) -> (B, H, W), or (B, *size)."""
        return all_mlp_classes(self.decoder, self.encoder.features(images), size or images.shape[-2:])

    def loss(self, images: Tensor, labels: Tensor, *, ignore_index: int = 255) -> Tensor:
        """The mean cross-entropy of `forward(images)`, in a fraction of its memory: see `upsampled_cross_entropy`.

        Args:
            images: (B, C, H, W).
            labels: (B, H, W), integers.
            ignore_index: the label of pixels that do not count.
        """
        return upsampled_cross_entropy(self(images, upsample=False), labels, ignore_index)
