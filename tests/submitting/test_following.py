"""A log is shown once and whole, whatever happens to the connection, and how the job ended is found."""

import asyncio

import aiohttp
import pytest
from ray.exceptions import AuthenticationError
from ray.job_submission import JobStatus

from ecellm.errors import InputError
from ecellm.submitting import following
from ecellm.submitting.following import Ending, Follower, ending_of
from ecellm.submitting.job_server import ClusterError
from tests.submitting.fake_cluster import FakeCluster, Job, ended


@pytest.fixture(autouse=True)
def _nobody_waits(monkeypatch):
    monkeypatch.setattr(following.time, "sleep", lambda _: None)


def follow(cluster, job, shown):
    cluster.jobs["a"] = job
    return Follower(cluster, "http://head:8265", "a", shown.append).follow()


@pytest.mark.parametrize(
    "broken", [RuntimeError("WebSocket connection closed"), aiohttp.ClientConnectionError(), ConnectionResetError()]
)
def test_a_broken_connection_neither_ends_nor_repeats_the_log(broken):
    shown = []
    job = ended(0, "done", "one\ntw", "o\n", broken, "three\n", RuntimeError("again"), "four\n")
    assert follow(FakeCluster(), job, shown) == Ending(0, "done")
    assert "".join(shown) == "Running entrypoint\none\ntwo\nthree\nfour\necellm: exit=0 reason=done\n"


def test_a_piece_that_was_shown_in_part_is_completed():
    """The second time the log comes in other pieces."""
    shown, cluster = [], FakeCluster()
    pieces = iter([["ab", "cd", RuntimeError("broken")], ["abcdef\n", "ecellm: exit=0 reason=done\n"]])

    async def tail(_):
        for piece in next(pieces):
            if isinstance(piece, Exception):
                raise piece
            yield piece
        cluster.jobs["a"].is_over = True

    cluster.tail_job_logs = tail
    assert follow(cluster, Job(), shown).code == 0
    assert "".join(shown) == "abcdef\necellm: exit=0 reason=done\n"


def test_a_connection_that_died_without_a_word_is_noticed(monkeypatch):
    monkeypatch.setattr(following, "_QUIET_SECONDS", 0.02)
    cluster, shown = FakeCluster(), []

    async def tail(_):
        yield "working\n"
        cluster.jobs["a"].is_over = True
        await asyncio.Event().wait()

    cluster.tail_job_logs = tail
    assert follow(cluster, Job(message="failed\necellm: exit=2 reason=bad\n"), shown) == Ending(2, "bad")
    assert shown == ["working\n"]


def test_a_quiet_job_is_waited_for(monkeypatch):
    monkeypatch.setattr(following, "_QUIET_SECONDS", 0.01)
    cluster, shown = FakeCluster(), []

    async def tail(_):
        await asyncio.sleep(0.1)
        yield "ecellm: exit=0 reason=done\n"
        cluster.jobs["a"].is_over = True

    cluster.tail_job_logs = tail
    assert follow(cluster, Job(), shown) == Ending(0, "done")


def fails(error, times):
    """Return a function that raises the first `times` times, then says that the job is over."""
    left = [error] * times

    def look(submission_id):
        if left:
            raise left.pop()
        return FakeCluster.get_job_info(cluster, submission_id)

    cluster = FakeCluster()
    cluster.get_job_info = look
    return cluster


def test_a_cluster_that_does_not_answer_for_a_while_is_waited_for(caplog):
    assert follow(fails(ConnectionError("refused"), 5), ended(0), []) == Ending(0, "done")
    assert caplog.text.count("http://head:8265 does not answer: refused; trying for 300 s") == 1


def test_a_cluster_that_is_gone_ends_the_wait(monkeypatch):
    monkeypatch.setattr(following, "_PATIENCE_SECONDS", -1.0)
    with pytest.raises(ClusterError, match="does not answer"):
        follow(fails(ConnectionError("refused"), 9), Job(["working\n"]), [])


def test_a_job_that_said_how_it_ended_needs_no_cluster_for_it(monkeypatch):
    monkeypatch.setattr(following, "_PATIENCE_SECONDS", -1.0)
    for lost in (ConnectionError("refused"), RuntimeError("Request failed with status code 404: does not exist")):
        cluster, shown = fails(lost, 9), []
        cluster.jobs["a"] = ended(2, "bad input")
        assert Follower(cluster, "http://head:8265", "a", shown.append).follow() == Ending(2, "bad input")


def test_a_token_that_is_no_longer_taken_is_told():
    with pytest.raises(InputError, match="refuses the token"):
        follow(fails(AuthenticationError("Authentication failed: Forbidden"), 9), ended(0), [])


def ending(status, message=None, log=""):
    cluster = FakeCluster()
    cluster.jobs["a"] = Job([], status, message, is_over=True)
    return ending_of(cluster.get_job_info("a"), log)


def test_how_a_job_ended():
    line = "ecellm: exit=2 reason=a: b=c\n"
    assert ending(JobStatus.FAILED, log=f"ecellm: exit=0 reason=inner\n{line}(raylet) bye\n") == Ending(2, "a: b=c")
    assert ending(JobStatus.FAILED, message=f"failed with exit code 2, last available logs:\n{line}") == Ending(
        2, "a: b=c"
    )
    assert ending(JobStatus.SUCCEEDED) == Ending(0, "done")
    assert ending(JobStatus.FAILED, log="x ecellm: exit=0 reason=not at the beginning\n").code is None
    assert ending(JobStatus.FAILED).reason == "its driver is gone"
    assert ending(JobStatus.STOPPED, log="ecellm: exit=0 reason=done\n").code == 1
