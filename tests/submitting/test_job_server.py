"""Where the cluster is, and what is said where none is, or something else answers."""

import http.server
import threading

import pytest

from ecellm.errors import InputError
from ecellm.submitting.job_server import address_of, connect
from tests.object_store import free_ports


@pytest.fixture(autouse=True)
def _no_address(monkeypatch):
    for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"):
        monkeypatch.setenv(name, "")  # and put back afterwards: connecting sets one


def test_the_address(monkeypatch):
    assert address_of(None) == "http://127.0.0.1:8265"
    monkeypatch.setenv("RAY_ADDRESS", "http://one:8265")
    assert address_of(None) == "http://one:8265"
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "https://two/ray/")
    assert address_of(None) == "https://two/ray"
    assert address_of("http://three:1/") == "http://three:1"


@pytest.mark.parametrize("address", ["auto", "10.0.0.1:6379", "ray://head:10001"])
def test_an_address_for_drivers_is_refused(monkeypatch, address):
    with pytest.raises(InputError, match=f"--address {address} is not where jobs are submitted: .*http://HEAD:8265"):
        address_of(address)
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(InputError, match=f"^RAY_ADDRESS {address} is not"):
        address_of(None)


def test_nobody_answers():
    (port,) = free_ports(1)
    with pytest.raises(InputError, match=rf"no Ray cluster answers at http://127\.0\.0\.1:{port} \(.*refused\)"):
        connect(f"http://127.0.0.1:{port}")


@pytest.mark.parametrize(("status", "body"), [(404, b""), (200, b"<html>"), (200, b"{}"), (500, b"")])
def test_something_else_answers(status, body):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            with pytest.raises(InputError, match="is not the dashboard of a Ray cluster"):
                connect(f"http://127.0.0.1:{server.server_port}")
        finally:
            server.shutdown()
