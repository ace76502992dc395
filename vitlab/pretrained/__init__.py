"""Published weights in and out, in the file format of Hugging Face: config.json and model.safetensors.

A folder that `save_pretrained` writes loads in `transformers`, and the other way round. Nothing is ever unpickled.

    ViT.from_pretrained("vit-cifar10")  # in this package, as are mit-cifar10, segformer-shapes and segformer-camvid
    ViT.from_pretrained("google/vit-base-patch16-224")
    ViT.from_pretrained("facebook/dino-vits8")
    MiT.from_pretrained("nvidia/mit-b0")
    SegFormer.from_pretrained("nvidia/segformer-b0-finetuned-ade-512-512")

Weights have the licence of who published them. NVIDIA's, here MiT's and SegFormer's, are for research only.

`forms` knows the names in the files, `hub` finds the files, `checkpoint` reads and writes them, `model` is what the
models inherit all this from, and `predictor` adds what it takes to use a model on a picture.
"""

from vitlab.pretrained.checkpoint import (
    from_pretrained,
    load_pretrained,
    read_checkpoint,
    read_settings,
    save_pretrained,
)
from vitlab.pretrained.forms import CheckpointError

__all__ = [
    "CheckpointError",
    "from_pretrained",
    "load_pretrained",
    "read_checkpoint",
    "read_settings",
    "save_pretrained",
]
