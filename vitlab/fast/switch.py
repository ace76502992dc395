"""The one switch of this room.

with fast.off():
    model(images)  # as the topic files say it
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from vitlab.steps import UNSEEN, Steps

_on = True


def is_on(steps: Steps = UNSEEN) -> bool:
    """Whether the faster paths are taken: they are not off, and nobody asks for the steps, which they skip.

    What `torch.jit.trace` writes down is for other programs, which have no part in oneDNN's calls and bands.
    """
    return _on and steps is UNSEEN and not torch.jit.is_tracing()


@contextmanager
def off() -> Iterator[None]:
    """Within this context no faster path is taken, in any thread.

    With gradient checkpointing the backward pass belongs inside, too, since it computes the forward pass again. So do
    `vmap` and `jvp` of `torch.func`, which cannot look into a faster path, and second derivatives of the loss.
    """
    global _on
    before, _on = _on, False
    try:
        yield
    finally:
        _on = before
