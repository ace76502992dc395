"""What several tests of the models share: moving every parameter, and comparing two ways to compute the same."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from vitlab import fast


def perturb(model: nn.Module) -> nn.Module:
    """Move every parameter and running statistic, so that none can be swapped, dropped or left at its first value."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if name.endswith("running_var"):
                tensor.uniform_(0.5, 2, generator=generator)
            elif tensor.is_floating_point():
                scale = 0.02 if tensor.ndim > 1 else 0.2
                tensor.add_(torch.empty_like(tensor).normal_(generator=generator), alpha=scale)
            else:
                tensor.fill_(3)
    return model.eval()


def value_and_gradients(f: Callable[..., Tensor], inputs: list[Tensor], variables: list[Tensor]) -> list[Tensor]:
    """f(*inputs), and the gradients of a weighted sum of it with respect to the variables."""
    y = f(*inputs)
    weights = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).reshape(y.shape)
    return [y.detach(), *(torch.autograd.grad((y * weights).sum(), variables) if variables else [])]


def assert_forms_agree(module: nn.Module, *inputs: Tensor) -> None:
    """`module`, with and without `fast`, and `module.as_taught` give equal values and gradients for all parameters.

    In float64.
    """
    perturb(module.double())
    inputs = [x.double().requires_grad_() for x in inputs]
    variables = [*inputs, *module.parameters()]
    taught = value_and_gradients(module.as_taught, inputs, variables)
    ours = value_and_gradients(module, inputs, variables)
    with fast.off():
        plain = value_and_gradients(module, inputs, variables)
    for form in (ours, plain):
        for mine, other in zip(form, taught, strict=True):
            torch.testing.assert_close(mine, other, rtol=1e-9, atol=1e-10)


def numbers_kept(f: Callable[..., Tensor], *inputs: Tensor) -> int:
    """How many numbers the forward pass stores for the backward pass, parameters and shared memory counted once."""
    kept = {}

    def keep(x: Tensor) -> Tensor:
        kept[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes() // x.element_size()
        return x

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        y = f(*inputs)  # its graph holds on to what was kept until the sum is made, so that no address comes twice
        return sum(kept.values()) if y.requires_grad else 0


def assert_onnx_agrees(model: nn.Module, images: Tensor, path: Path) -> None:
    """The model, exported to ONNX and computed by onnxruntime, gives the values it gives here."""
    import onnxruntime

    torch.onnx.export(model, (images,), path, dynamo=True, verbose=False)
    session = onnxruntime.InferenceSession(path)
    (y,) = session.run(None, {session.get_inputs()[0].name: images.numpy()})
    torch.testing.assert_close(torch.from_numpy(y), model(images).detach(), rtol=1e-3, atol=1e-5)


def assert_half_precision_agrees(model: nn.Module, images: Tensor, dtype: torch.dtype, tolerance: float) -> None:
    """The model in half precision gives the values it gives in float32, roughly, and finite gradients."""
    expected = model(images)
    y = model.to(dtype)(images.to(dtype))
    assert y.dtype == dtype
    torch.testing.assert_close(y.float(), expected, rtol=tolerance, atol=tolerance)
    y.sum().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())


def without_biases(attention: nn.Module) -> dict[str, Tensor]:
    """The weights of an attention as the pure functions take them, which know no biases: those are set to 0."""
    layers = {"W_Q": attention.query, "W_K": attention.key, "W_V": attention.value, "W_O": attention.output}
    with torch.no_grad():
        for layer in layers.values():
            layer.bias.zero_()
    return {name: layer.weight.T for name, layer in layers.items()}
