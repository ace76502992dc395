"""The linear layer of all models: PyTorch's, by a faster road where no gradient is wanted.

On a processor, `torch.nn.functional.linear` writes the bias first and adds a matrix product to it. oneDNN, which comes
with PyTorch, does both at once, GELU too if it follows, and multiplies faster on many machines. `torch.compile` takes
that road by itself; this layer takes it without compiling.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_ONEDNN = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None, *, then_gelu: bool = False) -> Tensor:
    """x Wᵀ + b, or GELU(x Wᵀ + b).

    Args:
        x: (..., in).
        weight: (out, in).
        bias: (out,).
        then_gelu: whether GELU follows.

    Returns:
        (..., out).
    """
    only_values_wanted = (
        _ONEDNN
        and not torch.compiler.is_compiling()
        and not torch.is_grad_enabled()
        and not torch.is_autocast_enabled("cpu")
        and x.device.type == weight.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
    )
    if only_values_wanted:
        after, algorithm = ("gelu", "none") if then_gelu else ("none", "")  # "none" is the exact GELU, not tanh's
        return torch.ops.mkldnn._linear_pointwise(x, weight, bias, after, [], algorithm)
    y = F.linear(x, weight, bias)
    return F.gelu(y) if then_gelu else y


class Linear(nn.Linear):
    """`torch.nn.Linear`, computed by `linear`.

    Shapes: (..., in) -> (..., out).
    """

    def forward(self, x: Tensor, *, then_gelu: bool = False) -> Tensor:
        return linear(x, self.weight, self.bias, then_gelu=then_gelu)
