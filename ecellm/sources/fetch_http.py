"""HTTP for big files: a look at a file on its server, and its bytes from any place on, through cuts and refusals.

A failure that may pass (cut, silence, 408, 425, 429, 5xx) is retried, each wait twice as long as the one before, and
the transfer goes on at the byte where it stopped. One that will not (401, 403, 404, a changed file) is an `InputError`.
Messages hold neither logins nor queries of URLs.
"""

import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import IO, Any
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3
from urllib3.exceptions import (
    HTTPError,
    LocationValueError,
    MaxRetryError,
    NameResolutionError,
    NewConnectionError,
    ResponseError,
    SSLError,
)
from urllib3.exceptions import TimeoutError as HTTPTimeoutError
from urllib3.util import make_headers

from ecellm.errors import InputError
from ecellm.sources.fetch_addresses import shown_url

Report = Callable[[int], None]
_BLOCK_BYTES = 1 << 16  # what a reset connection can lose
_CONNECT_TIMEOUT_SECONDS = 15.0
_LONGEST_BACKOFF_SECONDS = 60.0
_LONGEST_RETRY_AFTER_SECONDS = 600.0
_PASSING = {408, 425, 429}
_HUB = "huggingface.co"
# urllib3 follows redirects (and takes the token off when they leave the host); all other retries are ours.
_REDIRECTS_ONLY = urllib3.Retry(
    total=None, connect=0, read=0, status=0, other=0, redirect=10, respect_retry_after_header=False
)


@dataclass(frozen=True)
class Patience:
    """How long to keep trying.

    Attributes:
        max_retries: failures in a row, without a new byte, that are forgiven.
        backoff_seconds: wait before the first retry; doubles.
        timeout_seconds: silence after which a connection is given up.
    """

    max_retries: int
    backoff_seconds: float
    timeout_seconds: float


@dataclass(frozen=True)
class Upstream:
    """What a server says of a file.

    Attributes:
        url: as it may be shown.
        length: bytes, None if the server does not say.
        etag: as sent, with its quotes.
        last_modified: as sent.
        ranges: whether the server gives parts of the file.
    """

    url: str
    length: int | None
    etag: str | None
    last_modified: str | None
    ranges: bool


class _TryAgainError(Exception):
    """A failure that may pass."""

    def __init__(self, reason: str, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


class _Attempts:
    """Counts failures in a row, waits after each, and gives up in the end."""

    def __init__(self, url: str, patience: Patience) -> None:
        self._url = shown_url(url)
        self._patience = patience
        self._failures = 0

    def failed(self, problem: _TryAgainError, *, progressed: bool) -> None:
        """Wait before the next try.

        Raises:
            InputError: there were too many failures.
        """
        self._failures = 1 if progressed else self._failures + 1
        if self._failures > self._patience.max_retries:
            raise InputError(
                f"{self._url}: {problem}; given up (max_retries={self._patience.max_retries}). "
                "The same command goes on where it stopped"
            ) from None
        if problem.retry_after is not None:
            time.sleep(min(problem.retry_after, _LONGEST_RETRY_AFTER_SECONDS))
            return
        longest = min(self._patience.backoff_seconds * 2 ** (self._failures - 1), _LONGEST_BACKOFF_SECONDS)
        time.sleep(longest * random.uniform(0.5, 1.0))  # those that were cut together do not come back together


def look_at(url: str, patience: Patience) -> Upstream:
    """Ask a server for a file's first byte, which tells length, version and whether it gives ranges.

    Raises:
        InputError: the file is not there, is not ours to have, or the server cannot be reached.
    """
    attempts = _Attempts(url, patience)
    while True:
        try:
            with _get(url, {"Range": "bytes=0-0"}, patience) as response:
                return _described(url, response)
        except _TryAgainError as problem:
            attempts.failed(problem, progressed=False)


def copy_range(
    url: str, upstream: Upstream, span: tuple[int, int], target: IO[bytes], *, patience: Patience, report: Report
) -> None:
    """Write a range of a file to `target`, going on after each cut.

    Args:
        url: the address.
        upstream: what the file must still be.
        span: first byte, and the byte after the last.
        target: where the bytes go, in order.
        patience: how long to keep trying.
        report: told the number of bytes after each block.

    Raises:
        InputError: the file is gone, has changed, or the server failed too often.
    """
    attempts = _Attempts(url, patience)
    position, stop = span
    while position < stop:
        before = position
        try:
            for block in _blocks(url, upstream, (position, stop), patience):
                target.write(block)
                position += len(block)
                report(len(block))
            if position < stop:
                raise _TryAgainError(f"the server sent {position - before:,} of {stop - before:,} bytes")  # noqa: TRY301
        except _TryAgainError as problem:
            attempts.failed(problem, progressed=position > before)


def copy_whole(url: str, upstream: Upstream, target: IO[bytes], *, patience: Patience, report: Report) -> None:
    """Write a file from a server without ranges to `target`, from its first byte after each cut.

    Arguments and errors as for `copy_range`; what was written before a cut is reported back as a negative number.
    """
    attempts = _Attempts(url, patience)
    while True:
        try:
            for block in _blocks(url, upstream, None, patience):
                target.write(block)
                report(len(block))
        except _TryAgainError as problem:
            attempts.failed(problem, progressed=False)
            report(-target.tell())
            target.seek(0)
            target.truncate()
        else:
            return


def _blocks(url: str, upstream: Upstream, span: tuple[int, int] | None, patience: Patience) -> Iterator[bytes]:
    """Yield the bytes of one answer: of `span` (start, stop), or of the whole file."""
    headers = {} if span is None else {"Range": f"bytes={span[0]}-{span[1] - 1}", **_only_if_unchanged(upstream)}
    with _get(url, headers, patience) as response:
        _refuse_changed(upstream, _described(url, response))
        left = span[1] - span[0] if span else None
        if span and (response.status != 206 or not _content_range(response).startswith(f"{span[0]}-")):
            raise _TryAgainError("the server did not give the range that it was asked for")
        while block := response.read(_BLOCK_BYTES, decode_content=False):
            if left is not None:
                left -= len(block)
                if left < 0:
                    raise _TryAgainError("the server sent more than the range that it was asked for")
            yield block


@contextmanager
def _get(url: str, headers: dict[str, str], patience: Patience) -> Iterator[urllib3.BaseHTTPResponse]:
    """Open an answer that has the file or a part of it (200, 206, 416 of an empty file).

    Raises:
        InputError: the server refuses for good.
        _TryAgainError: it may do better; also for what fails inside the block.
    """
    timeout = urllib3.Timeout(
        connect=min(_CONNECT_TIMEOUT_SECONDS, patience.timeout_seconds), read=patience.timeout_seconds
    )
    try:
        response = _pool(_proxy(url)).request(
            "GET",
            url,
            headers={"Accept-Encoding": "identity", "User-Agent": "ecellm", **login_header(url), **headers},
            preload_content=False,
            retries=_REDIRECTS_ONLY,
            timeout=timeout,
        )
        with closing(response):
            _refuse(url, response)
            yield response
    except LocationValueError:
        raise InputError(f"{shown_url(url)} leads to an address that is none of http(s)") from None
    except HTTPError as error:
        raise _TryAgainError(_reason(error)) from None


@lru_cache(maxsize=8)
def _pool(proxy: str | None) -> urllib3.PoolManager:
    if proxy is None:
        return urllib3.PoolManager()
    login = urlsplit(proxy)
    basic = f"{unquote(login.username)}:{unquote(login.password or '')}" if login.username else None
    return urllib3.ProxyManager(proxy, proxy_headers=make_headers(proxy_basic_auth=basic) if basic else None)


def _proxy(url: str) -> str | None:
    """Return the proxy that the node's environment (https_proxy, no_proxy, ...) names for a URL."""
    parts = urlsplit(url)
    if proxy_bypass(parts.hostname or ""):
        return None
    return getproxies().get(parts.scheme)


def login_header(url: str) -> dict[str, str]:
    """Return the header that logs in: with the URL's own login, or on the hub with the token of the environment."""
    parts = urlsplit(url)
    if parts.username:
        return make_headers(basic_auth=f"{unquote(parts.username)}:{unquote(parts.password or '')}")
    token = os.environ.get("HF_TOKEN")
    if token and parts.scheme == "https" and parts.hostname == _HUB and parts.port in (None, 443):
        return {"Authorization": f"Bearer {token}"}
    return {}


def _refuse(url: str, response: urllib3.BaseHTTPResponse) -> None:
    """Raise for every status that brings no bytes."""
    status, shown = response.status, shown_url(url)
    if status in {200, 206} or (status == 416 and _content_range(response) == "*/0"):
        return
    if status in _PASSING or status >= 500:
        raise _TryAgainError(f"the server answered {status}", _retry_after(response))
    if status in {404, 410}:
        raise InputError(f"{shown} is not there (the server answered {status}): give another address with addresses=")
    if status in {401, 403}:
        hint = (
            "set HF_TOKEN on the nodes, and accept the data's terms on the hub" if f"//{_HUB}/" in shown else "log in"
        )
        raise InputError(f"no access to {shown} (the server answered {status}): {hint}, or give another address")
    if status == 412:
        raise _changed(shown, "its version")
    raise InputError(f"{shown}: the server answered {status}, which is no file")


def _retry_after(response: urllib3.BaseHTTPResponse) -> float | None:
    """Return the seconds that a server asks to wait: a number or a date."""
    text = response.headers.get("Retry-After", "").strip()
    if text.isdigit():
        return float(text)
    try:
        return max(0.0, (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None


def _described(url: str, response: urllib3.BaseHTTPResponse) -> Upstream:
    headers = response.headers
    total = _content_range(response).rpartition("/")[2] if response.status != 200 else headers.get("Content-Length", "")
    length = int(total) if total.isdigit() else None
    return Upstream(
        url=shown_url(url),
        length=length,
        etag=headers.get("ETag"),
        last_modified=headers.get("Last-Modified"),
        ranges=response.status == 206 and length is not None,
    )


def _content_range(response: urllib3.BaseHTTPResponse) -> str:
    """Return `0-9/100` of a header `Content-Range: bytes 0-9/100`."""
    return response.headers.get("Content-Range", "").strip().removeprefix("bytes").strip()


def _only_if_unchanged(upstream: Upstream) -> dict[str, str]:
    """Return the condition of a range: a changed file comes whole, which `_refuse_changed` then sees.

    A weak ETag must not stand in If-Range (RFC 9110, 13.1.5).
    """
    if upstream.etag and not upstream.etag.startswith("W/"):
        return {"If-Range": upstream.etag}
    return {"If-Range": upstream.last_modified} if upstream.last_modified and not upstream.etag else {}


def difference(before: Upstream, now: Upstream) -> str | None:
    """Say in what two answers show different versions, or return None; what one leaves unsaid is no difference.

    The date counts only where there are no ETags: servers behind one name may differ in it.
    """
    versions = ("etag",) if before.etag and now.etag else ("last_modified",)
    for what in ("length", *versions):
        old, new = getattr(before, what), getattr(now, what)
        if old is not None and new is not None and old != new:
            return f"{what.replace('_', '-')} was {old}, is {new}"
    return None


def _refuse_changed(before: Upstream, now: Upstream) -> None:
    if change := difference(before, now):
        raise _changed(before.url, change)


def _changed(shown: str, what: str) -> InputError:
    return InputError(f"{shown} changed while it was being fetched ({what}): run again, the file starts anew")


def _reason(error: HTTPError) -> str:
    """Name a failure in words; the library's own message holds the whole URL."""
    cause: Any = error.reason if isinstance(error, MaxRetryError) and error.reason else error
    for kind, words in _REASONS.items():
        if isinstance(cause, kind):
            return words
    return f"the connection was cut ({type(cause).__name__})"


_REASONS: dict[type[BaseException], str] = {
    NameResolutionError: "the host's name cannot be resolved",
    NewConnectionError: "no connection to the host",
    HTTPTimeoutError: "the server fell silent",
    SSLError: "the server's TLS certificate or protocol is not accepted",
    ResponseError: "too many redirects",
}
