"""Segmenter's mask transformer: the classes become tokens, too, and each one looks for its patches.

Lecture: "ViT for Semantic Segmentation", "Transformer Decoders".
Paper: Strudel et al., "Segmenter: Transformer for Semantic Segmentation", 2021, section 3.2, "Mask Transformer".
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vitlab.encoder import Encoder, initialize
from vitlab.layer_norm import LayerNorm
from vitlab.segmentation.head import Head


def mask_scores(patches: Tensor, classes: Tensor) -> Tensor:
    """How similar each patch is to each class: the cosine of their angle.

        p̂_i = p_i / ‖p_i‖,    ĉ_k = c_k / ‖c_k‖,    score_ik = p̂_i · ĉ_k

    Args:
        patches: (B, n, d), projected.
        classes: (B, N, d), projected.

    Returns:
        (B, n, N), each between -1 and 1.

    Source: Strudel et al., section 3.2, "Mask Transformer".
    """
    p_hat = F.normalize(patches, dim=-1)  # (B, n, d)
    c_hat = F.normalize(classes, dim=-1)  # (B, N, d)
    return p_hat @ c_hat.transpose(-2, -1)  # (B, n, d) @ (B, d, N) -> (B, n, N)


class SegmenterHead(Head):
    """One learned token a class goes through two blocks with the patches; a mask is how similar they are then.

        [p_1; ...; p_n; c_1; ...; c_N] = Encoder([z_L W + b; class embeddings])
        p̂_i = p_i W_P / ‖p_i W_P‖,    ĉ_k = c_k W_C / ‖c_k W_C‖
        logits_i = LN(p̂_i · ĉ_1, ..., p̂_i · ĉ_N)

    The encoder ends with an LN over the d features of a token; this one is over the N classes of a patch. Cosines lie
    between -1 and 1, so that by softmax no class could be more than e² times as probable as another; it spreads them
    out. Of two numbers LN keeps only which one is larger, and that has no gradient: the head needs three classes.

    Args:
        d: embedding dimension of the ViT.
        num_classes: N, the lecture's N_classes, 3 or more.
        num_heads: h of the attention; heads of 64 numbers, as in the ViTs, where it is None.
        depth: the number of blocks.

    Shapes: [(B, d, rows, columns)] -> (B, num_classes, rows, columns).

    Raises:
        ValueError: if d is not a multiple of the number of heads, or there are fewer than three classes.

    Source: lecture, "Transformer Decoders"; Strudel et al., section 3.2.
    """

    def __init__(self, d: int, num_classes: int, *, num_heads: int | None = None, depth: int = 2):
        super().__init__(d)
        if num_classes < 3:
            raise ValueError(
                f"num_classes is {num_classes}, but this head must have at least 3: its layer normalization over the "
                f"classes leaves nothing to learn from fewer."
            )
        self.project = nn.Linear(d, d)
        self.class_embeddings = nn.Parameter(torch.empty(num_classes, d))
        self.encoder = Encoder(depth, d, num_heads or max(d // 64, 1), 4 * d)
        self.project_patches = nn.Linear(d, d, bias=False)  # W_P
        self.project_classes = nn.Linear(d, d, bias=False)  # W_C
        self.norm = LayerNorm(num_classes)
        self.apply(initialize)
        nn.init.trunc_normal_(self.class_embeddings, std=0.02)

    def forward(self, features: list[Tensor]) -> Tensor:
        B, _, rows, columns = features[-1].shape
        N = len(self.class_embeddings)
        patches = self.project(features[-1].flatten(2).transpose(1, 2))  # (B, n, d)
        classes = self.class_embeddings.expand(B, -1, -1)  # (B, N, d)
        tokens = self.encoder(torch.cat([patches, classes], dim=1))  # (B, n+N, d)
        patches, classes = self.project_patches(tokens[:, :-N]), self.project_classes(tokens[:, -N:])
        masks = self.norm(mask_scores(patches, classes))  # (B, n, N)
        return masks.transpose(1, 2).unflatten(2, (rows, columns))  # (B, N, rows, columns)
