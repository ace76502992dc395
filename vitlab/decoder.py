"""SegFormer's All-MLP decoder: a pyramid of feature maps in, a score for every class and pixel out.

Lecture: "SegFormer Decoder (All-MLP Head)".
Paper: Xie et al., "SegFormer", 2021, section 3.2.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vitlab.linear import Linear, linear


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


def upsampling_matrix(n: int, new_n: int, like: Tensor) -> Tensor:
    """The matrix U of linear interpolation from n to `new_n` points, so that upsample(X) = U X Uᵀ for one channel.

    Every row holds at most two weights other than 0, and they sum to 1.

    Args:
        n, new_n: numbers of points.
        like: a tensor whose dtype and device U shall have.

    Returns:
        (new_n, n).
    """
    identity = torch.eye(n, dtype=like.dtype, device=like.device)
    return F.interpolate(identity[None], size=new_n, mode="linear", align_corners=False)[0].T


def rows_below(top: int, bottom: int, n: int, new_n: int) -> tuple[int, int]:
    """Of n rows that are stretched to `new_n`, those from which the new rows `top` ... `bottom` - 1 are made.

    Only for them has `upsampling_matrix` weights in its rows `top` ... `bottom` - 1.

    Returns:
        (low, high): the rows low ... high - 1.
    """
    return max(int((top + 0.5) * n / new_n - 0.5), 0), min(int((bottom - 0.5) * n / new_n - 0.5) + 2, n)


class AllMLPDecoder(nn.Module):
    """The All-MLP head with learnable weights: `forward` as used, `as_taught` as in the lecture, same parameters.

        F̃_i = L_i F_i + b_i                          project to C channels
        F̂_i = up(F̃_i)                                upsample to H/4 x W/4
        F = W Concat(F̂_1, ..., F̂_4)                  concatenate and fuse
        logits = classify(dropout(ReLU(BN(F))))

    Projecting and fusing act on channels, upsampling acts on positions with weights that sum to 1: they commute. With
    W = [W_1 ... W_4], one block of columns for each map,

        W Concat(up(L_1 F_1 + b_1), ...) = Σ_i up((W_i L_i) F_i + W_i b_i)

    so `forward` fuses the small maps before it upsamples them, and the 4C channels are never stored.

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
        self.classify = Linear(C, num_classes)

    def forward(self, features: list[Tensor]) -> Tensor:
        W = self.fuse.weight  # (C, 4C) for four maps
        b = W @ torch.cat([L_i.bias for L_i in reversed(self.project)])  # Σ_i W_i b_i, (C,)
        if self.training:
            return self._predict(self.norm(self._fuse(features, W, b)))
        # Outside training BN is a scale and a shift of every channel, which W and b can take over.
        scale = self.norm.weight / torch.sqrt(self.norm.running_var + self.norm.eps)
        b = scale * (b - self.norm.running_mean) + self.norm.bias
        if torch.is_grad_enabled() or torch.compiler.is_compiling():
            return self._predict(self._fuse(features, scale[:, None] * W, b))
        return self._predict_in_bands(features, scale[:, None] * W, b)

    def _fuse(self, features: list[Tensor], W: Tensor, b: Tensor) -> Tensor:
        """Σ_i up((W_i L_i) F_i) + b: four maps (B, d_i, H_i, W_i) -> (B, C, H_1, W_1)."""
        B, _, H_1, W_1 = features[0].shape
        first, widened = self._fused_maps(features, W, b)
        # One matrix product stretches the rows of all the maps and adds them up, so that no other map of full size is
        # ever stored.
        U = torch.cat([upsampling_matrix(x.shape[1], H_1, x) for x in widened], dim=1)  # (H_1, H_2 + H_3 + H_4)
        fused = linear(features[0].movedim(1, -1), first).flatten(2)  # (B, H_1, W_1·C)
        fused = fused.baddbmm_(U.expand(B, *U.shape), torch.cat(widened, dim=1).flatten(2))
        return fused.unflatten(2, (W_1, -1)).movedim(-1, 1)

    def _predict_in_bands(self, features: list[Tensor], W: Tensor, b: Tensor) -> Tensor:
        """`_predict(_fuse(...))` where nothing is kept for a backward pass, a few rows at a time.

        The C channels of full size are the largest tensor of the model. Here only a band of them exists at once, small
        enough for the processor's cache, and only the rows below it are multiplied with U's weights.
        """
        B, _, H_1, W_1 = features[0].shape
        first, widened = self._fused_maps(features, W, b)
        matrices = [upsampling_matrix(x.shape[1], H_1, x) for x in widened]
        logits = b.new_empty(B, H_1, W_1, self.classify.out_features)
        rows = max(1, NUMBERS_AT_A_TIME["cpu" if b.device.type == "cpu" else "gpu"] // (W_1 * len(b)))
        for image in range(B):
            for top in range(0, H_1, rows):
                band = slice(top, min(top + rows, H_1))
                fused = linear(features[0][image, :, band].movedim(0, -1), first).flatten(1)  # (rows, W_1·C)
                for x, U in zip(widened, matrices, strict=True):
                    below = slice(*rows_below(band.start, band.stop, x.shape[1], H_1))
                    fused.addmm_(U[band, below], x[image, below].flatten(1))
                logits[image, band] = self.classify(fused.relu_().unflatten(1, (W_1, -1)))
        return logits.movedim(-1, 1)

    def _fused_maps(self, features: list[Tensor], W: Tensor, b: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The matrix W_1 L_1 for the first map; the others fused, with b, and stretched to (B, H_i, W_1, C).

        Upsampling stretches columns, then rows. Here the columns are stretched, while the maps still have few rows.
        """
        W_1 = features[0].shape[-1]
        blocks = W.chunk(len(features), dim=1)[::-1]  # W_1, W_2, ..., each (C, C)
        first, *others = [W_i @ L_i.weight for W_i, L_i in zip(blocks, self.project, strict=True)]
        biases = [None] * (len(others) - 1) + [b]  # up(b) = b: the smallest map carries it
        maps = [
            linear(F_i.movedim(1, -1), matrix, bias)
            for F_i, matrix, bias in zip(features[1:], others, biases, strict=True)
        ]  # each (B, H_i, W_i, C)
        return first, [upsample(x.movedim(-1, 1), (x.shape[1], W_1)).movedim(1, -1) for x in maps]

    def as_taught(self, features: list[Tensor]) -> Tensor:
        """The lecture's form of `forward`: four maps (B, d_i, H_i, W_i) -> (B, num_classes, H_1, W_1)."""
        size = features[0].shape[-2:]
        projected = [L_i(F_i.movedim(1, -1)).movedim(-1, 1) for L_i, F_i in zip(self.project, features, strict=True)]
        upsampled = [upsample(F_i, size) for F_i in projected]  # each (B, C, H_1, W_1)
        concatenated = torch.cat(upsampled[::-1], dim=1)  # (B, 4C, H_1, W_1)
        fused = self.fuse(concatenated.movedim(1, -1)).movedim(-1, 1)  # (B, C, H_1, W_1)
        return self._predict(self.norm(fused))

    def _predict(self, normalized: Tensor) -> Tensor:
        """classify(dropout(ReLU(x))): (B, C, H_1, W_1) -> (B, num_classes, H_1, W_1)."""
        # Dropout multiplies by numbers that are not negative, so ReLU may come after it, and then works in place.
        Z = F.relu(self.dropout(normalized), inplace=True)
        return self.classify(Z.movedim(1, -1)).movedim(-1, 1)


def upsampled_cross_entropy(logits: Tensor, labels: Tensor, ignore_index: int = 255) -> Tensor:
    """The mean cross-entropy of upsampled logits, without ever holding them all.

        L = -1/|V| Σ_{p in V} log softmax(upsample(logits))_{p, labels_p},    V = the pixels that are not ignored

    Logits of full size are the largest thing in a training step: 150 classes at 512 x 512 are 157 MB an image, and
    softmax and its gradient would make four such tensors. Here a few rows of pixels at a time are upsampled, turned
    into their share of the loss and of the gradient, and forgotten.

    Args:
        logits: (B, num_classes, h, w).
        labels: (B, H, W), integers; H and W are the size to upsample to.
        ignore_index: the label of pixels that do not count.

    Returns:
        The loss, a number in float32; not a number where every pixel is ignored, as in torch.

    Source: lecture, "SegFormer Decoder (All-MLP Head)", step 4, and "Training".
    """
    with torch.autocast(logits.device.type, enabled=False):  # a loss wants float32
        return _UpsampledCrossEntropy.apply(logits, labels, ignore_index)


# Few enough for the cache of a processor core; many enough to keep a GPU busy.
NUMBERS_AT_A_TIME = {"cpu": 2**19, "gpu": 2**25}


class _UpsampledCrossEntropy(torch.autograd.Function):
    """The gradient is computed along with the loss: for cross-entropy it is softmax minus one-hot."""

    @staticmethod
    def forward(ctx, logits: Tensor, labels: Tensor, ignore_index: int) -> Tensor:
        H, W = labels.shape[1:]
        N, h, w = logits.shape[1:]
        x = logits.to(torch.promote_types(logits.dtype, torch.float32))
        U_H, U_W = upsampling_matrix(h, H, x), upsampling_matrix(w, W, x)
        rows = max(1, NUMBERS_AT_A_TIME["cpu" if x.device.type == "cpu" else "gpu"] // (N * W))
        counted = labels != ignore_index  # (B, H, W)
        weights = counted.to(x.dtype) / counted.sum()  # the weight of each pixel in the mean
        labels = torch.where(counted, labels, 0)

        loss = x.new_zeros(())
        d_logits = torch.empty_like(logits)
        for image in range(len(logits)):
            wide = (x[image].transpose(0, 1) @ U_W.T).flatten(1)  # (h, N·W), columns upsampled
            d_wide = torch.zeros_like(wide)
            for top in range(0, H, rows):
                bottom = min(top + rows, H)
                # These rows of pixels lie between few rows of the small logits: only those have weights in U_H.
                low, high = rows_below(top, bottom, h, H)
                U = U_H[top:bottom, low:high]
                z = (U @ wide[low:high]).view(-1, N, W)  # (rows, N, W), rows upsampled
                label = labels[image, top:bottom, None]  # (rows, 1, W)
                weight = weights[image, top:bottom, None]

                z -= z.amax(dim=1, keepdim=True)
                of_label = z.gather(1, label)
                total = z.exp_().sum(dim=1, keepdim=True)
                loss += ((total.log() - of_label) * weight).sum()
                z *= weight / total  # softmax
                z.scatter_add_(1, label, -weight)  # minus one-hot
                d_wide[low:high].addmm_(U.T, z.flatten(1))
            d_logits[image] = (d_wide.view(h, N, W) @ U_W).transpose(0, 1)  # (N, h, w)
        ctx.save_for_backward(d_logits)
        return loss

    @staticmethod
    def backward(ctx, d_loss: Tensor) -> tuple:
        (d_logits,) = ctx.saved_tensors
        return d_loss * d_logits, None, None
