"""The one switch of this room.

with fast.off():
    model(images)  # as the topic files say it
"""

from collections.abc import Iterator
from contextlib import contextmanager

_on = True


def is_on() -> bool:
    """Whether the faster paths are taken."""
    return _on


@contextmanager
def off() -> Iterator[None]:
    """Within this context no faster path is taken, in any thread."""
    global _on
    before, _on = _on, False
    try:
        yield
    finally:
        _on = before
