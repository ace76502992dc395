"""What people run exported models with on a processor: ONNX Runtime and OpenVINO, with as many threads as PyTorch."""

import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn


class Exportable(nn.Module):
    """A function of images as a module, which is what can be exported."""

    def __init__(self, net: nn.Module, function: Callable[[Tensor], Tensor]):
        super().__init__()
        self.net, self.function = net, function

    def forward(self, images: Tensor) -> Tensor:
        return self.function(images)


def onnx_runtime(path: Path) -> Callable[[Any], Any]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda images: session.run(None, {session.get_inputs()[0].name: images})[0]


def openvino(path: Path) -> Callable[[Any], Any]:
    import openvino

    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": torch.get_num_threads()}
    model = openvino.Core().compile_model(path, "CPU", settings)
    return lambda images: model(images)[0]


MODULES = {"ONNX Runtime": ("onnxruntime", onnx_runtime), "OpenVINO": ("openvino", openvino)}
ENGINES = {name: start for name, (module, start) in MODULES.items() if find_spec(module)}  # those that are here


def exported(engine: str, net: nn.Module, function: Callable[[Tensor], Tensor], images: Tensor) -> Callable[[], Any]:
    """One round of a function of images, exported to ONNX and computed by an engine."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        torch.onnx.export(Exportable(net, function).eval(), (images,), path, dynamo=True, verbose=False)
        compute = ENGINES[engine](path)
    return lambda: compute(images.numpy())
