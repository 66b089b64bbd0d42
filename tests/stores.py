"""Servers on loopback for the tests of what is remote: an S3 store, and HTTP with faults on demand."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.error import HTTPError
from urllib.request import Request, urlopen

BUCKET = "pairs"


@contextmanager
def s3_server() -> Iterator[str]:
    """The address of a store that speaks S3, with one empty bucket."""
    from moto.moto_server.threaded_moto_server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        urlopen(Request(f"http://{host}:{port}/{BUCKET}", method="PUT"), timeout=10).close()
        yield f"http://{host}:{port}"
    finally:
        server.stop()


Fault = Callable[[str, str, int], str | None]
"""Says for a method, a path and how often it was asked what goes wrong: `stall`, `cut`, `short`, `whole`, a status or None."""


class FaultyServer(ThreadingHTTPServer):
    """Serves bytes by path, with ranges, or passes requests on to `behind`; `fault` may spoil an answer."""

    daemon_threads = True

    def __init__(self, files: dict[str, bytes] | None = None, behind: str = "") -> None:
        self.files, self.behind = files or {}, behind
        self.fault: Fault = lambda method, path, times: None
        self.asked: list[tuple[str, str]] = []
        self.lock = threading.Lock()
        super().__init__(("127.0.0.1", 0), _Handler)
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that hang up are what this is about."""

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FaultyServer

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = self.path.partition("?")[0]
        with self.server.lock:
            self.server.asked.append((self.command, self.path))
            times = self.server.asked.count((self.command, self.path))
        fault = self.server.fault(self.command, self.path, times)
        if fault == "stall":
            time.sleep(20)
            self.close_connection = True
            return
        if fault and fault.isdigit():
            self._answer(int(fault), {}, b"")
            return
        status, headers, data = self._passed_on(body) if self.server.behind else self._found(path, fault)
        self._answer(status, headers, data, cut=fault == "cut")

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _serve

    def _found(self, path: str, fault: str | None) -> tuple[int, dict[str, str], bytes]:
        data = self.server.files.get(path)
        if data is None:
            return 404, {}, b""
        match = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range") or "")
        if match is None or fault == "whole":
            return 200, {}, data
        first, last = int(match[1]), min(int(match[2]), len(data) - 1)
        last -= (last - first) // 2 if fault == "short" else 0
        return 206, {"Content-Range": f"bytes {first}-{last}/{len(data)}"}, data[first : last + 1]

    def _passed_on(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        left_out = ("connection", "content-length", "expect")
        headers = {name: value for name, value in self.headers.items() if name.lower() not in left_out}
        headers.setdefault("Content-Type", "binary/octet-stream")
        request = Request(self.server.behind + self.path, body or None, headers, method=self.command)
        try:
            with urlopen(request, timeout=20) as answer:
                return answer.status, dict(answer.headers), answer.read()
        except HTTPError as fault:
            return fault.code, dict(fault.headers), fault.read()

    def _answer(self, status: int, headers: dict[str, str], data: bytes, cut: bool = False) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in ("connection", "transfer-encoding", "content-length", "date", "server"):
                self.send_header(name, value)
        told = {name.lower(): value for name, value in headers.items()}
        length = told.get("content-length", str(len(data))) if self.command == "HEAD" else str(len(data))
        self.send_header("Content-Length", length)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data[: len(data) // 2] if cut else data)
        self.close_connection = cut

    def log_message(self, format: str, *args: object) -> None:
        pass
