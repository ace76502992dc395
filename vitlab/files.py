"""Files that are either the old ones or the new ones, never half of each."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A path to write to instead of `path`, which takes its place at the end, at once.

    Killed before that, or without room on the disk, the old file stays as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.draft")  # the same name each time: what a killed process leaves is overwritten
    try:
        yield draft
        with draft.open("rb") as file:
            os.fsync(file.fileno())  # on the disk, before the name points to it
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write readable JSON, whole."""
    with written_whole(path) as draft:
        draft.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
