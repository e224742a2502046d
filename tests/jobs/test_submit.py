"""`python -m jobs.submit` as users run it: from a checkout, to a real Ray head that wants a token."""

import json
import os
import shutil
import subprocess
import sys
import time

import psutil
import pytest
from ray.job_submission import JobSubmissionClient

from ecellm.submitting.upload import list_files
from tests.conftest import ROOT
from tests.driver_process import environment_without_ray
from tests.ray_cluster import TOKEN, running_ray_cluster
from tests.security.made_up_secrets import SECRETS, files_with_secrets, found_in
from tests.submitting.small_checkout import EXCLUDES, git

RECIPE = """# Own data, ingested.
output_dir: {directory}/run
defaults:
  release: {directory}/own.jsonl
stages:
  samples:
    job: ingest
    config:
      defaults: {{task: Returns_Triage, split: train, setting: IND_Diverse_Instruction}}
"""


@pytest.fixture(scope="module")
def cluster():
    with running_ray_cluster(SECRETS, head_cpus=4, nodes=0) as head:
        yield head


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A git checkout that holds what is uploaded, and a recipe of its own."""
    directory = tmp_path_factory.mktemp("submit")
    root = directory / "checkout"
    for name in [*list_files(ROOT, EXCLUDES), ".gitignore"]:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, root / name)
    (root / "jobs" / "recipes" / "own.yaml").write_text(RECIPE.format(directory=directory))
    write_rows(directory / "own.jsonl", 50)
    git(root, "init", "--quiet")
    git(root, "add", ".")
    git(root, "commit", "--quiet", "--message", "all")
    return root


def write_rows(path, number):
    rows = (
        {"instruction": "What to do with this return?", "input": f"return {n}", "output": "restock"}
        for n in range(number)
    )
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))


def submitting(cluster, checkout, *words, token=TOKEN):
    """Start a submission of the recipe in a process of its own."""
    environment = (
        environment_without_ray()
        | SECRETS
        | {
            "HOME": str(checkout.parent),
            "RAY_AUTH_TOKEN": token,
            "RAY_ADDRESS": "http://127.0.0.1:1",
        }
    )
    command = [sys.executable, "-m", "jobs.submit", "jobs/recipes/own.yaml", "--address", cluster.address, *words]
    return subprocess.Popen(
        command,
        cwd=checkout,
        env=environment | {"PYTHONPATH": str(checkout)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def submit(*arguments, **options):
    """Submit and wait; return exit code, the whole output and its last line."""
    return end_of(submitting(*arguments, **options))


def end_of(process):
    output, _ = process.communicate(timeout=120)
    return process.returncode, output, output.splitlines()[-1]


def manifest(directory):
    return json.loads((directory / "samples" / "_manifest.json").read_text())


def test_a_recipe_is_run_followed_and_not_run_twice(cluster, checkout):
    code, output, last = submit(cluster, checkout)
    assert code == 0, output
    name = last.removeprefix("ecellm: exit=0 reason=").removesuffix(": done")
    assert name.startswith("own-")
    assert "pipeline: stage 1 of 1, samples (ingest)" in output  # the job's own log
    assert manifest(checkout.parent / "run")["git_commit"] == git(checkout, "rev-parse", "HEAD")

    code, output, last = submit(cluster, checkout)
    assert (code, last) == (0, f"ecellm: exit=0 reason={name}-2: done"), output
    assert "ingest: already done in" in output

    told = json.dumps([job.dict() for job in client_of(cluster).list_jobs()], default=str)
    assert name in told
    secrets = SECRETS | {"RAY_AUTH_TOKEN": TOKEN}
    assert not found_in(secrets, (told + output).encode())
    assert list(cluster.scratch.glob("head/ray/session_*/logs/job-driver-*"))
    assert not files_with_secrets(secrets, cluster.scratch)


def test_the_job_s_own_exit_code_comes_back(cluster, checkout):
    code, output, last = submit(cluster, checkout, "stages.samples.config.on_bad_rwo=skip")
    assert code == 2, output
    assert last.startswith("ecellm: exit=2 reason=own-")
    assert "unknown key 'on_bad_rwo': did you mean 'on_bad_row'?" in last
    assert "Traceback" not in output


def test_what_could_never_be_scheduled_is_told_before_anything_is_done(cluster, checkout):
    out = checkout.parent / "no-room"
    answers = "{job: predict, needs: [samples], config: {engine: fake, model: none/none, cpus_per_actor: 99}}"
    code, output, last = submit(cluster, checkout, f"output_dir={out}", f"stages.answers={answers}")
    assert code == 2, output
    assert "stage answers: one actor with cpus_per_actor=99 needs 99 CPUs, but the cluster has 4" in last
    assert not out.exists()


def test_a_killed_driver_is_submitted_again_by_whoever_follows(cluster, checkout):
    out = checkout.parent / "killed"
    write_rows(checkout.parent / "long.jsonl", 5_000)
    (checkout / "ecellm" / "demo.py").write_text("# changed since the commit\n")
    words = (f"output_dir={out}", f"defaults.release={checkout.parent / 'long.jsonl'}")
    code, output, last = submit(cluster, checkout, *words, "--detach")
    assert code == 0, output
    assert "attaches to it again" in last

    driver = halted_driver(cluster, out / "samples" / "_run.json")
    follower = submitting(cluster, checkout, *words)
    attached = next((line for line in follower.stdout if "attaching to it" in line), None)
    driver.kill()
    code, output, last = end_of(follower)
    assert code == 0, output
    assert attached
    assert last.endswith("-2: done")
    assert "ended without an exit code" in output
    made = manifest(out)
    assert made["rows"] == 5_000
    assert made["git_commit"] == git(checkout, "rev-parse", "HEAD") + "-dirty"


def halted_driver(cluster, claimed):
    """Return the driver, halted once it has claimed its output, so that it cannot end by itself any more."""
    deadline = time.monotonic() + 90
    while not claimed.exists():
        assert time.monotonic() < deadline, cluster.head.log.read_text()
        time.sleep(0.01)
    for process in psutil.Process(cluster.head.process.pid).children(recursive=True):
        if "jobs.pipeline" in process.cmdline() and "python" in process.name():
            process.suspend()
            return process
    raise AssertionError("no driver is at work")


@pytest.mark.parametrize(("token", "told"), [("another", "refuses the token"), ("", "wants a token")])
def test_who_may_not_enter_is_told(cluster, checkout, token, told):
    code, output, last = submit(cluster, checkout, token=token)
    assert code == 2, output
    assert told in last
    assert "Traceback" not in output


def client_of(cluster):
    """Return Ray's own client, logged in whatever this process's environment says."""
    os.environ.pop("RAY_API_SERVER_ADDRESS", None)
    return JobSubmissionClient(cluster.address, headers={"Authorization": f"Bearer {TOKEN}"})
