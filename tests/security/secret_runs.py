"""Runs jobs one after the other on one local Ray, in a process of its own: see conftest.py.

Standard input is JSON, a list of [job, words, variables]; what the jobs say goes to the standard output. `crash` is a job of its
own: the exception of a library in a worker, with secrets in its message and in its variables.
"""

import json
import os
import sys

import ray

from ecellm.command_line import main, run_job
from ecellm.config import ClusterConfig, RayConfig
from ecellm.ray_session import connected
from ecellm.stages import load_stage
from jobs import pipeline


def crash(login: str) -> None:
    password = os.environ["AWS_SECRET_ACCESS_KEY"]
    raise RuntimeError(f"no answer from http://{login}@store, signed with {password}")


def crash_in_a_worker(config: ClusterConfig, dry_run: bool) -> None:
    ray.get(ray.remote(max_retries=0)(crash).remote(os.environ["MADE_UP_LOGIN"]))


def run(job: str, words: list[str], variables: dict[str, str]) -> int:
    os.environ.update(variables)
    if job == "crash":
        return run_job("crash", ClusterConfig, crash_in_a_worker, words)
    if job == "pipeline":
        return run_job("pipeline", pipeline.PipelineConfig, pipeline.work, words)
    return main(load_stage(job), words)


if __name__ == "__main__":
    with connected(RayConfig()):
        for own in json.load(sys.stdin):
            run(*own)
