"""A download ends with the right file or with one clear sentence, and never with a bad file in the cache."""

import errno
import hashlib
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
from support.misbehaving_server import FAULTS, Server

from vitlab.data import DataError, download
from vitlab.data.download import BLOCK, NoRangesError, RangeFile, RemoteFile, fetch

CONTENT = np.random.default_rng(0).bytes(8 * BLOCK)
FETCH_IN_A_PROCESS = "import sys; from vitlab.data.download import RemoteFile, fetch; " + (
    "print(fetch(RemoteFile(sys.argv[1], int(sys.argv[2]), sys.argv[3], tuple(sys.argv[4:]))))"
)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch, request) -> Path:
    """An empty cache, no VITLAB_DATA, and little patience where a server stalls."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("VITLAB_DATA", raising=False)
    if "stalled" in request.node.name:
        monkeypatch.setattr(download, "STALL", 0.3)
    return tmp_path / "vitlab"


def remote(*servers: Server, content: bytes = CONTENT) -> RemoteFile:
    mirrors = tuple(server.address("file.bin") for server in servers)
    return RemoteFile("set/file.bin", len(content), f"sha256:{hashlib.sha256(content).hexdigest()}", mirrors)


def serve(fault: str | None = None) -> Server:
    return Server({"file.bin": CONTENT}, fault)


def leave_part(cache: Path, content: bytes) -> None:
    """What an interrupted download has left."""
    part = cache / "set" / "file.bin.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(content)


def fetch_in_a_process(file: RemoteFile) -> subprocess.Popen:
    arguments = [file.path, str(file.size), file.hash, *file.mirrors]
    return subprocess.Popen(
        [sys.executable, "-c", FETCH_IN_A_PROCESS, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_until(condition) -> None:
    for _ in range(3000):
        if condition():
            return
        time.sleep(0.02)
    raise AssertionError("waited for a minute in vain")


def assert_good(path: Path, cache: Path) -> None:
    assert path == cache / "set" / "file.bin" and path.read_bytes() == CONTENT
    assert not path.with_name("file.bin.part").exists()


def test_a_file_is_fetched_once(cache):
    with serve() as server:
        assert_good(fetch(remote(server)), cache)
        assert_good(fetch(remote(server)), cache)
    assert server.requests == [("file.bin", None)]


SENTENCES = {
    "500": "answered 500",
    "404": "answered 404",
    "another file": "has a file of 27 bytes instead of",
    "corrupt": "sent other bytes than the published ones",
    "endless": "sent more than",
    "stalled": "sent nothing for 0.3 s",
}


@pytest.mark.parametrize("fault", SENTENCES)
def test_a_fault_is_a_sentence_and_a_healthy_mirror_helps(cache, fault):
    with serve(fault) as bad, serve() as good:
        with pytest.raises(DataError, match=f"127.0.0.1:{bad.server_port} {SENTENCES[fault]}") as raised:
            fetch(remote(bad))
        assert "VITLAB_DATA" in str(raised.value)
        assert len(bad.requests) == (3 if fault == "stalled" else 1)  # again only where something came
        assert not (cache / "set" / "file.bin").exists()
        assert_good(fetch(remote(bad, good)), cache)


@pytest.mark.parametrize("fault", FAULTS)
def test_after_a_fault_the_healed_server_gives_the_good_file(cache, fault):
    with serve(fault) as server:
        try:
            fetch(remote(server))
        except DataError:
            assert not (cache / "set" / "file.bin").exists()
        else:
            assert_good(cache / "set" / "file.bin", cache)
        server.fault = None
        assert_good(fetch(remote(server)), cache)


KEPT = {"nothing": b"", "a part": CONTENT[: 3 * BLOCK], "other bytes": b"rubbish" * 1000, "all": CONTENT}


@pytest.mark.parametrize("kept", [*KEPT.values(), CONTENT + b"and more"], ids=[*KEPT, "too much"])
def test_a_part_of_any_kind_is_finished(cache, kept):
    leave_part(cache, kept)
    with serve() as server:
        assert_good(fetch(remote(server)), cache)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("kept", ["a part", "other bytes"])
def test_a_part_is_finished_after_a_fault(cache, fault, kept):
    leave_part(cache, KEPT[kept])
    with serve(fault) as server, serve() as good:
        assert_good(fetch(remote(server, good)), cache)


def test_a_truncated_download_goes_on_where_it_stopped(cache):
    with serve("truncated") as server, serve() as good:
        assert_good(fetch(remote(server, good)), cache)
    assert [span for _, span in server.requests] == [None, f"bytes={4 * BLOCK}-", f"bytes={6 * BLOCK}-"]
    assert [span for _, span in good.requests] == [f"bytes={7 * BLOCK}-"]


@pytest.mark.parametrize("fault", ["no ranges", "lying ranges", "wrong ranges"])
def test_a_part_is_given_up_where_the_server_cannot_continue_it(cache, fault):
    leave_part(cache, KEPT["a part"])
    with serve(fault) as server:
        assert_good(fetch(remote(server)), cache)
    assert len(server.requests) == {"no ranges": 1, "lying ranges": 2, "wrong ranges": 1}[fault]


def test_a_login_page_does_not_cost_the_part(cache):
    leave_part(cache, KEPT["a part"])
    with serve("another file") as page, serve() as good:
        assert_good(fetch(remote(page, good)), cache)
    assert good.requests == [("file.bin", f"bytes={3 * BLOCK}-")]


def test_connection_refused(cache):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]  # bound, but nobody listens
        nobody = f"http://127.0.0.1:{port}/file.bin"
        with serve() as server:
            file = remote(server)
            with pytest.raises(DataError, match=f"127.0.0.1:{port} cannot be reached"):
                fetch(RemoteFile(file.path, file.size, file.hash, (nobody,)))
            assert_good(fetch(RemoteFile(file.path, file.size, file.hash, (nobody, *file.mirrors))), cache)


@pytest.mark.parametrize("damage", [lambda c: c[:-1], lambda c: c[:100] + b"!" + c[101:], lambda c: b""])
def test_a_damaged_file_in_the_cache_is_not_used(cache, damage):
    with serve() as server:
        path = fetch(remote(server))
        path.write_bytes(damage(CONTENT))
        assert_good(fetch(remote(server)), cache)
    assert len(server.requests) == 2


def test_a_given_file_is_read_only_if_it_is_the_right_one(tmp_path, monkeypatch, cache):
    given = tmp_path / "given" / "set" / "file.bin"
    given.parent.mkdir(parents=True)
    given.write_bytes(CONTENT)
    monkeypatch.setenv("VITLAB_DATA", str(tmp_path / "given"))
    assert fetch(remote()) == given and not cache.exists()
    given.write_bytes(CONTENT[1:])
    with pytest.raises(DataError, match=re.escape(f"{given} is not the published file")):
        fetch(remote())
    assert given.read_bytes() == CONTENT[1:]
    monkeypatch.setenv("VITLAB_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match="there is no such folder"):
        fetch(remote())


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full, the disk that is always full")
def test_disk_full(cache):
    part = cache / "set" / "file.bin.part"
    part.parent.mkdir(parents=True)
    part.symlink_to("/dev/full")
    with serve() as server:
        with pytest.raises(DataError, match=os.strerror(errno.ENOSPC)):
            fetch(remote(server))
        assert not (cache / "set" / "file.bin").exists()
        part.unlink()
        assert_good(fetch(remote(server)), cache)


def test_disk_full_in_the_middle(cache):
    """A limit on the size of files stands for the end of the disk: the kernel takes a part, and then no more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with serve() as server:
        resource.setrlimit(resource.RLIMIT_FSIZE, (5 * BLOCK + 100, hard))
        try:
            with pytest.raises(DataError, match=os.strerror(errno.EFBIG)):
                fetch(remote(server))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert not (cache / "set" / "file.bin").exists()
        assert_good(fetch(remote(server)), cache)
    assert server.requests[-1] == ("file.bin", f"bytes={5 * BLOCK + 100}-")


def test_a_cache_that_cannot_be_made(tmp_path, monkeypatch):
    (tmp_path / "taken").write_text("a file where a folder should be")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "taken"))
    with pytest.raises(DataError, match="XDG_CACHE_HOME"):
        fetch(remote())


def test_a_user_without_a_home_is_told_what_to_name(monkeypatch):
    def homeless():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", homeless)
    with pytest.raises(DataError, match="there is no home folder: name a folder for downloads in XDG_CACHE_HOME"):
        fetch(remote())


def test_killed_in_mid_download(cache):
    part = cache / "set" / "file.bin.part"
    with serve("stalled") as server:
        process = fetch_in_a_process(remote(server))
        wait_until(lambda: part.exists() and part.stat().st_size == 4 * BLOCK)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert not (cache / "set" / "file.bin").exists()
        server.fault = None
        assert_good(fetch(remote(server)), cache)
    assert server.requests == [("file.bin", None), ("file.bin", f"bytes={4 * BLOCK}-")]


def test_two_processes_download_once(cache):
    with serve("stalled") as server:
        first = fetch_in_a_process(remote(server))
        wait_until(lambda: server.requests)
        second = fetch_in_a_process(remote(server))
        assert "another process is making file.bin" in second.stderr.readline()
        server.go.set()
        for process in (first, second):
            output, errors = process.communicate()
            assert process.returncode == 0, errors
            assert_good(Path(output.strip()), cache)
    assert server.requests == [("file.bin", None)]


def test_a_range_file_fetches_what_is_read(tmp_path):
    with serve() as server, RangeFile(remote(server)) as file:
        assert file.seek(-5, os.SEEK_END) == len(CONTENT) - 5
        assert file.read() == CONTENT[-5:]
        file.prefetch(100, 50)
        file.seek(110)
        assert (file.read(10), file.read(20), file.tell()) == (CONTENT[110:120], CONTENT[120:140], 140)
        assert file.read(20) == CONTENT[140:160]
    end = len(CONTENT)
    assert [span for _, span in server.requests] == [f"bytes={end - 5}-{end - 1}", "bytes=100-149", "bytes=140-159"]


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault not in ("corrupt", "lying ranges")])
def test_a_range_file_reads_right_bytes_or_none(fault):
    """What is only as long as it should be is noticed by zipfile, which knows each member's CRC-32."""
    with serve(fault) as server, serve() as good:
        kind = NoRangesError if fault in ("no ranges", "wrong ranges", "another file") else DataError
        if fault != "endless":  # which is a healthy beginning of a part
            with pytest.raises(kind, match=f"127.0.0.1:{server.server_port} "):
                RangeFile(remote(server)).read(1000)
        assert RangeFile(remote(server, good)).read(1000) == CONTENT[:1000]


def test_a_range_file_is_a_file_for_zipfile(tmp_path):
    with ZipFile(tmp_path / "some.zip", "w") as archive:
        archive.writestr("large", CONTENT)
        archive.writestr("small", b"hello")
    content = (tmp_path / "some.zip").read_bytes()
    with Server({"file.bin": content}) as server:
        assert ZipFile(RangeFile(remote(server, content=content))).read("small") == b"hello"
    fetched = sum(int(last) - int(first) + 1 for first, last in (span[6:].split("-") for _, span in server.requests))
    assert fetched < 1000
