"""What other tools make of the models: traces, files of PyTorch's older ONNX exporter, quantized copies."""

from copy import deepcopy

import onnxruntime
import pytest
import torch
from support.parity import perturb

from vitlab import SegFormer, ViT
from vitlab.mit import MiT, MiTConfig
from vitlab.segformer import SegFormerConfig
from vitlab.segmentation import LinearHead, SegmentationViT, SETRPUPHead
from vitlab.segmentation.unet import UNet, UNetConfig
from vitlab.vit import ViTConfig

VIT = ViTConfig(depth=2, d=24, num_heads=2, patch_size=8, image_size=32, num_classes=5)
MIT = MiTConfig((8, 16), (1, 2), (1, 2), (2, 1), (7, 3), (4, 2), num_classes=0)
MODELS = {
    "ViT": lambda: ViT(VIT),
    "MiT": lambda: MiT(MIT),
    "SegFormer": lambda: SegFormer(SegFormerConfig(MIT, C=12, num_classes=4)),
    "linear head": lambda: SegmentationViT(ViT(VIT), LinearHead(24, 4)),
    "SETR-PUP": lambda: SegmentationViT(ViT(VIT), SETRPUPHead(24, 4, C=8)),
    "U-Net": lambda: UNet(UNetConfig(num_classes=4, width=4, levels=2)),
}


@pytest.fixture(params=MODELS)
def model(request):
    torch.manual_seed(0)
    return perturb(MODELS[request.param]()).eval().requires_grad_(False)


IMAGES = torch.randn(2, 3, 64, 32, generator=torch.Generator().manual_seed(1))


@pytest.mark.filterwarnings("ignore")
def test_a_trace_computes_the_same(model):
    traced = torch.jit.trace(model, IMAGES)
    torch.testing.assert_close(traced(IMAGES), model(IMAGES), atol=1e-4, rtol=1e-4)


@pytest.mark.filterwarnings("ignore")
def test_the_older_onnx_exporter(model, tmp_path):
    torch.onnx.export(model, (IMAGES,), tmp_path / "model.onnx", dynamo=False)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    (found,) = session.run(None, {session.get_inputs()[0].name: IMAGES.numpy()})
    torch.testing.assert_close(torch.from_numpy(found), model(IMAGES), atol=1e-4, rtol=1e-4)


@pytest.mark.filterwarnings("ignore")
def test_every_linear_layer_is_quantized(model):
    quantized = torch.ao.quantization.quantize_dynamic(model, {torch.nn.Linear}, dtype=torch.qint8)
    assert not any(type(module) is torch.nn.Linear for module in quantized.modules())
    expected = model(IMAGES)
    assert (quantized(IMAGES) - expected).abs().max() < 0.1 * expected.abs().max()


def test_a_copy_computes_with_its_own_weights(model):
    copy, before = deepcopy(model), model(IMAGES)
    for parameter in copy.parameters():
        parameter.zero_()
    assert torch.equal(model(IMAGES), before) and not torch.equal(copy(IMAGES), before)
