"""Files that are either the old ones or the new ones, never half of each."""

import errno
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from torch import Tensor


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A path to write to instead of `path`, which takes its place at the end, at once.

    Killed before that, or without room on the disk, the old file stays as it was.

    Raises:
        OSError: at once, if no file can be written there.
    """
    if path.exists() and not path.is_file():
        raise FileExistsError(errno.EEXIST, "what stands there is no file", str(path))
    with _moved(_draft(path), path.parent) as draft:
        yield draft / path.name


@contextmanager
def folder_written_whole(folder: Path) -> Iterator[Path]:
    """A folder to write files to instead of `folder`; at the end they take their places in it, all of them.

    Raises:
        OSError: at once, if no folder can be written there.
    """
    folder = folder.resolve()  # so that it has a name
    with _moved(_draft(folder), folder) as draft:
        yield draft


def remove_draft(path: Path) -> None:
    """Remove what a process that was killed had written so far of `path`."""
    draft = _draft(path)
    if draft.is_dir() and not draft.is_symlink():
        if not _is_foreign(draft):
            shutil.rmtree(draft)
    else:
        draft.unlink(missing_ok=True)


def _draft(path: Path) -> Path:
    return path.with_name(f"{path.name}.draft")  # the same name each time, so that the next start finds it


def _is_foreign(draft: Path) -> bool:
    """Whether a folder of that name holds what no draft does, and so is somebody's own."""
    return any(file.name != "new" and not file.name.startswith(".") for file in draft.iterdir())


@contextmanager
def _moved(draft: Path, folder: Path) -> Iterator[Path]:
    """A folder in `draft`, whose files move to `folder` at the end, on the disk before their names are.

    One process writes at a time; another one is refused, so that neither finds the other's half in its own.
    """
    try:
        draft.mkdir(parents=True, exist_ok=True)
        if _is_foreign(draft):
            raise FileExistsError(errno.EEXIST, "files of somebody else stand there", str(draft))
        with FileLock(draft / ".lock").acquire(blocking=False):
            try:
                new = draft / "new"
                shutil.rmtree(new, ignore_errors=True)
                new.mkdir()
                yield new
                files = list(new.iterdir())
                (usual := draft / ".mode").touch()
                for file in files:
                    file.chmod(usual.stat().st_mode)  # safetensors keeps its files to itself, whatever the umask says
                    with file.open("rb") as content:
                        os.fsync(content.fileno())
                folder.mkdir(exist_ok=True)
                for file in files:
                    file.replace(folder / file.name)
            finally:
                shutil.rmtree(draft, ignore_errors=True)
    except Timeout as error:
        raise OSError(errno.EBUSY, "another process is writing it", str(draft.with_suffix(""))) from error
    except OSError as error:
        in_the_way = isinstance(error, FileExistsError)  # what has the draft's own name
        if error.errno and not in_the_way and str(error.filename or draft).startswith(str(draft)):
            error.filename = str(draft.with_suffix(""))  # a full disk does not say at all what did not fit
        raise


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write readable JSON, whole."""
    with written_whole(path) as draft:
        draft.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def write_tensors(path: Path, tensors: dict[str, Tensor], about: dict[str, str]) -> None:
    """Write a safetensors file.

    Args:
        path: of the file.
        tensors: on whatever device, in whatever layout.
        about: a few texts that stand in the file's header.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    try:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path, about)
    except SafetensorError as error:
        number = re.search(r"os error (\d+)", str(error))  # the only place where it says what went wrong
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1]))) from error


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """What `write_tensors` wrote: the tensors, and the texts about them.

    Raises:
        OSError: if the file cannot be read.
        ValueError: if it is damaged, or no safetensors file.
    """
    from safetensors import SafetensorError, safe_open

    path.open("rb").close()  # safe_open says of a file that may not be read that there is none
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}
    except SafetensorError as error:
        raise ValueError(str(error)) from error
