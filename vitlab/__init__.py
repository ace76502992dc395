"""vitlab: Vision Transformers, from patches to pixels, in PyTorch. One topic of the course, one file."""

from importlib import import_module

__all__ = ["SegFormer", "ViT"]


def __getattr__(name: str):  # when it is asked for: torch takes seconds, and `vitlab --help` does without
    if name not in __all__:
        raise AttributeError(f"module 'vitlab' has no attribute {name!r}")
    return getattr(import_module(f"vitlab.{name.lower()}"), name)
