"""Files from the network: from several mirrors, resumed, and never used before their hash is right.

A file is looked for in the folder that the environment variable VITLAB_DATA names, where it is only read; then in the
cache, the folder `vitlab` in $XDG_CACHE_HOME or ~/.cache; and then it is downloaded into the cache.
"""

import hashlib
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import requests
from filelock import FileLock, Timeout
from tqdm.auto import tqdm

from vitlab.data.dataset import DataError

STALL = 30.0  # seconds without a byte after which a mirror is given up
ATTEMPTS = 3  # how often one mirror is asked
BLOCK = 1 << 16  # bytes that are written at once


@dataclass(frozen=True)
class RemoteFile:
    """A file that is known before it is there.

    Attributes:
        path: where it is kept, below VITLAB_DATA and below the cache.
        size: in bytes.
        hash: the algorithm and the digest, as in "sha256:c4a3...".
        mirrors: addresses of the very same bytes, in the order in which they are tried.
    """

    path: str
    size: int
    hash: str
    mirrors: tuple[str, ...]

    def is_at(self, path: Path) -> bool:
        """Whether the bytes at `path` are these."""
        algorithm, digest = self.hash.split(":")
        with open(path, "rb") as content:
            return hashlib.file_digest(content, algorithm).hexdigest() == digest


def cache_folder() -> Path:
    """Where downloads are kept.

    Raises:
        DataError: if the environment names no such folder.
    """
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vitlab"
    except RuntimeError as error:
        raise DataError("there is no home folder: name a folder for downloads in XDG_CACHE_HOME.") from error


def find_given(path: str) -> Path | None:
    """What stands under this path in the folder that VITLAB_DATA names; None without such a folder or file.

    Raises:
        DataError: if VITLAB_DATA names something that is not a folder.
    """
    if not os.environ.get("VITLAB_DATA"):
        return None
    folder = Path(os.path.expanduser(os.environ["VITLAB_DATA"]))
    if not folder.is_dir():
        raise DataError(f"VITLAB_DATA names {folder}, but there is no such folder.")
    return folder / path if (folder / path).exists() else None


def fetch(file: RemoteFile) -> Path:
    """A copy of the file whose hash has just been checked: given, cached or downloaded.

    A download that was interrupted, in whatever way, goes on where it stopped. Processes that want the same file wait
    for the one that fetches it.

    Raises:
        DataError: if no mirror has the file, it cannot be written, or the given copy is not the file.
    """
    given = find_given(file.path)
    if given is not None:
        if not file.is_at(given):
            raise DataError(
                f"{given} is not the published file, because its {file.hash.split(':')[0]} is another: "
                "put a whole copy there, or remove it to have it downloaded."
            )
        return given
    path = cache_folder() / file.path
    with exclusive(path):
        if path.exists() and not file.is_at(path):
            say(f"{path} is damaged and is fetched again.")
            path.unlink()
        if not path.exists():
            _download(file, path)
    return path


def _download(file: RemoteFile, path: Path) -> None:
    part = _part(path)
    if _size(part) > file.size:
        part.unlink()
    failures = []
    for address in file.mirrors:
        for _ in range(ATTEMPTS):
            before = _size(part)
            failure = _receive(file, address, part)
            if failure is None and file.is_at(part):
                os.replace(part, path)
                return
            if failure is None:
                # The hash decides, and not an ETag: so a part from one mirror may be continued from another.
                failure = "sent other bytes than the published ones"
                part.unlink()
            if _size(part) == before:
                break  # asking again helps only where something came, or something wrong was thrown away
        failures.append(f"{urlsplit(address).netloc} {failure}")
    raise DataError(f"{path.name} could not be downloaded: {'; '.join(failures)}. {_what_to_do(file)}")


def _what_to_do(file: RemoteFile) -> str:
    return (
        f"Try again later, which goes on where it stopped, or put the file into a folder as {file.path} and name the "
        "folder in VITLAB_DATA."
    )


def _receive(file: RemoteFile, address: str, part: Path) -> str | None:
    """Continue `part`: None if it has its full length now, else what its mirror did."""
    had = _size(part)
    if had == file.size:  # killed between the last byte and the check
        return None
    try:
        with requests.Session() as session, _get(session, address, f"bytes={had}-" if had else None) as response:
            if response.status_code not in (200, 206):
                return f"answered {response.status_code}"
            size = _whole_size(response)
            if size not in (file.size, None):
                return f"has a file of {size:,} bytes instead of {file.size:,}"
            resumed = response.status_code == 206  # a server may ignore the range and send all
            bar = tqdm(desc=part.stem, initial=had * resumed, total=file.size, unit="B", unit_scale=True)
            with bar, open(part, "ab" if resumed else "wb") as out:
                for block in response.iter_content(BLOCK):
                    out.write(block)
                    bar.update(len(block))
                    if out.tell() > file.size:
                        break
                out.flush()
                os.fsync(out.fileno())
    except requests.RequestException as error:
        return _in_words(error)
    if _size(part) > file.size:
        part.unlink()
        return f"sent more than {file.size:,} bytes"
    return None if _size(part) == file.size else f"broke off after {_size(part):,} of {file.size:,} bytes"


class NoRangesError(DataError):
    """The mirrors of this file send it whole, but no parts of it."""


class RangeFile(io.RawIOBase):
    """A file that stays on its server: each read fetches just the bytes that it wants."""

    def __init__(self, file: RemoteFile):
        self._file = file
        self._mirrors = list(file.mirrors)
        self._session = requests.Session()
        self._position = 0
        self._window = (0, b"")  # where the bytes that are held begin, and the bytes

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._position = offset + (0, self._position, self._file.size)[whence]
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: memoryview) -> int:
        length = max(0, min(len(buffer), self._file.size - self._position))
        start, held = self._window
        if not start <= self._position <= self._position + length <= start + len(held):
            self.prefetch(self._position, length)
            start, held = self._window
        offset = self._position - start
        buffer[:length] = held[offset : offset + length]
        self._position += length
        return length

    def prefetch(self, start: int, length: int) -> None:
        """Hold these bytes, fetched by one request, for the reads to come.

        Raises:
            NoRangesError: if the mirrors send whole files only.
            DataError: if no mirror sends these bytes.
        """
        end = min(start + length, self._file.size)
        if start >= end:
            return
        failures, kind = [], DataError
        while self._mirrors:
            for _ in range(ATTEMPTS):
                try:
                    with _get(self._session, self._mirrors[0], f"bytes={start}-{end - 1}") as response:
                        if response.headers.get("Content-Range") == f"bytes {start}-{end - 1}/{self._file.size}":
                            held = next(response.iter_content(end - start), b"")
                            if len(held) == end - start:
                                self._window = (start, held)
                                return
                            failure = "broke off"
                        elif response.ok:
                            failure, kind = "does not send parts of the file", NoRangesError
                        else:
                            failure = f"answered {response.status_code}"
                except requests.RequestException as error:
                    failure = _in_words(error)
            failures.append(f"{urlsplit(self._mirrors.pop(0)).netloc} {failure}")
        raise kind(f"{Path(self._file.path).name} cannot be read: {'; '.join(failures)}. {_what_to_do(self._file)}")


def _get(session: requests.Session, address: str, span: str | None) -> requests.Response:
    headers = {"Accept-Encoding": "identity"} | ({"Range": span} if span else {})
    return session.get(address, headers=headers, stream=True, timeout=STALL)


def _whole_size(response: requests.Response) -> int | None:
    """The size of the whole file, of which this may be a part; None if the server does not tell."""
    if response.status_code == 206:
        size = response.headers.get("Content-Range", "").rpartition("/")[2]
    else:
        size = response.headers.get("Content-Length", "")
    return int(size) if size.isdigit() else None


def _in_words(error: requests.RequestException) -> str:
    if isinstance(error, requests.Timeout) or "timed out" in str(error):
        return f"sent nothing for {STALL:g} s"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "broke off"
    return "cannot be reached" if isinstance(error, requests.ConnectionError) else f"failed ({type(error).__name__})"


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _part(path: Path) -> Path:
    return path.with_name(path.name + ".part")


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Only one process at a time makes `path`, in the cache; the others wait for it.

    Raises:
        DataError: if the disk cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(f"{path}.lock")
        try:
            held = lock.acquire(blocking=False)
        except Timeout:
            say(f"another process is making {path.name}: waiting for it.")
            held = lock.acquire()
        with held:
            yield
    except OSError as error:
        raise DataError(
            f"{path} cannot be made or read ({error.strerror or error}): make room or give access to it, or name "
            "another folder for downloads in XDG_CACHE_HOME."
        ) from error


def say(sentence: str) -> None:
    """Tell the reader, without disturbing results or progress bars."""
    tqdm.write(sentence, file=sys.stderr)
