"""Following a submission: its log is shown as it grows, through broken connections, until the job has ended.

How it ended is read from the job's own last line, `ecellm: exit=N reason=...`: Ray itself tells only success from
failure, and a driver that was killed, or whose node was lost, has no such line.
"""

import asyncio
import logging
import re
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import aiohttp
from ray.job_submission import JobStatus

from ecellm.command_line import EXIT_DONE, EXIT_OTHER
from ecellm.submitting.job_server import ClusterError, explained

logger = logging.getLogger(__name__)
_LAST_LINE = re.compile(r"^ecellm: exit=(\d+) reason=(.*)$", re.MULTILINE)
_NOT_KNOWN = "status code 404"
_KEPT_CHARACTERS = 20_000
_QUIET_SECONDS = 60.0  # a log that says nothing for so long may be a connection that died without a word
_SECONDS_BETWEEN_LOOKS = 2.0
_PATIENCE_SECONDS = 300.0  # a head node that is replaced, a laptop that wakes up


@dataclass(frozen=True)
class Ending:
    """How a submission ended.

    Attributes:
        code: the job's exit code; None if it ended without one.
        reason: what it said, or what is known of its end.
    """

    code: int | None
    reason: str


class Follower:
    """Shows the log of one submission until it has ended.

    Args:
        client: Ray's JobSubmissionClient, or what behaves like it.
        address: the cluster's, for messages.
        submission_id: whose log.
        show: takes text as it comes.
    """

    def __init__(self, client: Any, address: str, submission_id: str, show: Callable[[str], Any]) -> None:
        self._client = client
        self._address = address
        self._id = submission_id
        self._show = show
        self._num_shown = 0
        self._end_of_log = ""

    def follow(self) -> Ending:
        """Return how the submission ended, once it has.

        Raises:
            InputError: the cluster no longer takes our token.
            ClusterError: the cluster did not answer for five minutes.
        """
        while True:
            asyncio.run(self._show_log())
            try:
                details = self._look()
            except ClusterError:
                if (said := _last_line(self._end_of_log)) is None:
                    raise
                return said
            if details is None:
                return _last_line(self._end_of_log) or Ending(None, "the cluster knows nothing of it any more")
            if details.status.is_terminal():
                if self._end_of_log and not self._end_of_log.endswith("\n"):
                    self._show("\n")
                return ending_of(details, self._end_of_log)
            time.sleep(_SECONDS_BETWEEN_LOOKS)

    async def _show_log(self) -> None:
        """Show what the log has more than was shown; it always comes from its beginning."""
        chunks: AsyncIterator[str] = aiter(self._client.tail_job_logs(self._id))
        num_seen = 0
        while (chunk := await self._next(chunks)) is not None:
            num_seen += len(chunk)
            new = chunk[max(0, len(chunk) - (num_seen - self._num_shown)) :] if num_seen > self._num_shown else ""
            if new:
                self._show(new)
                self._num_shown = num_seen
                self._end_of_log = (self._end_of_log + new)[-_KEPT_CHARACTERS:]

    async def _next(self, chunks: AsyncIterator[str]) -> str | None:
        """Return the next piece of the log; None at its end, where it broke, or if a job that is over says nothing."""
        coming = asyncio.ensure_future(anext(chunks, None))
        is_over = False
        while not (await asyncio.wait({coming}, timeout=_QUIET_SECONDS))[0]:
            if is_over:
                coming.cancel()
                return None
            is_over = self._is_over()
        try:
            return await coming
        except (aiohttp.ClientError, OSError, RuntimeError):
            return None  # whatever broke it: how the job stands is asked next

    def _is_over(self) -> bool:
        """Tell whether the job has ended, as far as the cluster answers at once; nothing else waits meanwhile."""
        try:
            return bool(self._client.get_job_info(self._id).status.is_terminal())
        except (OSError, RuntimeError):
            return False

    def _look(self) -> Any:
        """Return the job's details; None if the cluster does not know it."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        is_told = False
        while True:
            try:
                with explained(self._address):
                    return self._client.get_job_info(self._id)
            except ClusterError as error:
                if _NOT_KNOWN in str(error):
                    return None
                if time.monotonic() > deadline:
                    raise
                if not is_told:
                    logger.warning("submit: %s; trying for %.0f s", error, _PATIENCE_SECONDS)
                    is_told = True
            time.sleep(_SECONDS_BETWEEN_LOOKS)


def ending_of(details: Any, log: str) -> Ending:
    """Return how a job ended.

    Args:
        details: Ray's JobDetails.
        log: the end of the job's log; Ray keeps some of it in its message too, if the node with the log is gone.
    """
    if details.status == JobStatus.STOPPED:
        return Ending(EXIT_OTHER, "it was stopped; the same command goes on where it stopped")
    message = details.message or ""
    said = _last_line(log) or _last_line(message)
    if said:
        return said
    if details.status == JobStatus.SUCCEEDED:
        return Ending(EXIT_DONE, "done")
    first = message.strip().split("\n", 1)[0].removesuffix(", last available logs (truncated to 20,000 chars):")
    return Ending(None, first or str(details.error_type or "its driver is gone"))


def _last_line(text: str) -> Ending | None:
    found = _LAST_LINE.findall(text)
    return Ending(int(found[-1][0]), found[-1][1].strip()) if found else None
