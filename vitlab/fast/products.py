"""Matrix products and convolutions of a processor by oneDNN, which comes with PyTorch.

`torch.nn.functional.linear` writes the bias first and adds a matrix product to it. oneDNN does both at once, GELU too
if it follows, and multiplies faster on many machines, above all where several cores share the work. `torch.compile`
takes that path by itself; these functions take it without compiling.
"""

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vitlab.fast.switch import is_on
from vitlab.machine import is_intel

EXACT_GELU = ("gelu", [], "none")  # what oneDNN shall do to each number it has computed; "none" is to say: not tanh's
NOTHING = ("none", [], "")

# PyTorch's other products are MKL's, which is at its best on its maker's processors. There it is as fast as oneDNN, and
# it takes a transposed weight as it lies in memory, of which oneDNN makes a copy first.
MKL_IS_AT_ITS_BEST = torch.backends.mkl.is_available() and is_intel()


def _product(x: Tensor, weight: Tensor, bias: Tensor | None, then: tuple) -> Tensor:
    bias = bias if bias is None else bias.contiguous()  # oneDNN reads any bias as if it lay in one piece
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, *then)


def _depthwise_convolution(features: Tensor, kernel: Tensor, bias: Tensor, then: tuple) -> Tensor:
    padding = stride = dilation = (1, 1)
    return torch.ops.mkldnn._convolution_pointwise(
        features, kernel, bias.contiguous(), padding, stride, dilation, len(kernel), *then
    )


def _works() -> bool:
    """Whether these operations, which PyTorch promises to nobody, are there and do what is taken for granted here."""
    numbers = torch.linspace(-2, 2, 40, device="cpu", dtype=torch.float32)
    x, weight, bias = numbers[10:16].view(2, 3), numbers[:12].view(4, 3), numbers[:4]  # (2, 3), (4, 3), (4,)
    features, kernel = numbers.view(1, 4, 2, 5), numbers[2:38].view(4, 1, 3, 3)  # (B, C, H, W), (C, 1, 3, 3)
    try:
        with torch.no_grad(), torch.autocast("cpu", enabled=False):
            y, convolved = F.linear(x, weight, bias), F.conv2d(features, kernel, bias, padding=1, groups=4)
            pairs = [
                (_product(x, weight, bias, NOTHING), y),
                (_product(x, weight, None, NOTHING), y - bias),
                (_product(x, weight, bias, EXACT_GELU), F.gelu(y)),
                (_depthwise_convolution(features, kernel, bias, EXACT_GELU), F.gelu(convolved)),
            ]
            return all(torch.allclose(ours, right, rtol=1e-5, atol=1e-5) for ours, right in pairs)
    except Exception:  # whatever another version of PyTorch makes of them: then its usual operations serve
        return False


WORKS = torch.backends.mkldnn.is_available() and _works()


def takes(x: Tensor, weight: Tensor) -> bool:
    """Whether the two are for oneDNN's products: numbers in float32, in the processor's memory, not to be compiled."""
    return (
        WORKS
        and is_on()
        and not torch.compiler.is_compiling()
        and not torch.is_autocast_enabled("cpu")
        and x.device.type == weight.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
    )


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x Wᵀ + b.

    Args:
        x: (..., in).
        weight: (out, in).
        bias: (out,).

    Returns:
        (..., out).
    """
    if not takes(x, weight):
        return F.linear(x, weight, bias)
    if not torch.is_grad_enabled():
        return _product(x, weight, bias, NOTHING)
    y = _Linear.apply(x.reshape(-1, x.shape[-1]), weight, bias)  # (..., in) -> (tokens, in) -> (tokens, out)
    return y.view(*x.shape[:-1], len(weight))  # (..., out)


def linear_gelu(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """GELU(x Wᵀ + b), with the shapes of `linear`."""
    if torch.is_grad_enabled() or not takes(x, weight):  # GELU's gradient needs x Wᵀ + b, which oneDNN would not return
        return F.gelu(linear(x, weight, bias))
    return _product(x, weight, bias, EXACT_GELU)


def depthwise_convolution_gelu(features: Tensor, kernel: Tensor, bias: Tensor) -> Tensor:
    """GELU of a depthwise 3 x 3 convolution with a border of zeros.

    Args:
        features: (B, C, H, W).
        kernel: (C, 1, 3, 3).
        bias: (C,).

    Returns:
        (B, C, H, W).
    """
    if torch.is_grad_enabled() or not takes(features, kernel):
        return F.gelu(F.conv2d(features, kernel, bias, padding=1, groups=len(kernel)))
    # oneDNN activates each number as soon as it has it, which saves a pass over these large tensors.
    return _depthwise_convolution(features, kernel, bias, EXACT_GELU)


class _Linear(torch.autograd.Function):
    """oneDNN's product with its gradients: y = x Wᵀ + b has dx = dy W, dW = dyᵀ x and db = Σ dy over all tokens.

    Shapes: (tokens, in) -> (tokens, out).
    """

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return _product(x, weight, bias, NOTHING)

    @staticmethod
    def setup_context(ctx, inputs: tuple, output: Tensor) -> None:
        x, weight, _ = inputs
        ctx.save_for_backward(x, weight)

    @staticmethod
    def backward(ctx, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        dx = dW = db = None
        if ctx.needs_input_grad[0]:
            dx = dy @ weight if MKL_IS_AT_ITS_BEST else linear(dy, weight.T)  # (tokens, out) -> (tokens, in)
        if ctx.needs_input_grad[1]:
            dW = dy.T @ x  # (out, tokens) @ (tokens, in); oneDNN would copy dyᵀ first, and win nothing
        if ctx.needs_input_grad[2]:
            db = dy.sum(dim=0)
        return dx, dW, db


def Linear(in_features: int, out_features: int, *, bias: bool = True) -> nn.Linear:
    """`torch.nn.Linear`, computed by `linear`; of that very class, for which dynamic quantization looks.

    Shapes: (..., in) -> (..., out).
    """
    layer = nn.Linear(in_features, out_features, bias=bias)
    layer.forward = partial(_forward, layer)
    return layer


def _forward(layer: nn.Linear, x: Tensor) -> Tensor:
    return linear(x, layer.weight, layer.bias)


def parameters(layer: nn.Module) -> tuple[Tensor, Tensor | None]:
    """Weight and bias of a linear layer; dynamic quantization makes functions of them, and whole numbers."""
    if isinstance(layer.weight, Tensor):
        return layer.weight, layer.bias
    return layer.weight().dequantize(), layer.bias()
