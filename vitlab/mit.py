"""The Mix Transformer (MiT), SegFormer's encoder: a few stages, each at half the resolution of the one before.

Lecture: "SegFormer Encoder: What Changes from ViT?", "SegFormer Encoder: Complete Architecture".
Paper: Xie et al., "SegFormer", 2021, section 3.1 and table 6.
"""

from dataclasses import dataclass
from itertools import accumulate
from operator import mul

import torch
from torch import Tensor, nn

from vitlab.encoder import EncoderBlock, drop_path_rates, initialize, run_blocks
from vitlab.layer_norm import LayerNorm
from vitlab.mix_ffn import MixFeedForward
from vitlab.overlap_embeddings import EPS, OverlapEmbeddings
from vitlab.pretrained.model import PublishedModel, checked
from vitlab.sra import SpatialReductionAttention
from vitlab.steps import UNSEEN, Steps
from vitlab.validation import Counts, Outputs, Rate, Size, Sizes, batch_of_images


@dataclass(frozen=True)
class MiTConfig:
    """The numbers that make a MiT; a tuple has one number a stage.

    The published models have four stages. Small images want fewer, with smaller strides.

    Attributes:
        d: embedding dimensions, the lecture's channels C_1 ... C_4.
        depths: blocks.
        num_heads: heads of the attention; each divides its d.
        sr_ratios: R of the attention.
        kernel_sizes, strides: k, odd, and s of the overlapping patches.
        num_classes: outputs of the classification head; 0 for a model without one.
        channels: C of the images.
        drop_path: stochastic depth of the last block of all.
    """

    d: Sizes
    depths: Counts
    num_heads: Sizes = (1, 2, 5, 8)
    sr_ratios: Sizes = (8, 4, 2, 1)
    kernel_sizes: Sizes = (7, 3, 3, 3)
    strides: Sizes = (4, 2, 2, 2)
    num_classes: Outputs = 1000
    channels: Size = 3
    drop_path: Rate = 0.1


_WIDE = (64, 128, 320, 512)

CONFIGS = {
    "MiT-B0": MiTConfig((32, 64, 160, 256), (2, 2, 2, 2)),
    "MiT-B1": MiTConfig(_WIDE, (2, 2, 2, 2)),
    "MiT-B2": MiTConfig(_WIDE, (3, 4, 6, 3)),
    "MiT-B3": MiTConfig(_WIDE, (3, 4, 18, 3)),
    "MiT-B4": MiTConfig(_WIDE, (3, 8, 27, 3)),
    "MiT-B5": MiTConfig(_WIDE, (3, 6, 40, 3)),
}


class Stage(nn.Module):
    """Overlapping patch embeddings, pre-LN blocks of SRA and Mix-FFN, a last LN.

    Args:
        channels: C of the images or feature maps that come in.
        d: embedding dimension.
        num_heads: h of the SRA.
        sr_ratio: R of the SRA.
        kernel_size, stride: k and s of the patches.
        drop_path: a rate for each block, which also says how many blocks there are.

    Shapes: (B, C, H, W) -> (B, d, ⌈H/s⌉, ⌈W/s⌉).

    Source: lecture, "Modified Transformer Block Structure".
    """

    def __init__(
        self,
        channels: int,
        d: int,
        *,
        num_heads: int,
        sr_ratio: int,
        kernel_size: int,
        stride: int,
        drop_path: list[float],
    ):
        super().__init__()
        self.embeddings = OverlapEmbeddings(channels, d, kernel_size=kernel_size, stride=stride)
        self.blocks = nn.ModuleList(
            EncoderBlock(
                d, SpatialReductionAttention(d, num_heads, sr_ratio), MixFeedForward(d, 4 * d), drop_path=rate, eps=EPS
            )
            for rate in drop_path
        )
        self.norm = LayerNorm(d, eps=EPS)

    def forward(self, x: Tensor, gradient_checkpointing: bool = False, steps: Steps = UNSEEN) -> Tensor:
        """(B, C, H, W) -> (B, d, ⌈H/s⌉, ⌈W/s⌉). Steps: z_0, block_1, block_2, ..., those of each block."""
        z_0 = steps["z_0"] = self.embeddings(x)  # (B, rows, columns, d)
        Z = run_blocks(self.blocks, z_0, gradient_checkpointing, steps)[-1]
        return self.norm(Z).permute(0, 3, 1, 2)  # (B, d, rows, columns), a view


class MiT(PublishedModel):
    """A few stages, published with four; with a head, a classifier.

        F_i = Stage_i(F_{i-1}),    F_0 = x,    y = mean(F_last) W + b

    Set `model.gradient_checkpointing = True` to train with less memory and more time.

    Names of published sizes: "MiT-B0" ... "MiT-B5".

    Args:
        config: its numbers. `MiT.from_config("MiT-B0")` takes the published ones.

    Shapes: (B, C, H, W) -> (B, num_classes), or (B, d_last) for a model without a head. `features` gives the pyramid.
    Any H and W from 29 up, in the published sizes.

    Raises:
        ValueError: if the tuples of the config differ in length, a d is not a multiple of its number of heads, a k is
            even, or an image has another number of channels or is too small.

    Source: lecture, "SegFormer Encoder: Complete Architecture".
    """

    Config, CONFIGS = MiTConfig, CONFIGS

    def __init__(self, config: MiTConfig):
        super().__init__(config)
        lengths = {name: len(value) for name, value in vars(config).items() if isinstance(value, tuple)}
        if len(set(lengths.values())) > 1:
            found = ", ".join(f"{name} {length}" for name, length in lengths.items())
            raise ValueError(f"every stage needs one number of each kind, but there are: {found}.")
        channels = (config.channels, *config.d)
        rates = drop_path_rates(config.drop_path, sum(config.depths))  # of all blocks of all stages
        first = list(accumulate(config.depths, initial=0))  # the number of each stage's first block
        self.stages = nn.ModuleList(
            Stage(
                channels[i],
                config.d[i],
                num_heads=config.num_heads[i],
                sr_ratio=config.sr_ratios[i],
                kernel_size=config.kernel_sizes[i],
                stride=config.strides[i],
                drop_path=rates[first[i] : first[i + 1]],
            )
            for i in range(len(config.d))
        )
        self.gradient_checkpointing = False
        self.head = nn.Linear(config.d[-1], config.num_classes) if config.num_classes else None
        self.apply(initialize)

    def forward(self, images: Tensor, steps: Steps = UNSEEN) -> Tensor:
        y = self.features(images, steps)[-1].mean(dim=(2, 3))  # (B, d_last)
        return y if self.head is None else self.head(y)

    def features(self, images: Tensor, steps: Steps = UNSEEN) -> list[Tensor]:
        """The pyramid F_1, F_2, ...: (B, C, H, W) -> (B, d_i, H_i, W_i).

        H_i = ⌈H_{i-1} / s_i⌉, in the published sizes ⌈H / 2^{i+1}⌉, and W_i likewise.
        Steps: stage_1, stage_2, ..., those of each stage.
        """
        # Every stage must leave at least R x R tokens for its attention: ⌈H / (s_1 ... s_i)⌉ >= R_i.
        shrunk = accumulate(self.config.strides, mul)  # s_1, s_1 s_2, ...
        smallest = max(s * (R - 1) + 1 for s, R in zip(shrunk, self.config.sr_ratios, strict=True))
        if min(batch_of_images(checked(self, images)).shape[-2:]) < smallest:
            raise ValueError(
                f"the images are {images.shape[-2]} x {images.shape[-1]} pixels, but height and width must be at least "
                f"{smallest}: a smaller image leaves too few tokens for the reduced attention."
            )
        features = []
        # Channels last: then tokens (B, H, W, d) and feature maps (B, d, H, W) are views of the same memory.
        x = images.contiguous(memory_format=torch.channels_last)
        for i, stage in enumerate(self.stages, start=1):
            x = stage(x, self.gradient_checkpointing and self.training, steps.of(f"stage_{i}"))
            features.append(x)
        return features
