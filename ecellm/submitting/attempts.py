"""One run of a recipe on a cluster, over as many submissions as it takes.

An id works once per cluster, so the run `NAME` is submitted as `NAME`, then `NAME-2`, `NAME-3` and so on. While one of
them is at work, the same run is not started again but followed. One that ended without an exit code (its driver was
killed, or the node was lost) is submitted again: jobs go on where they stopped, and Ray never retries a driver.
"""

import logging
import re
import shlex
import time
from collections.abc import Callable
from typing import Any

from ecellm.command_line import EXIT_DONE, EXIT_HELD, EXIT_OTHER
from ecellm.errors import InputError
from ecellm.manifest import TAKEOVER_SECONDS
from ecellm.redaction import redacted_text
from ecellm.submitting.following import Ending, Follower
from ecellm.submitting.job_server import ClusterError, explained
from ecellm.submitting.request import Request
from ecellm.submitting.upload import Upload

logger = logging.getLogger(__name__)
_TAKEN = "already exists"
_TRIES_FOR_AN_ID = 5
_SECONDS_BEFORE_AGAIN = 3.0


class Attempts:
    """Submits a request to a cluster, or joins it where it is at work, and sees it through.

    Args:
        client: Ray's JobSubmissionClient, or what behaves like it.
        address: the cluster's.
        request: what to run.
        upload: the code.
        show: takes the jobs' logs as they come.
    """

    def __init__(self, client: Any, address: str, request: Request, upload: Upload, show: Callable[[str], Any]) -> None:
        self._client = client
        self._address = address
        self._request = request
        self._upload = upload
        self._show = show

    def detached(self) -> tuple[int, str]:
        """Submit, or find at work; return exit code and reason at once."""
        return EXIT_DONE, self.how_to_go_on(self.attach_or_start())

    def followed(self, num_retries: int) -> tuple[int, str]:
        """Submit, or find at work, and follow to the end; return the job's own exit code and reason.

        Args:
            num_retries: most submissions after one that ended without an exit code.
        """
        current = self.attach_or_start()
        try:
            return self._see_through(current, num_retries)
        except KeyboardInterrupt:
            return EXIT_OTHER, self._interrupted()

    def _see_through(self, current: str, num_retries: int) -> tuple[int, str]:
        for retry in range(num_retries + 1):
            ending = Follower(self._client, self._address, current, self._show).follow()
            if ending.code is not None and not (retry and ending.code == EXIT_HELD):
                return ending.code, f"{current}: {ending.reason}"
            if retry == num_retries:
                break
            self._wait(current, ending, num_retries - retry)
            current = self.attach_or_start()
        code = EXIT_OTHER if ending.code is None else ending.code
        tried = f" (tried {num_retries + 1} times)" if num_retries else ""
        return code, f"{current}: {ending.reason}{tried}; the same command goes on where it stopped"

    def _wait(self, current: str, ending: Ending, left: int) -> None:
        # What is held just after a driver was lost is held by the dead: the heartbeat must age first.
        seconds = _SECONDS_BEFORE_AGAIN if ending.code is None else TAKEOVER_SECONDS
        how = "without an exit code" if ending.code is None else "since its killed predecessor still holds the output"
        logger.warning(
            "submit: %s ended %s (%s): submitting it again in %.0f s, %d more %s",
            current, how, ending.reason, seconds, left, "try" if left == 1 else "tries",
        )  # fmt: skip
        time.sleep(seconds)

    def attach_or_start(self) -> str:
        """Return the id of this run's submission that is at work, or of a new one.

        Raises:
            InputError: the upload is too large, or the token is refused.
            ClusterError: the cluster does not take the submission.
        """
        for _ in range(_TRIES_FOR_AN_ID):
            runs = self._runs()
            at_work = [job for job in runs.values() if not job.status.is_terminal()]
            if at_work:
                logger.info("submit: %s is at work since %s: attaching to it", _id(at_work[-1]), _since(at_work[-1]))
                return _id(at_work[-1])
            number = max(runs, default=0) + 1
            submission_id = self._request.name if number == 1 else f"{self._request.name}-{number}"
            if self._start(submission_id):
                return submission_id
        raise ClusterError(f"others took {_TRIES_FOR_AN_ID} ids of {self._request.name} in a row: try again")

    def _start(self, submission_id: str) -> bool:
        """Submit; return False if another has taken the id in between."""
        upload, commit = self._upload, self._upload.commit or "unknown"
        logger.info("submit: %d files, %.1f MB, commit %s", len(upload.files), upload.num_bytes / 1e6, commit)
        try:
            with explained(self._address):
                self._client.submit_job(
                    entrypoint=shlex.join(self._request.command),
                    submission_id=submission_id,
                    runtime_env=dict(upload.runtime_env),
                    metadata={"git_commit": upload.commit} if upload.commit else {},
                )
        except ClusterError as error:
            if _TAKEN in str(error):
                return False
            raise
        logger.info("submit: %s was submitted to %s", submission_id, redacted_text(self._address))
        return True

    def _runs(self) -> dict[int, Any]:
        """Return this run's submissions by their number, in order."""
        pattern = re.compile(rf"{re.escape(self._request.name)}(?:-(\d+))?")
        with explained(self._address):
            jobs = self._client.list_jobs()
        matches = [(pattern.fullmatch(job.submission_id or ""), job) for job in jobs]
        numbered = {int(match[1] or 1): job for match, job in matches if match}
        return dict(sorted(numbered.items()))

    def _interrupted(self) -> str:
        try:
            at_work = [job for job in self._runs().values() if not job.status.is_terminal()]
        except (ClusterError, InputError) as error:
            return f"detached ({error}); the same command attaches again"
        if not at_work:
            return "interrupted with nothing at work; the same command goes on where it stopped"
        return f"detached: {self.how_to_go_on(_id(at_work[-1]))}"

    def how_to_go_on(self, submission_id: str) -> str:
        """Return how to attach to a submission again, and how to stop it."""
        address = redacted_text(self._address)
        return (
            f"{submission_id} is at work on its own; the same command attaches to it again, and this stops it: "
            f"ray job stop --address {address} {submission_id}"
        )


def _id(job: Any) -> str:
    return str(job.submission_id)


def _since(job: Any) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime((job.start_time or 0) / 1000))
