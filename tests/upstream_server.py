"""An HTTP server on this machine that behaves as badly as public ones do, for tests, and remembers what was asked."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Served:
    """A file and the manners of the server that gives it."""

    content: bytes
    etag: str | None = ""  # "" = made from the content, None = none is sent
    last_modified: str | None = None
    ranges: bool = True
    chunked: bool = False  # no Content-Length either
    cut_after: int | None = None  # bytes of one answer, then the connection ends
    cuts: int = 1_000_000  # how many answers are cut
    statuses: list[int] = field(default_factory=list)  # answers before the first good one
    headers: dict[str, str] = field(default_factory=dict)  # more headers of those answers
    redirect: str | None = None
    stall_at: int | None = None  # ranges from this byte on hang for ever

    def tag(self) -> str | None:
        """The ETag that is sent."""
        return f'"{sha256(self.content).hexdigest()[:16]}"' if not self.etag and self.etag is not None else self.etag


@dataclass
class UpstreamServer:
    """Where it is, what it serves, what it was asked: (path, Range header, all headers)."""

    url: str
    files: dict[str, Served] = field(default_factory=dict)
    log: list[tuple[str, str | None, dict[str, str]]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def ranges_asked(self, path: str) -> list[str]:
        """The ranges that were asked for, without the first look at one byte."""
        with self.lock:
            return sorted(span or "whole" for name, span, _ in self.log if name == path and span != "bytes=0-0")

    def forget(self) -> None:
        """Empty the log."""
        with self.lock:
            self.log.clear()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        server: UpstreamServer = self.server.upstream  # type: ignore[attr-defined]
        path = self.path.partition("?")[0].lstrip("/")
        span = self.headers.get("Range")
        with server.lock:
            server.log.append((path, span, {key.title(): value for key, value in self.headers.items()}))
            served = server.files.get(path)
            status = served.statuses.pop(0) if served and served.statuses else None
        if served is None:
            self._bare(404)
        elif status is not None:
            self._bare(status, served.headers)
        elif served.redirect is not None:
            self._bare(302, {"Location": served.redirect})
        elif served.stall_at is not None and span and int(span[6:].split("-")[0]) >= served.stall_at:
            threading.Event().wait(60)
        else:
            self._give(server, served, span)

    def _bare(self, status: int, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.end_headers()

    def _give(self, server: UpstreamServer, served: Served, span: str | None) -> None:
        content = served.content
        condition = self.headers.get("If-Range")
        if served.ranges and span and condition in (None, served.tag(), served.last_modified):
            first, last = (int(number) for number in span.removeprefix("bytes=").split("-"))
            if first >= len(content):
                self._bare(416, {"Content-Range": f"bytes */{len(content)}"})
                return
            body = content[first : last + 1]
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{first + len(body) - 1}/{len(content)}")
        else:
            body = content
            self.send_response(200)
        self._headers_and_body(server, served, body)

    def _headers_and_body(self, server: UpstreamServer, served: Served, body: bytes) -> None:
        for key, value in (("ETag", served.tag()), ("Last-Modified", served.last_modified)):
            if value:
                self.send_header(key, value)
        if served.chunked:
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        whole = len(body)
        with server.lock:
            is_look = self.headers.get("Range") == "bytes=0-0"
            if served.cut_after is not None and served.cuts > 0 and whole > served.cut_after and not is_look:
                served.cuts -= 1
                body = body[: served.cut_after]
        if served.chunked:
            body = b"%x\r\n%s\r\n" % (len(body), body) + (b"0\r\n\r\n" if len(body) == whole else b"")
        self.wfile.write(body)
        if len(body) < whole:
            self.close_connection = True

    def log_message(self, *_args: object) -> None:
        """Say nothing."""


class _Quiet(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that leaves is no news."""


@contextmanager
def running_upstream() -> Iterator[UpstreamServer]:
    """Start a server on 127.0.0.1, give it, stop it."""
    with _Quiet(("127.0.0.1", 0), _Handler) as server:
        upstream = UpstreamServer(f"http://127.0.0.1:{server.server_address[1]}")
        server.upstream = upstream  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield upstream
        finally:
            server.shutdown()
            thread.join()


def entry(server: UpstreamServer, name: str = "data/file.bin", **more: Any) -> dict[str, Any]:
    """Return one entry of a list of addresses."""
    fields = {"source": "test", "name": name, "url": f"{server.url}/{name.rsplit('/', 1)[-1]}", "sha256": None}
    return {**fields, "size": None, "licence": "CC0", "checked": None, "unchecked_since": "2026-11-24", **more}
