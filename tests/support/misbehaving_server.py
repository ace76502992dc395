"""A server on the loopback that does what servers and networks do to downloads, one fault at a time."""

import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

FAULTS = (
    "500",
    "404",
    "another file",  # 200 and some page, as a hotel's login
    "truncated",  # half of the bytes, then the connection is closed
    "corrupt",  # the right number of wrong bytes
    "endless",  # more and more bytes, of no stated length
    "stalled",  # half of the bytes, then nothing until `go` is set
    "no ranges",  # always the whole file
    "lying ranges",  # says that it sends the part asked for, and sends the file's beginning
    "wrong ranges",  # says that it sends another part
    "short ranges",  # sends less than the part asked for, and says how much
)


class Server(ThreadingHTTPServer):
    """Sends `files`, which are bytes under their path, in the way that `fault` names; None is a healthy server.

    Attributes:
        requests: (path, Range header or None) of every request so far.
        go: what stalled answers wait for.
    """

    daemon_threads = True

    def __init__(self, files: dict[str, bytes], fault: str | None = None):
        assert fault is None or fault in FAULTS
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files, self.fault = files, fault
        self.requests: list[tuple[str, str | None]] = []
        self.go = threading.Event()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,))

    def address(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{path}"

    def __enter__(self) -> "Server":
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self.go.set()
        self.shutdown()
        self.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else the small answers wait for each other

    def log_message(self, *_) -> None:
        pass

    def do_GET(self) -> None:
        fault = self.server.fault
        path = self.path.lstrip("/")
        self.server.requests.append((path, self.headers["Range"]))
        if fault in ("404", "500"):
            self.send_error(int(fault))
            return
        content = b"<html>Please log in.</html>" if fault == "another file" else self.server.files[path]
        total = len(content)
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers["Range"] or "")
        start, end = 0, total
        if asked and fault not in ("no ranges", "another file"):
            start, end = int(asked[1]), min(int(asked[2] or total - 1) + 1, total)
            if start >= total:
                self.send_error(416)
                return
            self.send_response(206)
            stated = start + 1 if fault == "wrong ranges" else start
            self.send_header("Content-Range", f"bytes {stated}-{end - 1}/{total}")
            content = content[: end - start] if fault == "lying ranges" else content[start:end]
            if fault == "short ranges":
                content = content[: len(content) // 2]
        else:
            self.send_response(200)
        if fault == "endless":
            self.send_header("Connection", "close")
        else:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        try:
            self._send(content, fault)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True  # the client has seen enough

    def _send(self, content: bytes, fault: str | None) -> None:
        half = len(content) // 2
        if fault == "truncated":
            self.wfile.write(content[:half])
            self.close_connection = True
        elif fault == "corrupt":
            self.wfile.write(content[:half] + bytes(byte ^ 1 for byte in content[half:]))
        elif fault == "endless":
            while True:
                self.wfile.write(content)
        elif fault == "stalled":
            self.wfile.write(content[:half])
            self.wfile.flush()
            self.server.go.wait()
            self.wfile.write(content[half:])
        else:
            self.wfile.write(content)
