"""SegFormer's All-MLP decoder: a pyramid of feature maps in, a score for every class and pixel out.

Lecture: "SegFormer Decoder (All-MLP Head)".
Paper: Xie et al., "SegFormer", 2021, section 3.2.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vitlab import fast
from vitlab.steps import UNSEEN, Steps
from vitlab.validation import checked_labels


def upsample(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Stretch feature maps bilinearly; pixels are squares, and the outer edges of the corner pixels stay aligned.

    Args:
        x: (B, C, H, W).
        size: the new (H, W).

    Returns:
        (B, C, *size).

    Source: lecture, "SegFormer Decoder (All-MLP Head)", step 2.
    """
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


def project_and_upsample(F: Tensor, L: Tensor, b: Tensor, size: tuple[int, int]) -> Tensor:
    """Bring a map to C channels, then to another size.

        F̃ = F L + b,    F̂ = up(F̃)

    The lecture writes L F + b, with the C_i numbers of a position as a column; here they are a row.

    Args:
        F: (B, C_i, h, w).
        L: (C_i, C).
        b: (C,).
        size: the new (H, W).

    Returns:
        (B, C, H, W).

    Source: lecture, "SegFormer Decoder (All-MLP Head)", steps 1 and 2.
    """
    tokens = F.permute(0, 2, 3, 1)  # (B, h, w, C_i)
    projected = tokens @ L + b  # (B, h, w, C)
    channels_first = projected.permute(0, 3, 1, 2)  # (B, C, h, w)
    return upsample(channels_first, size)


def all_mlp_decoder(features: list[Tensor], p: dict[str, Tensor]) -> Tensor:
    """Project, upsample, concatenate, fuse and classify.

        F̂_i = up(F_i L_i + b_i)
        F = ReLU(Concat(F̂_1, ..., F̂_4) W + b)
        logits = F W_head + b_head

    Args:
        features: four maps (B, C_i, H_i, W_i), the largest first.
        p: the parameters: L_1 ... L_4, (C_i, C) each; b_1 ... b_4, (C,) each; W, (4C, C); b, (C,); W_head, (C, N);
            b_head, (N,).

    Returns:
        (B, N, H_1, W_1).

    Source: lecture, "SegFormer Decoder (All-MLP Head)", steps 1 to 4. The published models normalize before ReLU.
    """
    size = features[0].shape[-2:]
    upsampled = []
    for i, F_i in enumerate(features, start=1):
        upsampled.append(project_and_upsample(F_i, p[f"L_{i}"], p[f"b_{i}"], size))  # (B, C, H_1, W_1)
    concatenated = torch.cat(upsampled, dim=1)  # (B, 4C, H_1, W_1)
    tokens = concatenated.permute(0, 2, 3, 1)  # (B, H_1, W_1, 4C)
    fused = tokens @ p["W"] + p["b"]  # (B, H_1, W_1, C)
    activated = torch.relu(fused)
    logits = activated @ p["W_head"] + p["b_head"]  # (B, H_1, W_1, N)
    return logits.permute(0, 3, 1, 2)  # (B, N, H_1, W_1)


def fused_decoder(features: list[Tensor], p: dict[str, Tensor]) -> Tensor:
    """`all_mlp_decoder` without its large tensors: each map is fused before it is upsampled, and nothing concatenated.

    Projecting and fusing act on channels, upsampling acts on positions with weights that sum to 1: they commute. With
    W_i the rows of W that belong to map i,

        Concat(up(F_1 L_1 + b_1), ...) W = Σ_i up(F_i L_i W_i + b_i W_i)

    Args, returns: as `all_mlp_decoder`.

    Source: the lecture's steps 1 to 4 in another order.
    """
    size = features[0].shape[-2:]
    blocks = p["W"].chunk(len(features))  # W_1 ... W_4, (C, C) each
    fused = p["b"][:, None, None]  # (C, 1, 1)
    for i, (F_i, W_i) in enumerate(zip(features, blocks, strict=True), start=1):
        L = p[f"L_{i}"] @ W_i  # (C_i, C)
        b = p[f"b_{i}"] @ W_i  # (C,)
        fused = fused + project_and_upsample(F_i, L, b, size)  # (B, C, H_1, W_1)
    activated = torch.relu(fused)
    tokens = activated.permute(0, 2, 3, 1)  # (B, H_1, W_1, C)
    logits = tokens @ p["W_head"] + p["b_head"]  # (B, H_1, W_1, N)
    return logits.permute(0, 3, 1, 2)  # (B, N, H_1, W_1)


class AllMLPDecoder(nn.Module):
    """The All-MLP head with learnable weights: `forward` as used, `as_taught` as in the lecture, same parameters.

        F̃_i = F_i L_i + b_i                          project to C channels
        F̂_i = up(F̃_i)                                upsample to H/4 x W/4
        F = Concat(F̂_1, ..., F̂_4) W                  concatenate and fuse
        logits = classify(dropout(ReLU(BN(F))))

    Args:
        d: embedding dimensions of the maps, four in the published sizes.
        C: channels in between.
        num_classes: N_classes.
        dropout: rate at which whole channels are dropped before the classifier.

    Shapes: four maps (B, d_i, H_i, W_i) -> (B, num_classes, H_1, W_1).

    Source: lecture, "SegFormer Decoder (All-MLP Head)", steps 1 to 4.
    """

    def __init__(self, d: tuple[int, ...], C: int, num_classes: int, *, dropout: float = 0.1):
        super().__init__()
        self.project = nn.ModuleList(nn.Linear(d_i, C) for d_i in d)
        self.fuse = nn.Linear(len(d) * C, C, bias=False)  # takes F̂_4 first and F̂_1 last, as the published weights do
        self.norm = nn.BatchNorm2d(C)
        self.dropout = nn.Dropout2d(dropout)
        self.classify = fast.Linear(C, num_classes)

    def forward(self, features: list[Tensor], steps: Steps = UNSEEN) -> Tensor:
        return fast.all_mlp_decoder(self, features) if fast.is_on(steps) else self.as_taught(features, steps)

    def as_taught(self, features: list[Tensor], steps: Steps = UNSEEN) -> Tensor:
        """The lecture's four steps: four maps (B, d_i, H_i, W_i) -> (B, num_classes, H_1, W_1).

        Steps: upsampled_1 ... upsampled_4, fused, activated.
        """
        size = features[0].shape[-2:]
        upsampled = []
        for i, (F_i, L_i) in enumerate(zip(features, self.project, strict=True), start=1):
            L = L_i.weight.T  # (d_i, C)
            F_hat = steps[f"upsampled_{i}"] = project_and_upsample(F_i, L, L_i.bias, size)
            upsampled.append(F_hat)  # (B, C, H_1, W_1)
        concatenated = torch.cat(upsampled[::-1], dim=1)  # (B, 4C, H_1, W_1)
        fused = self.fuse(concatenated.permute(0, 2, 3, 1))  # (B, H_1, W_1, 4C) -> (B, H_1, W_1, C)
        fused = steps["fused"] = fused.permute(0, 3, 1, 2)  # (B, C, H_1, W_1)
        activated = steps["activated"] = self.dropout(F.relu(self.norm(fused)))  # (B, C, H_1, W_1)
        logits = self.classify(activated.permute(0, 2, 3, 1))  # (B, H_1, W_1, C) -> (B, H_1, W_1, num_classes)
        return logits.permute(0, 3, 1, 2)  # (B, num_classes, H_1, W_1)


def upsampled_cross_entropy(logits: Tensor, labels: Tensor, ignore_index: int = 255) -> Tensor:
    """The mean cross-entropy of upsampled logits.

        L = -1/|V| Σ_{p in V} log softmax(upsample(logits))_{p, labels_p},    V = the pixels that are not ignored

    Args:
        logits: (B, num_classes, h, w).
        labels: (B, H, W), integers; H and W are the size to upsample to.
        ignore_index: the label of pixels that do not count.

    Returns:
        The loss, a number in float32; not a number where every pixel is ignored, as in torch.

    Raises:
        ValueError: if the labels are not classes, or not one for every pixel of every image.

    Source: lecture, "SegFormer Decoder (All-MLP Head)", step 4, and "Training".
    """
    labels = checked_labels(labels, logits, ignore_index)
    with torch.autocast(logits.device.type, enabled=False):  # a loss wants float32
        if fast.is_on():
            return fast.upsampled_cross_entropy(logits, labels, ignore_index)
        x = logits.to(torch.promote_types(logits.dtype, torch.float32))
        return F.cross_entropy(upsample(x, labels.shape[1:]), labels, ignore_index=ignore_index)
