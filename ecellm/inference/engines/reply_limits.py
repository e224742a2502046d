"""Bounds what a foreign endpoint may send back: a reply of a few hundred words needs neither gigabytes nor hours.

The official client reads a reply's body to its end, however long that is, and unpacks what comes compressed. So its
HTTP client is given a hook that looks at each reply before the body is read.
"""

import time
from collections.abc import AsyncIterator
from typing import Any

MAX_REPLY_BYTES = 16 << 20
# A reply that comes in drops may take so many times the longest silence.
_MAX_SILENCES = 10


class ReplyError(RuntimeError):
    """A reply that is not read to its end."""


def bounded_client(timeout: Any, silence_seconds: float) -> Any:
    """Return an HTTP client for `openai.AsyncOpenAI` that ends replies which are too long, too slow or compressed.

    Args:
        timeout: of the client.
        silence_seconds: longest silence of the endpoint.
    """
    import openai

    async def bound(response: Any) -> None:
        encoding = response.headers.get("content-encoding", "identity").strip().lower()
        if encoding not in {"", "identity"}:  # a hundred kilobytes can stand for gigabytes
            raise ReplyError(f"the reply is compressed ({encoding[:20]!r}), which nobody asked for")
        response.stream = _bounded(response.stream, _MAX_SILENCES * silence_seconds)

    return openai.DefaultAsyncHttpxClient(
        timeout=timeout, event_hooks={"response": [bound]}, headers={"Accept-Encoding": "identity"}
    )


def _bounded(stream: Any, seconds: float) -> Any:
    """Return a body's stream that ends with an error when it is too long, or goes on for too many seconds."""
    # The client has changed its HTTP library before, so its base class is found where the stream has it.
    base = next(own for own in type(stream).__mro__ if own.__name__ == "AsyncByteStream")

    class Bounded(base):  # type: ignore[misc, valid-type]
        async def __aiter__(self) -> AsyncIterator[bytes]:
            num_bytes, end = 0, time.monotonic() + seconds
            async for part in stream:
                num_bytes += len(part)
                if num_bytes > MAX_REPLY_BYTES:
                    raise ReplyError(f"the reply is longer than {MAX_REPLY_BYTES >> 20} MiB")
                if time.monotonic() > end:
                    raise ReplyError(f"the reply had not come to its end after {seconds:,.0f} s")
                yield part

        async def aclose(self) -> None:
            await stream.aclose()

    return Bounded()
