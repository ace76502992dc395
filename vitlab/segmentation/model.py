"""A ViT that says what every pixel shows: its patch tokens, and a segmentation head.

Lecture: "ViT for Semantic Segmentation".
"""

import torch
from torch import Tensor, nn

from vitlab.decoder import upsample as upsample_to
from vitlab.decoder import upsampled_cross_entropy
from vitlab.embeddings import patch_grid
from vitlab.encoder import run_blocks
from vitlab.fast import upsampled_argmax
from vitlab.pretrained.model import checked
from vitlab.segmentation.head import Head
from vitlab.vit import ViT


class SegmentationViT(nn.Module):
    """From images to class scores for every pixel.

        z_l = Block_l(z_{l-1}),    F_l = the patch tokens of z_l, laid out as the grid of patches
        Logits = Upsample(Head(F_l of the blocks that the head reads))

    The class token takes part in the attention and is left out then: it has no place in the image.

    Set `model.gradient_checkpointing = True` to train with less memory and more time.

    Args:
        vit: the encoder, with random or published weights. The model uses its embeddings and blocks themselves, not
            copies, and has no use for a classification head.
        head: what makes logits of its tokens; see `vitlab.segmentation`.

    Shapes: (B, C, H, W) -> (B, num_classes, H, W), or the head's own resolution with `upsample=False`. H and W are any
    multiples of P: E_pos is interpolated.

    Raises:
        ValueError: if the head was made for another d, an image size is not a multiple of P, an image has another
            number of channels, or images are no tensor of the model's own kind of numbers.

    Source: lecture, "ViT for Semantic Segmentation".
    """

    AUXILIARY_WEIGHT = 0.4  # of each auxiliary head in the loss, as in the published training of SETR

    def __init__(self, vit: ViT, head: Head):
        super().__init__()
        if head.d != vit.config.d:
            raise ValueError(f"the head was made for d = {head.d}, but the tokens of this ViT have d = {vit.config.d}.")
        self.embeddings = vit.embeddings
        self.blocks = vit.encoder.blocks
        self.norm = vit.encoder.norm if head.last_norm else nn.Identity()
        self.head = head
        self.gradient_checkpointing = False

    def forward(self, images: Tensor, upsample: bool = True) -> Tensor:
        logits = self.head(self.features(images))
        return upsample_to(logits, images.shape[-2:]) if upsample else logits

    @torch.no_grad()
    def segment(self, images: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """The class of every pixel, with few logits of full size at once: (B, C, H, W) -> (B, H, W), or (B, *size)."""
        return upsampled_argmax(self(images, upsample=False), size or images.shape[-2:])

    def features(self, images: Tensor) -> list[Tensor]:
        """The maps that the head reads: (B, C, H, W) -> (B, d, H/P, W/P) each, the last block's last."""
        z_0 = self.embeddings(checked(self, images))  # (B, n+1, d)
        outputs = run_blocks(self.blocks, z_0, self.gradient_checkpointing and self.training)
        outputs[-1] = self.norm(outputs[-1])
        grid = patch_grid(images, self.embeddings.patch_size)
        read = [outputs[block] for block in self.head.blocks(len(outputs))]
        return [z_l[:, 1:].transpose(1, 2).unflatten(2, grid) for z_l in read]  # (B, n+1, d) -> (B, d, H/P, W/P)

    def loss(self, images: Tensor, labels: Tensor, *, ignore_index: int = 255) -> Tensor:
        """The mean cross-entropy of the upsampled logits, with 0.4 times that of each auxiliary head added.

        Args:
            images: (B, C, H, W).
            labels: (B, H, W), integers.
            ignore_index: the label of pixels that do not count.
        """
        features = self.features(images)
        loss = upsampled_cross_entropy(self.head(features), labels, ignore_index)
        for logits in self.head.auxiliary(features):
            loss = loss + self.AUXILIARY_WEIGHT * upsampled_cross_entropy(logits, labels, ignore_index)
        return loss
