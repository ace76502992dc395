"""The linear layer: the roads with and without gradients give what PyTorch's linear layer gives."""

import pytest
import torch
from torch.nn import functional as F

from vitlab.linear import Linear


@pytest.mark.parametrize("shape", [(5, 12), (2, 5, 12), (2, 3, 4, 12), (1, 1, 12)])
@pytest.mark.parametrize("bias", [True, False])
def test_both_roads_equal_pytorch_s(shape, bias):
    layer = Linear(12, 7, bias=bias)
    x = torch.randn(shape)
    expected = F.linear(x, layer.weight, layer.bias)
    torch.testing.assert_close(layer(x), expected)
    torch.testing.assert_close(layer(x, then_gelu=True), F.gelu(expected))
    with torch.no_grad():
        torch.testing.assert_close(layer(x), expected)
        torch.testing.assert_close(layer(x, then_gelu=True), F.gelu(expected))


def test_an_input_that_is_a_view_is_read_rightly():
    layer, x = Linear(12, 7), torch.randn(12, 6, 2).transpose(0, 2)
    with torch.no_grad():
        torch.testing.assert_close(layer(x), F.linear(x, layer.weight, layer.bias))


def test_autocast_and_other_types_keep_their_type():
    layer, x = Linear(12, 7), torch.randn(5, 12)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        assert layer(x).dtype == torch.bfloat16
    for dtype in (torch.float64, torch.bfloat16):
        with torch.no_grad():
            assert layer.to(dtype)(x.to(dtype)).dtype == dtype


@pytest.mark.parametrize("shape", [(5, 12), (2, 3, 4, 12), (12,)])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("mkl_is_at_home", [True, False])  # on this processor or on another
def test_gradients_equal_pytorch_s_also_those_of_gradients(shape, bias, mkl_is_at_home, monkeypatch):
    monkeypatch.setattr("vitlab.linear.MKL_IS_AT_HOME", mkl_is_at_home)
    layer, x = Linear(12, 7, bias=bias), torch.randn(shape, requires_grad=True)
    variables = [x, *layer.parameters()]

    def first_and_second(f):
        first = torch.autograd.grad(f().square().sum(), variables, create_graph=True)
        return [*first, *torch.autograd.grad(sum(g.square().sum() for g in first), variables)]

    ours = first_and_second(lambda: layer(x, then_gelu=True))
    theirs = first_and_second(lambda: F.gelu(F.linear(x, layer.weight, layer.bias)))
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_what_is_frozen_gets_no_gradient():
    layer, x = Linear(12, 7), torch.randn(5, 12, requires_grad=True)
    layer.weight.requires_grad_(False)
    layer(x).sum().backward()
    assert layer.weight.grad is None
    torch.testing.assert_close(x.grad, layer.weight.sum(dim=0).expand(5, 12))
    assert not layer.requires_grad_(False)(x.detach()).requires_grad


def test_the_output_may_be_changed_in_place():
    layer, x = Linear(12, 7), torch.randn(2, 5, 12)
    layer(x).mul_(2).sum().backward()
    torch.testing.assert_close(layer.bias.grad, torch.full((7,), 20.0))
