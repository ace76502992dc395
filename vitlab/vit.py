"""The Vision Transformer: embeddings, encoder, classification head.

Lecture: "What are Vision Transformers (ViTs)?", "Standard Classification Pipeline".
Papers: Dosovitskiy et al., "An Image is Worth 16x16 Words", 2021; Touvron et al., "Training data-efficient image
transformers", 2021 (ViT-Ti and ViT-S); Caron et al., "Emerging Properties in Self-Supervised Vision Transformers", 2021
(DINO).
"""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vitlab import fast
from vitlab.embeddings import Embeddings, assemble_sequence, embed_patches
from vitlab.encoder import EPS, Encoder, encoder, initialize
from vitlab.fast.class_token import class_token
from vitlab.ffn import ffn_parameters
from vitlab.pretrained.model import PublishedModel, checked
from vitlab.steps import UNSEEN, Steps
from vitlab.validation import Count, Outputs, Positive, Rate, Size


def vit(images: Tensor, p: dict[str, Any], patch_size: int, num_heads: int) -> Tensor:
    """From images to class scores, read from the class token.

        z_0 = [x_class; x_p^1 E + b; ...; x_p^n E + b] + E_pos,    z_L = Encoder(z_0),    y = z_L^0 W_head + b_head

    Args:
        images: (B, C, H, W).
        p: the parameters: E, (P²·C, d); b, (d,); x_class, (d,); E_pos, (n+1, d); blocks, a list as `encoder` takes it;
            gamma, beta, (d,) each, of the last LN; W_head, (d, N); b_head, (N,).
        patch_size: P, the side of a patch in pixels.
        num_heads: h, which divides d.

    Returns:
        (B, N), a score for every class.

    Raises:
        ValueError: if H or W is not a multiple of P, or E_pos has not n+1 rows.

    Source: lecture, "Standard Classification Pipeline", steps 1 to 5.
    """
    patch_embeddings = embed_patches(images, p["E"], patch_size) + p["b"]  # (B, n, d)
    z_0 = assemble_sequence(patch_embeddings, p["x_class"], p["E_pos"])  # (B, n+1, d)
    z_L = encoder(z_0, p["blocks"], p["gamma"], p["beta"], num_heads)  # (B, n+1, d)
    z_class = z_L[:, 0]  # (B, d)
    return z_class @ p["W_head"] + p["b_head"]


def vit_parameters(depth: int, d: int, patch_size: int, image_size: int, num_classes: int) -> int:
    """How many numbers a published ViT learns.

    It has 3 channels and d_ff = 4d, and biases everywhere: of the patches, of the four projections of every attention,
    of both layers of every FFN, of the head.

    Args:
        depth: L, the number of blocks.
        d: embedding dimension.
        patch_size: P, the side of a patch in pixels.
        image_size: the side of the images in pixels.
        num_classes: N, the outputs of the head.

    Source: Dosovitskiy et al., table 1; lecture, "ViT-Base, ViT-Large, ViT-Huge".
    """
    n = (image_size // patch_size) ** 2
    patches = patch_size**2 * 3 * d + d
    class_embedding = d
    positions = (n + 1) * d
    norm = 2 * d
    attention = 4 * d**2 + 4 * d
    block = norm + attention + norm + ffn_parameters(d, 4 * d)
    head = d * num_classes + num_classes
    return patches + class_embedding + positions + depth * block + norm + head


@dataclass(frozen=True)
class ViTConfig:
    """The numbers that make a ViT.

    Attributes:
        depth: L, the number of blocks.
        d: embedding dimension.
        num_heads: h, which divides d.
        patch_size: P, the side of a patch in pixels.
        image_size: side, or (H, W), of the images in pixels for which E_pos is learned.
        num_classes: outputs of the head; 0 for a model without one.
        channels: C of the images.
        d_ff: the dimension inside the FFN; 4d where it is None.
        pool: what the head sees: the token of the "class", or the "mean" of the patch tokens.
        pooler: whether a linear layer and tanh stand before the head, which makes it an MLP with one hidden layer.
        drop_path: stochastic depth of the last block.
        eps: ε of every LN.
    """

    depth: Count
    d: Size
    num_heads: Size
    patch_size: Size
    image_size: Size | tuple[Size, Size] = 224
    num_classes: Outputs = 1000
    channels: Size = 3
    d_ff: Size | None = None
    pool: Literal["class", "mean"] = "class"
    pooler: bool = False
    drop_path: Rate = 0.0
    eps: Positive = EPS


_SIZES = {"Ti": (12, 192, 3), "S": (12, 384, 6), "B": (12, 768, 12), "L": (24, 1024, 16), "H": (32, 1280, 16)}

CONFIGS = {
    f"ViT-{size}/{patch_size}": ViTConfig(*numbers, patch_size)
    for size, numbers in _SIZES.items()
    for patch_size in (14, 16, 32)
} | {
    f"DINO-{size}/{patch_size}": ViTConfig(*_SIZES[size], patch_size, num_classes=0)
    for size in ("S", "B")
    for patch_size in (8, 16)
}


class ViT(PublishedModel):
    """From images to class scores.

        z_0 = Embeddings(x),    z_L = Encoder(z_0),    y = MLP(z_L^0)

    Set `model.encoder.gradient_checkpointing = True` to train with less memory and more time, or
    `model.patch_dropout = 0.5` to train on another half of the patches of each image in every step.

    Names of published sizes: "ViT-B/16" and the like (sizes Ti, S, B, L, H; patches 14, 16, 32), or "DINO-S/8",
    "DINO-S/16", "DINO-B/8", "DINO-B/16", which have no head.

    Args:
        config: its numbers. `ViT.from_config("ViT-B/16")` takes the published ones.

    Shapes: (B, C, H, W) -> (B, num_classes), or (B, d) for a model without a head. H and W are any multiples of P:
    E_pos is interpolated.

    Raises:
        ValueError: if d is not a multiple of the number of heads, an image size is not a multiple of P, an image has
            another number of channels, or a number of the config is out of its range.

    Source: lecture, "Standard Classification Pipeline", steps 1 to 5.
    """

    Config, CONFIGS = ViTConfig, CONFIGS

    def __init__(self, config: ViTConfig):
        super().__init__(config)
        size = config.image_size
        self.embeddings = Embeddings(
            image_size=(size, size) if isinstance(size, int) else size,
            patch_size=config.patch_size,
            d=config.d,
            channels=config.channels,
        )
        self.encoder = Encoder(
            config.depth,
            config.d,
            config.num_heads,
            config.d_ff or 4 * config.d,
            drop_path=config.drop_path,
            eps=config.eps,
        )
        self.patch_dropout = 0.0
        self.pooler = nn.Linear(config.d, config.d) if config.pooler else None
        self.head = nn.Linear(config.d, config.num_classes) if config.num_classes else None
        for part in (self.encoder, self.pooler, self.head):  # E and x_class stay as small as E_pos: none hides another
            if part is not None:
                part.apply(initialize)

    def forward(self, images: Tensor, steps: Steps = UNSEEN) -> Tensor:
        """(B, C, H, W) -> (B, num_classes). Steps: z_0, block_1 ... block_L, z_L."""
        if self.config.pool == "mean":
            return self.classify(self.tokens(images, steps)[:, 1:].mean(dim=1))
        if fast.is_on(steps):
            return self.classify(class_token(self.encoder, self._sequence(images)))
        return self.classify(self.tokens(images, steps)[:, 0])

    def classify(self, y: Tensor) -> Tensor:
        """MLP(y), as far as the model has one: (B, d) -> (B, num_classes)."""
        if self.pooler is not None:
            y = torch.tanh(self.pooler(y))
        return y if self.head is None else self.head(y)

    def tokens(self, images: Tensor, steps: Steps = UNSEEN) -> Tensor:
        """z_L, normalized, the class token first: (B, C, H, W) -> (B, n+1, d)."""
        z_0 = steps["z_0"] = self._sequence(images)
        z_L = steps["z_L"] = self.encoder(z_0, steps)
        return z_L

    def parameters_as_taught(self) -> dict[str, Any]:
        """Those of a model with a head and no pooler as `vit` takes them, which knows no biases in the attention.

        Raises:
            ValueError: if the model has no head.
        """
        if self.head is None:
            raise ValueError("this model has no head, but the lecture's ViT has one: set num_classes in its config.")
        return {
            "E": self.embeddings.E,
            "b": self.embeddings.projection.bias,
            "x_class": self.embeddings.class_embedding,
            "E_pos": self.embeddings.position_embedding,
            "blocks": [block.parameters_as_taught() for block in self.encoder.blocks],
            "gamma": self.encoder.norm.gamma,
            "beta": self.encoder.norm.beta,
            "W_head": self.head.weight.T,  # (d, N)
            "b_head": self.head.bias,
        }

    def attention_maps(self, images: Tensor) -> list[Tensor]:
        """A' of every head of every block: (B, C, H, W) -> L tensors (B, h, n+1, n+1)."""
        steps = Steps()
        self.tokens(images, steps)
        return [steps[f"block_{number}"]["weights"] for number in range(1, self.config.depth + 1)]

    def _sequence(self, images: Tensor) -> Tensor:
        """z_0, in training without the patches that are left out: (B, C, H, W) -> (B, n+1, d)."""
        z_0 = self.embeddings(checked(self, images))
        return leave_out_patches(z_0, self.patch_dropout) if self.training and self.patch_dropout else z_0


def leave_out_patches(Z: Tensor, share: float) -> Tensor:
    """Keep the class token and a random part of the patches, another one for each image; for training.

    Args:
        Z: (B, n+1, d), with the positions, so that a patch that stays keeps its place.
        share: of the n patches, that is left out.

    Returns:
        (B, k+1, d), where k is n (1 - share), rounded, but at least 1, in a random order.

    Source: Liu et al., "PatchDropout: Economizing Vision Transformers Using Patch Dropout", 2023.
    """
    B, n, d = Z.shape[0], Z.shape[1] - 1, Z.shape[2]
    order = torch.rand(B, n, device=Z.device).argsort(dim=1)
    k = max(1, round(n * (1 - share)))
    kept = F.pad(1 + order[:, :k], (1, 0))  # (B, k+1), the class token's 0 first
    return Z.gather(1, kept[:, :, None].expand(-1, -1, d))  # (B, k+1, 1) -> (B, k+1, d)
