"""An HTTP server in this process that answers every request with the bytes that it was told, however odd."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        server = self.server
        server.num_asked += 1
        self.send_response(server.status)
        for name, value in server.headers.items():
            self.send_header(name, value)
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        with suppress(OSError):  # the client has left: it has seen enough
            for part in server.parts():
                self.wfile.write(part)
                server.num_sent += len(part)

    def log_message(self, *_args):
        """Say nothing."""


class HostileEndpoint(ThreadingHTTPServer):
    """What to answer with: `status`, `headers`, `parts` (a function that gives the body's pieces)."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.num_asked = self.num_sent = 0
        self.answer_with(b"{}")

    @property
    def base_url(self):
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def answer_with(self, body, status=200, **headers):
        """Answer with a body from now on; a function instead of bytes gives its pieces."""
        self.status, self.headers = status, {"Content-Type": "application/json", **headers}
        self.parts = body if callable(body) else lambda: [body]

    def handle_error(self, request, client_address):
        """A client that leaves is no news."""


@contextmanager
def running_hostile_endpoint() -> Iterator[HostileEndpoint]:
    """Start an endpoint, give it, stop it."""
    with HostileEndpoint() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()
