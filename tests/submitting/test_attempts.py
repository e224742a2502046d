"""One run over as many submissions as it takes: ids, attaching, what is submitted again and what is not."""

import pytest
from ray.job_submission import JobStatus

from ecellm.errors import InputError
from ecellm.manifest import TAKEOVER_SECONDS
from ecellm.submitting import attempts, following
from ecellm.submitting.attempts import Attempts
from ecellm.submitting.job_server import ClusterError
from ecellm.submitting.request import Request
from ecellm.submitting.upload import Upload
from tests.submitting.fake_cluster import FakeCluster, Job, ended, killed

NAME = "own-0123456789ab"
ADDRESS = "http://user:pw@head:8265"  # pragma: allowlist secret


@pytest.fixture(autouse=True)
def slept(monkeypatch):
    """Nobody waits; gives the seconds that would have been waited."""
    seconds = []
    for module in (attempts, following):
        monkeypatch.setattr(module.time, "sleep", seconds.append)
    return seconds


class Submitter:
    """Submits the same run to a fake cluster and keeps what was shown."""

    def __init__(self, tmp_path, *coming):
        self.cluster = FakeCluster(*coming)
        self.shown = []
        command = ("python", "-m", "jobs.pipeline", "jobs/recipes/own.yaml", "output_dir=/a b")
        upload = Upload(tmp_path, {"a.py": 10}, {"working_dir": str(tmp_path)}, "c0ffee-dirty")
        self.attempts = Attempts(self.cluster, ADDRESS, Request(NAME, command), upload, self.shown.append)

    def follow(self, num_retries=2):
        return self.attempts.followed(num_retries)


@pytest.fixture
def submitter(tmp_path):
    return lambda *coming: Submitter(tmp_path, *coming)


def test_the_job_s_own_exit_code_and_reason_are_handed_back(submitter):
    for code, reason in ((0, "done"), (1, "KeyError: 'x'"), (2, "seed: must be >= 0"), (3, "s3://b/run is held")):
        one = submitter(ended(code, reason))
        assert one.follow() == (code, f"{NAME}: {reason}")
        assert list(one.cluster.jobs) == [NAME], "none of these is submitted again"


def test_what_is_submitted(submitter):
    one = submitter(ended(0))
    one.follow()
    submitted = one.cluster.jobs[NAME].submitted
    assert submitted["entrypoint"] == "python -m jobs.pipeline jobs/recipes/own.yaml 'output_dir=/a b'"
    assert submitted["metadata"] == {"git_commit": "c0ffee-dirty"}
    assert "".join(one.shown) == "Running entrypoint\necellm: exit=0 reason=done\n"


def test_a_run_that_is_at_work_is_followed_and_not_started_again(submitter, caplog):
    one = submitter()
    one.cluster.jobs = {NAME: ended(1), f"{NAME}-2": ended(0), "other-0123456789ab": ended(0)}
    one.cluster.jobs[NAME].is_over = True
    with caplog.at_level("INFO"):
        assert one.follow() == (0, f"{NAME}-2: done")
    assert f"{NAME}-2 is at work since 2023-11-1" in caplog.text
    assert len(one.cluster.jobs) == 3


def test_a_run_that_has_ended_gets_the_next_number(submitter):
    one = submitter(ended(0), ended(0))
    one.cluster.jobs = {name: Job(is_over=True) for name in (NAME, f"{NAME}-9", f"{NAME}-10", f"{NAME}-x")}
    assert one.follow() == (0, f"{NAME}-11: done")
    assert one.follow() == (0, f"{NAME}-12: done")


def test_of_two_that_submit_at_once_one_attaches(submitter):
    one = submitter(ended(0))
    others, original = ended(0, "theirs"), one.cluster.list_jobs

    def look_before_they_submit():
        seen = original()
        one.cluster.jobs.setdefault(NAME, others)
        return seen

    one.cluster.list_jobs = look_before_they_submit
    assert one.follow() == (0, f"{NAME}: theirs")
    assert len(one.cluster.coming) == 1


def test_a_killed_driver_is_submitted_again(submitter, caplog):
    one = submitter(killed(), killed(), ended(0))
    assert one.follow() == (0, f"{NAME}-3: done")
    assert "(Job entrypoint command failed with exit code 137): submitting it again in 3 s, 2 more tries" in caplog.text
    assert "1 more try" in caplog.text
    assert "half a line\n" in "".join(one.shown)


@pytest.mark.parametrize(("num_retries", "told"), [(2, "(tried 3 times)"), (0, "exit code 137;")])
def test_it_is_not_tried_for_ever(submitter, num_retries, told):
    one = submitter(*[killed() for _ in range(9)])
    code, reason = one.follow(num_retries)
    assert code == 1
    assert told in reason
    assert "the same command goes on where it stopped" in reason
    assert len(one.cluster.jobs) == num_retries + 1


def test_what_a_killed_driver_still_holds_is_waited_for(submitter, slept, caplog):
    """A new node cannot tell that the old one's process is gone until its heartbeat is old."""
    one = submitter(killed(), ended(3, "held"), ended(0))
    assert one.follow() == (0, f"{NAME}-3: done")
    assert TAKEOVER_SECONDS in slept
    assert "since its killed predecessor still holds the output (held)" in caplog.text
    one = submitter(killed(), ended(3, "held"))
    assert one.follow(1)[0] == 3


def test_a_stopped_job_is_not_submitted_again(submitter):
    one = submitter(Job(["ecellm: exit=1 reason=stopped by a signal\n"], JobStatus.STOPPED))
    assert one.follow() == (1, f"{NAME}: it was stopped; the same command goes on where it stopped")


def test_a_job_that_the_cluster_has_forgotten_is_submitted_again(submitter):
    """A head node that was replaced knows no jobs."""
    one = submitter(Job(["begun\n"]), ended(0))
    original = one.cluster.get_job_info

    def forget_once(submission_id):
        one.cluster.jobs.clear()
        one.cluster.get_job_info = original
        return original(submission_id)

    one.cluster.get_job_info = forget_once
    one.cluster.list_jobs = list
    assert one.follow() == (0, f"{NAME}: done")


def test_ctrl_c_detaches(submitter):
    one = submitter(Job([KeyboardInterrupt(), "x"]))
    code, reason = one.follow()
    assert code == 1
    assert reason == (
        f"detached: {NAME} is at work on its own; the same command attaches to it again, and this stops it: "
        f"ray job stop --address http://[redacted]@head:8265 {NAME}"
    )
    one = submitter(killed())
    one.attempts._wait = lambda *_: (_ for _ in ()).throw(KeyboardInterrupt)
    assert one.follow() == (1, "interrupted with nothing at work; the same command goes on where it stopped")


def test_detached_from_the_start(submitter):
    one = submitter(ended(1))
    code, reason = one.attempts.detached()
    assert code == 0
    assert "this stops it: ray job stop" in reason
    assert one.shown == []


@pytest.mark.parametrize(
    ("error", "kind", "told"),
    [
        (RuntimeError("Request failed with status code 413: Maximum request body size"), InputError, "larger than"),
        (RuntimeError("... Package size (600MiB) exceeds the maximum size of 512MiB"), InputError, "larger than"),
        (RuntimeError("Request failed with status code 500: no agent"), ClusterError, "500: no agent"),
        (
            OSError("HTTPPool(host='head'): Max retries (NewError(\"x: [Errno 111] Connection refused\"))"),
            ClusterError,
            r"does not answer: \[Errno 111\] Connection refused$",
        ),
        (ConnectionResetError("reset by peer"), ClusterError, r"http://\[redacted\]@head:8265 does not answer: reset"),
    ],
)
def test_what_the_cluster_does_not_take(submitter, error, kind, told):
    one = submitter()

    def refuse(**_):
        raise error

    one.cluster.submit_job = refuse
    with pytest.raises(kind, match=told):
        one.follow()
