"""The linear layer of all models: PyTorch's, by a faster road.

On a processor, `torch.nn.functional.linear` writes the bias first and adds a matrix product to it. oneDNN, which comes
with PyTorch, does both at once, GELU too if it follows, and multiplies faster on many machines, above all where several
cores share the work. `torch.compile` takes that road by itself; this layer takes it without compiling.
"""

import platform
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_ONEDNN = torch.backends.mkldnn.is_available() and all(
    hasattr(torch.ops.mkldnn, name) for name in ("_linear_pointwise", "_convolution_pointwise")
)
EXACT_GELU = ("gelu", [], "none")  # what oneDNN shall do to each number it has computed; "none" is to say: not tanh's
NOTHING = ("none", [], "")

# PyTorch's other products are MKL's, which is at its best on its maker's processors. There it is as fast as oneDNN, and
# it takes a transposed weight as it lies in memory, of which oneDNN makes a copy first.
_CPUINFO = Path("/proc/cpuinfo")
MKL_IS_AT_HOME = torch.backends.mkl.is_available() and "Intel" in (
    _CPUINFO.read_text(encoding="utf-8") if _CPUINFO.exists() else platform.processor()
)


def onednn_takes(x: Tensor, weight: Tensor) -> bool:
    """Whether the two are for oneDNN's products: numbers in float32, in the processor's memory, not to be compiled."""
    return (
        _ONEDNN
        and not torch.compiler.is_compiling()
        and not torch.is_autocast_enabled("cpu")
        and x.device.type == weight.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
    )


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
    if not onednn_takes(x, weight):
        y = F.linear(x, weight, bias)
    elif not torch.is_grad_enabled():
        return _onednn(x, weight, bias, then_gelu)
    else:
        y = _Linear.apply(x.reshape(-1, x.shape[-1]), weight, bias).view(*x.shape[:-1], len(weight))
    return F.gelu(y) if then_gelu else y  # GELU's gradient needs y, which oneDNN would not hand out


def _onednn(x: Tensor, weight: Tensor, bias: Tensor | None, then_gelu: bool = False) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, *(EXACT_GELU if then_gelu else NOTHING))


class _Linear(torch.autograd.Function):
    """oneDNN's product with its gradients: y = x Wᵀ + b has dx = dy W, dW = dyᵀ x and db = Σ dy over all tokens.

    Shapes: (tokens, in) -> (tokens, out).
    """

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return _onednn(x, weight, bias)

    @staticmethod
    def setup_context(ctx, inputs: tuple, output: Tensor) -> None:
        x, weight, _ = inputs
        ctx.save_for_backward(x, weight)

    @staticmethod
    def backward(ctx, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        dx = dW = db = None
        if ctx.needs_input_grad[0]:
            dx = dy @ weight if MKL_IS_AT_HOME else linear(dy, weight.T)
        if ctx.needs_input_grad[1]:
            dW = dy.T @ x  # oneDNN would copy dyᵀ first, and win nothing
        if ctx.needs_input_grad[2]:
            db = dy.sum(dim=0)
        return dx, dW, db


class Linear(nn.Linear):
    """`torch.nn.Linear`, computed by `linear`.

    Shapes: (..., in) -> (..., out).
    """

    def forward(self, x: Tensor, *, then_gelu: bool = False) -> Tensor:
        return linear(x, self.weight, self.bias, then_gelu=then_gelu)
