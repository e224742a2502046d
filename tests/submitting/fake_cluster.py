"""A job server without a cluster: it behaves as Ray's JobSubmissionClient does, and its jobs end as a test says."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from ray.job_submission import JobDetails, JobStatus, JobType


@dataclass
class Job:
    """How a job goes: what its log says piece by piece, and its status once the log was read to the end.

    An exception among the pieces is raised where it stands, once.
    """

    log: list = field(default_factory=list)
    status: JobStatus = JobStatus.SUCCEEDED
    message: str | None = None
    is_over: bool = False
    submitted: dict = field(default_factory=dict)


def ended(code, reason="done", *before):
    """A job that ends in its last line."""
    log = ["Running entrypoint\n", *before, f"ecellm: exit={code} reason={reason}\n"]
    return Job(log, JobStatus.FAILED if code else JobStatus.SUCCEEDED)


def killed():
    """A job whose driver was killed."""
    message = "Job entrypoint command failed with exit code 137, last available logs (truncated to 20,000 chars):\nx"
    return Job(["Running entrypoint\n", "half a line"], JobStatus.FAILED, message)


class FakeCluster:
    """Jobs by id; each submission takes the next of those that are to come."""

    def __init__(self, *coming: Job) -> None:
        self.coming = list(coming)
        self.jobs: dict[str, Job] = {}

    def submit_job(self, *, submission_id, **more):
        if submission_id in self.jobs:
            raise RuntimeError(f"Request failed with status code 400: ValueError: Job {submission_id} already exists.")
        self.jobs[submission_id] = self.coming.pop(0)
        self.jobs[submission_id].submitted = more
        return submission_id

    def list_jobs(self):
        driver = JobDetails(type=JobType.DRIVER, job_id="01000000", status=JobStatus.RUNNING, entrypoint="python x.py")
        return [driver, *map(self.get_job_info, reversed(self.jobs))]

    def get_job_info(self, submission_id):
        if submission_id not in self.jobs:
            raise RuntimeError(f"Request failed with status code 404: Job {submission_id} does not exist.")
        job = self.jobs[submission_id]
        return JobDetails(
            type=JobType.SUBMISSION,
            submission_id=submission_id,
            status=job.status if job.is_over else JobStatus.RUNNING,
            entrypoint="python -m jobs.pipeline",
            message=job.message,
            start_time=1_700_000_000_000,
        )

    async def tail_job_logs(self, submission_id) -> AsyncIterator[str]:
        job = self.jobs[submission_id]
        for piece in list(job.log):
            if isinstance(piece, BaseException):
                job.log.remove(piece)
                raise piece
            yield piece
        job.is_over = True
