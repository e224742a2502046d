"""A reverse proxy that spoils traffic on purpose, to be put in front of the S3 server of the tests.

Clients sign for the proxy's address, and the Host header that they signed goes on as it came, so the server accepts
it. A request is one connection. Which requests are spoilt, and how, follows from a seed and their number.
"""

import asyncio
import random
import re
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

_SLOW_DOWN = (
    b'<?xml version="1.0" encoding="UTF-8"?><Error><Code>SlowDown</Code>'
    b"<Message>Please reduce your request rate.</Message></Error>"
)
_LENGTH = re.compile(rb"(?im)^content-length:\s*(\d+)\s*$")


@dataclass
class Spoiler:
    """What is done to the traffic.

    Attributes:
        target: port of the server.
        shares: by kind of fault the share of requests that meet it: `slow_down` (503), `delay`, `cut_request` (the
            connection ends in the middle of the request's body), `cut_response` (in the middle of the response's).
        seed: of the draws.
        seconds: length of a delay.
        seen: how many requests met each kind of fault; `none` counts the others.
    """

    target: int
    shares: Mapping[str, float]
    seed: int = 1
    seconds: float = 0.5
    seen: Counter = field(default_factory=Counter)
    num_requests: int = 0

    def draw(self) -> str:
        """Return the fault of the next request."""
        self.num_requests += 1
        number = random.Random(f"{self.seed}-{self.num_requests}").random()
        for fault, share in self.shares.items():
            number -= share
            if number < 0:
                return fault
        return "none"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take one request, and answer it for better or worse."""
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            await self._serve(reader, writer)
        writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if b"100-continue" in head.lower():
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        fault = self.draw()
        length = int(match[1]) if (match := _LENGTH.search(head)) else 0
        if fault == "cut_request":
            await reader.readexactly(length // 2)
            self.seen[fault] += 1
            return
        body = await _body(reader, head, length)
        if fault == "slow_down":
            self.seen[fault] += 1
            lines = [b"HTTP/1.1 503 Slow Down", b"Content-Type: application/xml", b"Connection: close"]
            lines.append(b"Content-Length: %d" % len(_SLOW_DOWN))
            writer.write(b"\r\n".join(lines) + b"\r\n\r\n" + _SLOW_DOWN)
            await writer.drain()
            return
        if fault == "delay":
            await asyncio.sleep(self.seconds)
        response = await self._forward(head, body)
        start = response.find(b"\r\n\r\n") + 4
        is_cut = fault == "cut_response" and len(response) > start
        self.seen["none" if fault == "cut_response" and not is_cut else fault] += 1
        writer.write(response[: (start + len(response)) // 2] if is_cut else response)
        await writer.drain()

    async def _forward(self, head: bytes, body: bytes) -> bytes:
        """Send a request to the server on a connection of its own; return all of the response."""
        lines = [
            line for line in head.rstrip().split(b"\r\n") if not line.lower().startswith((b"connection:", b"expect:"))
        ]
        reader, writer = await asyncio.open_connection("127.0.0.1", self.target)
        writer.write(b"\r\n".join([*lines, b"Connection: close"]) + b"\r\n\r\n" + body)
        await writer.drain()
        response = await reader.read()
        writer.close()
        return response


async def _body(reader: asyncio.StreamReader, head: bytes, length: int) -> bytes:
    if b"transfer-encoding: chunked" not in head.lower():
        return await reader.readexactly(length)
    body = b""
    while not body.endswith(b"0\r\n\r\n"):
        body += await reader.readuntil(b"\r\n")
    return body


@contextmanager
def running_proxy(spoiler: Spoiler) -> Iterator[str]:
    """Run the proxy in a thread; give its address."""
    loop, ready = asyncio.new_event_loop(), threading.Event()
    address: list[str] = []

    async def start() -> None:
        server = await asyncio.start_server(spoiler.serve, "127.0.0.1", 0, limit=1 << 26)
        address.append(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        ready.set()

    def run() -> None:
        loop.run_until_complete(start())
        loop.run_forever()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert ready.wait(30)
    try:
        yield address[0]
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
