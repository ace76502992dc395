"""The linear layer: the road without gradients gives what PyTorch's linear layer gives."""

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
