"""The faster paths give what the topic files say, in value and gradient; and one switch turns them off."""

import pytest
import torch
from support.parity import perturb, value_and_gradients
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from vitlab import SegFormer, ViT, fast
from vitlab.decoder import AllMLPDecoder, upsampled_cross_entropy
from vitlab.fast import Linear, all_mlp_classes, products, upsampled_argmax
from vitlab.fast.products import depthwise_convolution_gelu, linear_gelu
from vitlab.fast.upsampling import NUMBERS_AT_A_TIME
from vitlab.ffn import FeedForward
from vitlab.mit import MiTConfig
from vitlab.mix_ffn import MixFeedForward
from vitlab.segformer import SegFormerConfig
from vitlab.steps import UNSEEN, Steps
from vitlab.vit import ViTConfig

# ---- The switch, and every module that hands over: the same numbers on both sides of it.

SEGFORMER = SegFormerConfig(MiTConfig((4, 8, 20, 16), (1, 2, 1, 1), (1, 2, 5, 4), num_classes=0), C=12, num_classes=5)
VIT = {"depth": 2, "d": 12, "num_heads": 3, "patch_size": 8, "image_size": (32, 48), "num_classes": 5}


class Decoder(AllMLPDecoder):
    """The decoder with its maps as separate arguments."""

    def forward(self, *features):
        return super().forward(features)


MODULES = {  # each with the shapes of its arguments
    "Linear": (lambda: Linear(12, 7), [(2, 5, 12)]),
    "FeedForward": (lambda: FeedForward(6, 20), [(2, 5, 6)]),
    "MixFeedForward": (lambda: MixFeedForward(6, 20), [(2, 4, 5, 6)]),
    "AllMLPDecoder": (lambda: Decoder((4, 6, 10), 12, 5, dropout=0.5), [(2, 4, 8, 12), (2, 6, 4, 6), (2, 10, 2, 3)]),
    "ViT": (lambda: ViT(ViTConfig(**VIT, drop_path=0.5)), [(4, 3, 32, 48)]),
    "ViT that takes the mean": (lambda: ViT(ViTConfig(**VIT, pool="mean")), [(2, 3, 32, 48)]),
    "SegFormer": (lambda: SegFormer(SEGFORMER), [(2, 3, 45, 70)]),
}


def with_and_without(compute):
    """What `compute()` gives with the faster paths and without, from the same random numbers."""
    torch.manual_seed(0)
    ours = compute()
    with fast.off():
        torch.manual_seed(0)
        plain = compute()
    return ours, plain


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 1e-4), (torch.float64, 1e-9)])
def test_values_and_gradients_are_the_same_with_and_without(name, training, dtype, tolerance):
    make, shapes = MODULES[name]
    module = perturb(make().to(dtype)).train(training)
    inputs = [torch.randn(shape, dtype=dtype, requires_grad=True) for shape in shapes]
    variables = [*inputs, *module.parameters()]
    results = with_and_without(lambda: value_and_gradients(module, inputs, variables))
    largest = max(plain.abs().max().item() for plain in results[1])  # biases before BN have no gradient but rounding
    for ours, plain in zip(*results, strict=True):
        torch.testing.assert_close(ours, plain, rtol=tolerance, atol=tolerance * largest)


@pytest.mark.parametrize("name", MODULES)
def test_values_are_the_same_with_and_without_where_nothing_is_kept_for_gradients(name):
    make, shapes = MODULES[name]
    module, inputs = perturb(make()), [torch.randn(shape) for shape in shapes]
    with torch.no_grad():
        ours, plain = with_and_without(lambda: module(*inputs))
    torch.testing.assert_close(ours, plain, rtol=1e-4, atol=1e-5)


def test_the_loss_is_the_same_with_and_without():
    logits, labels = torch.randn(2, 6, 7, 5, requires_grad=True), torch.randint(0, 6, (2, 29, 17))
    labels[1, 1:] = 255
    variables = [logits]
    results = with_and_without(
        lambda: value_and_gradients(lambda: upsampled_cross_entropy(logits, labels), [], variables)
    )
    for ours, plain in zip(*results, strict=True):
        torch.testing.assert_close(ours, plain)


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("gradients", [True, False])
def test_autocast_gives_the_same_type_with_and_without(name, dtype, gradients):
    make, shapes = MODULES[name]
    module, inputs = perturb(make()), [torch.randn(shape) for shape in shapes]
    with torch.autocast("cpu", dtype), torch.set_grad_enabled(gradients):
        ours, plain = with_and_without(lambda: module(*inputs))
    torch.testing.assert_close(ours, plain, rtol=0.1, atol=0.1)  # of another type is not close


def test_a_loss_scale_reaches_gradients_in_float16():
    logits = torch.randn(2, 6, 7, 5).half().requires_grad_()
    labels = torch.randint(0, 6, (2, 280, 170))

    def scaled():
        return torch.autograd.grad(upsampled_cross_entropy(logits, labels) * 65536, logits)[0]

    ours, plain = with_and_without(scaled)
    assert ours.dtype == torch.float16 and ours.isfinite().all()
    torch.testing.assert_close(ours, plain, rtol=1e-2, atol=1e-2)


def test_second_derivatives_of_the_loss_are_refused_and_there_without():
    logits, labels = torch.randn(1, 3, 2, 2, requires_grad=True), torch.randint(0, 3, (1, 4, 4))

    def second():
        (first,) = torch.autograd.grad(upsampled_cross_entropy(logits, labels), logits, create_graph=True)
        return torch.autograd.grad(first.square().sum(), logits)[0]

    with pytest.raises(RuntimeError, match="no second derivatives: compute it within"):
        second()
    with fast.off():
        assert second().abs().sum() > 0


@pytest.mark.parametrize("gradients", [True, False])
def test_a_batch_without_images_is_the_same_with_and_without(gradients):
    decoder = perturb(AllMLPDecoder((4, 6, 10), 12, 5))
    features = [torch.randn(0, 4, 8, 12), torch.randn(0, 6, 4, 6), torch.randn(0, 10, 2, 3)]
    with torch.set_grad_enabled(gradients):
        ours, plain = with_and_without(lambda: decoder(features))
    assert ours.shape == plain.shape == (0, 5, 8, 12)
    empty = torch.zeros(0, 32, 48, dtype=torch.long)
    assert all(loss.isnan() for loss in with_and_without(lambda: upsampled_cross_entropy(ours, empty)))
    with torch.no_grad():
        assert all_mlp_classes(decoder, features, (32, 48)).shape == (0, 32, 48)


def test_what_torch_func_does_not_know_works_without():
    layer, x = Linear(12, 7), torch.randn(3, 5, 12)
    with fast.off():
        torch.testing.assert_close(torch.func.vmap(layer)(x), layer(x))
        torch.testing.assert_close(torch.func.jvp(layer, (x,), (x,))[1], x @ layer.weight.T)


@pytest.mark.parametrize("name", sorted(MODULES.keys() - {"Linear", "AllMLPDecoder"}))
def test_asking_for_steps_changes_nothing_and_gives_those_of_the_slower_path(name):
    make, shapes = MODULES[name]
    module, inputs = perturb(make()), [torch.randn(shape) for shape in shapes]
    asked, plain = Steps(), Steps()
    y = module(*inputs, steps=asked)
    torch.testing.assert_close(y, module(*inputs), rtol=1e-4, atol=1e-5)
    with fast.off():
        module(*inputs, steps=plain)
    assert asked and not UNSEEN
    torch.testing.assert_close(asked, plain, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("layout", ["channels first", "channels last"])
@pytest.mark.parametrize("size", [(29, 17), (7, 5), (3, 40), (300, 290)])
def test_the_class_of_every_pixel_is_the_same_with_and_without(layout, size, monkeypatch):
    monkeypatch.setitem(NUMBERS_AT_A_TIME, "cpu", 4000)  # many tiles
    logits = torch.randn(2, 6, 7, 5) if layout == "channels first" else torch.randn(2, 7, 5, 6).movedim(-1, 1)
    ours, plain = with_and_without(lambda: upsampled_argmax(logits, size))
    assert ours.dtype == plain.dtype == torch.long and torch.equal(ours, plain)


def test_many_classes_are_never_all_at_full_size():
    class Largest(TorchDispatchMode):
        numbers = 0

        def __torch_dispatch__(self, function, types, arguments=(), options=None):
            y = function(*arguments, **(options or {}))
            self.numbers = max(self.numbers, y.numel() if isinstance(y, torch.Tensor) else 0)
            return y

    with Largest() as largest:
        upsampled_argmax(torch.randn(1, 100, 8, 8), (600, 500))
    assert largest.numbers < 1.1 * NUMBERS_AT_A_TIME["cpu"] < 100 * 600 * 500 / 50


def test_off_ends_with_its_context_also_after_an_error():
    assert fast.is_on()
    with pytest.raises(ZeroDivisionError), fast.off():
        with fast.off():
            assert not fast.is_on()
        assert not fast.is_on()
        1 / 0  # noqa: B018
    assert fast.is_on()


@pytest.mark.parametrize("name", ["ViT", "SegFormer"])
def test_a_model_can_be_traced(name):
    make, shapes = MODULES[name]
    module, inputs = perturb(make()), [torch.randn(shape) for shape in shapes]
    with torch.no_grad():
        traced = torch.jit.trace(module, inputs)
        torch.testing.assert_close(traced(*inputs), module(*inputs), rtol=1e-4, atol=1e-5)


def test_off_turns_onednn_off_too(monkeypatch):
    def never(*arguments):
        raise AssertionError("oneDNN was called")

    monkeypatch.setattr(products, "_product", never)
    monkeypatch.setattr(products, "_depthwise_convolution", never)
    with fast.off(), torch.no_grad():
        SegFormer(SEGFORMER)(torch.randn(1, 3, 64, 64))
        ViT(ViTConfig(**VIT))(torch.randn(1, 3, 32, 48))


# ---- oneDNN's products.


def test_onednn_is_tried_and_works_here():
    assert products.WORKS and products._works()


@pytest.mark.parametrize("name", ["_product", "_depthwise_convolution"])
@pytest.mark.parametrize("change", ["gone", "another signature", "another meaning"])
def test_operations_that_have_changed_are_noticed(name, change, monkeypatch):
    original = getattr(products, name)

    def changed(*arguments):
        if change == "gone":
            raise AttributeError("'_OpNamespace' 'mkldnn' object has no attribute")
        if change == "another signature":
            return original(*arguments, None)
        return original(*arguments[:-1], products.NOTHING)  # no GELU

    monkeypatch.setattr(products, name, changed)
    assert not products._works()


def test_without_onednn_pytorch_s_operations_serve(monkeypatch):
    monkeypatch.setattr(products, "WORKS", False)
    layer, x = Linear(12, 7), torch.randn(2, 5, 12)
    features, kernel, bias = torch.randn(2, 6, 4, 5), torch.randn(6, 1, 3, 3), torch.randn(6)
    with torch.no_grad():
        assert torch.equal(layer(x), F.linear(x, layer.weight, layer.bias))
        expected = F.gelu(F.conv2d(features, kernel, bias, padding=1, groups=6))
        assert torch.equal(depthwise_convolution_gelu(features, kernel, bias), expected)


@pytest.mark.parametrize("shape", [(5, 12), (2, 5, 12), (2, 3, 4, 12), (1, 1, 12)])
@pytest.mark.parametrize("bias", [True, False])
def test_both_paths_equal_pytorch_s(shape, bias):
    layer = Linear(12, 7, bias=bias)
    x = torch.randn(shape)
    expected = F.linear(x, layer.weight, layer.bias)
    torch.testing.assert_close(layer(x), expected)
    torch.testing.assert_close(linear_gelu(x, layer.weight, layer.bias), F.gelu(expected))
    with torch.no_grad():
        torch.testing.assert_close(layer(x), expected)
        torch.testing.assert_close(linear_gelu(x, layer.weight, layer.bias), F.gelu(expected))


@pytest.mark.parametrize("gradients", [True, False])
def test_views_are_read_rightly(gradients):
    x, weight, bias = torch.randn(12, 6, 2).transpose(0, 2), torch.randn(12, 7).T, torch.randn(7, 3)[:, 1]
    with torch.set_grad_enabled(gradients):
        torch.testing.assert_close(fast.linear(x, weight, bias), F.linear(x, weight, bias), rtol=1e-4, atol=1e-5)
    features, kernel, bias = torch.randn(2, 6, 9, 8)[:, :, ::2], torch.randn(3, 3, 1, 6).permute(3, 2, 0, 1), bias[:6]
    expected = F.gelu(F.conv2d(features, kernel, bias, padding=1, groups=6))
    with torch.set_grad_enabled(gradients):
        ours = depthwise_convolution_gelu(features, kernel, bias)
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-5)


def test_autocast_and_other_types_keep_their_type():
    layer, x = Linear(12, 7), torch.randn(5, 12)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        assert layer(x).dtype == torch.bfloat16
    for dtype in (torch.float64, torch.bfloat16):
        with torch.no_grad():
            assert layer.to(dtype)(x.to(dtype)).dtype == dtype


@pytest.mark.parametrize("shape", [(5, 12), (2, 3, 4, 12), (12,)])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("mkl_is_at_its_best", [True, False])  # on this processor or on another
def test_gradients_equal_pytorch_s_also_those_of_gradients(shape, bias, mkl_is_at_its_best, monkeypatch):
    monkeypatch.setattr("vitlab.fast.products.MKL_IS_AT_ITS_BEST", mkl_is_at_its_best)
    layer, x = Linear(12, 7, bias=bias), torch.randn(shape, requires_grad=True)
    variables = [x, *layer.parameters()]

    def first_and_second(f):
        first = torch.autograd.grad(f().square().sum(), variables, create_graph=True)
        return [*first, *torch.autograd.grad(sum(g.square().sum() for g in first), variables)]

    ours = first_and_second(lambda: linear_gelu(x, layer.weight, layer.bias))
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


def test_attention_in_bfloat16_has_the_gradients_of_the_plain_form():
    QKV = [torch.randn(2, 3, n, 8, requires_grad=True) for n in (7, 5, 5)]
    half = [x.detach().bfloat16().requires_grad_() for x in QKV]
    d_heads = torch.randn(2, 3, 7, 8)
    exact = fast.attention(*QKV)
    rounded = fast.attention(*half)
    assert rounded.dtype == torch.bfloat16
    torch.testing.assert_close(rounded.float(), exact, rtol=0.05, atol=0.05)
    exact.backward(d_heads)
    rounded.backward(d_heads.bfloat16())
    for x, y in zip(half, QKV, strict=True):
        torch.testing.assert_close(x.grad.float(), y.grad, rtol=0.1, atol=0.05)
