"""The mean cross-entropy of upsampled logits, without ever holding them all."""

import torch
from torch import Tensor

from vitlab.fast.upsampling import bands, rows_below, upsampling_matrix


def upsampled_cross_entropy(logits: Tensor, labels: Tensor, ignore_index: int) -> Tensor:
    """`vitlab.decoder.upsampled_cross_entropy`: (B, N, h, w), (B, H, W) -> a number.

    Logits of full size are the largest thing in a training step: 150 classes at 512 x 512 are 157 MB an image, and
    softmax and its gradient would make four such tensors. Here a few rows of pixels at a time are upsampled, turned
    into their share of the loss and of the gradient, and forgotten. That gradient has none itself: see `off`.
    """
    return _UpsampledCrossEntropy.apply(logits, labels, ignore_index)


class _UpsampledCrossEntropy(torch.autograd.Function):
    """The gradient is computed along with the loss: for cross-entropy it is softmax minus one-hot."""

    @staticmethod
    def forward(ctx, logits: Tensor, labels: Tensor, ignore_index: int) -> Tensor:
        H, W = labels.shape[1:]
        N, h, w = logits.shape[1:]
        x = logits.to(torch.promote_types(logits.dtype, torch.float32))
        U_H, U_W = upsampling_matrix(h, H, x), upsampling_matrix(w, W, x)
        counted = labels != ignore_index  # (B, H, W)
        weights = counted.to(x.dtype) / counted.sum()  # the weight of each pixel in the mean
        labels = torch.where(counted, labels, 0)

        loss = x.new_zeros(()) / counted.sum()  # 0, or not a number where there is nothing to take the mean of
        d_logits = torch.empty_like(x)  # in float32, because in float16 what a loss scale lifts later is 0 already
        for image in range(len(logits)):
            wide = (x[image].transpose(0, 1) @ U_W.T).flatten(1)  # (h, N, W) -> (h, N·W), columns upsampled
            d_wide = torch.zeros_like(wide)
            for top, bottom in bands(H, N * W, like=x):
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
                d_wide[low:high].addmm_(U.T, z.flatten(1))  # (rows, N·W)
            d_logits[image] = (d_wide.view(h, N, W) @ U_W).transpose(0, 1)  # (h, N, w) -> (N, h, w)
        ctx.save_for_backward(d_logits)
        ctx.dtype = logits.dtype
        return loss

    @staticmethod
    def backward(ctx, d_loss: Tensor) -> tuple:
        if torch.is_grad_enabled():  # create_graph=True: a gradient of this gradient would silently miss a term
            raise RuntimeError("the faster loss has no second derivatives: compute it within `vitlab.fast.off()`.")
        (d_logits,) = ctx.saved_tensors
        return (d_loss * d_logits).to(ctx.dtype), None, None  # float16 ends below the usual loss scale, 65536
