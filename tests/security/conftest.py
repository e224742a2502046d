"""Runs on a local Ray, as a newcomer starts it, that the tests of this folder look at from all sides.

A pipeline over S3, from raw data to a report, with two training workers and an endpoint's answers, then runs that fail.
While they are at work, what they listen on and their command lines are noted, and a stranger knocks at each port.
"""

import json
import re
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from ecellm.sources.synthetic import write_amazon_google
from ecellm.training.tiny_model import make_tiny_model
from tests.conftest import ROOT
from tests.driver_process import environment_without_ray, kill_with_its_ray
from tests.listening_sockets import Listening, listening_sockets
from tests.openai_server import MODEL, running_openai_server
from tests.security.made_up_secrets import LOGIN, PASSWORD, SECRETS, WRONG_KEY
from tests.security.stranger import answers

BUCKET = "secrets"
RECIPE = f"""
output_dir: s3://{BUCKET}/run
defaults: {{raw_dir: s3://{BUCKET}/raw, base_model: s3://{BUCKET}/model, max_length: 512, max_answer_tokens: 8}}
stages:
  samples: {{job: build, config: {{tasks: [Product_Matching]}}}}
  rows: {{job: preprocess, needs: [samples], config: {{num_samples: 16, num_val_samples: 4}}}}
  tuned: {{job: finetune, needs: [rows], config: {{num_workers: 2, max_steps: 2, tensorboard: true}}}}
  answers:
    job: predict
    needs: [samples]
    config: {{settings: [IND_Diverse_Instruction], limit: 8, engine: openai, model: {MODEL}, openai: {{api: completions}}}}
  scores: {{job: evaluate, needs: [samples, answers, tuned]}}
"""


@dataclass
class Runs:
    """What the runs left behind.

    Attributes:
        bucket: a filesystem with all outputs.
        directory: of all local files: the Ray's, the models' cache, temporary ones.
        secrets: all secrets by name.
        sockets: what they listened on.
        command_lines: of all their processes.
        answers: what was called by a stranger, and what the port said.
        output: all that they said.
    """

    bucket: Any
    directory: Path
    secrets: dict[str, str]
    sockets: set[Listening] = field(default_factory=set)
    command_lines: set[str] = field(default_factory=set)
    answers: list[tuple[str, list[Any]]] = field(default_factory=list)
    output: str = ""
    _asked: set[Listening] = field(default_factory=set)

    @property
    def endings(self) -> list[str]:
        """The last line of each."""
        return re.findall(r"^ecellm: (exit=.*)$", self.output, re.MULTILINE)

    def watch(self, root: psutil.Process) -> None:
        """Note what is to be seen of a process and its descendants now."""
        for process in [root, *root.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):
                self.command_lines.add(" ".join(process.cmdline()))
                if process.name() == "raylet":
                    self.secrets["RAY_AUTH_TOKEN"] = process.environ()["RAY_AUTH_TOKEN"]
        new = listening_sockets(root)
        if token := self.secrets.get("RAY_AUTH_TOKEN"):
            for own in new - self._asked:
                self.answers += answers(own, token)
            self._asked |= new
        self.sockets |= new


@pytest.fixture(scope="session")
def runs(store, tmp_path_factory):
    """The runs, over."""
    local = tmp_path_factory.mktemp("secrets")
    bucket = _fill_bucket(store, local)
    (local / "recipe.yaml").write_text(RECIPE)
    with (
        running_openai_server(str(local / "model")) as server,
        # The path of a socket has 107 characters at most: pytest's own directories are too deep.
        tempfile.TemporaryDirectory(prefix="ecellm-", dir="/tmp", ignore_cleanup_errors=True) as directory,
    ):
        server.behave(key=SECRETS["OPENAI_API_KEY"])
        key = store.environment["AWS_SECRET_ACCESS_KEY"]
        keys = {"AWS_SECRET_ACCESS_KEY": key, "wrong key": WRONG_KEY, "password in a URL": PASSWORD}
        seen = Runs(bucket, Path(directory), SECRETS | keys)
        for _attempt in range(3):  # on a busy machine Ray may give up before its processes are up
            _follow(_runs(store, server, local / "recipe.yaml"), _environment(store, directory), seen)
            if seen.endings:
                break
        yield seen


def _fill_bucket(store, local):
    write_amazon_google(local / "raw" / "amazon_google", seed=1, num_products=60)
    texts = [path.read_text("latin-1")[:20_000] for path in (local / "raw" / "amazon_google").iterdir()]
    make_tiny_model(local / "model", texts, vocab_size=600, hidden_size=32, num_layers=2, max_length=1024)
    bucket = store.filesystem()
    bucket.mkdir(BUCKET)
    for name in ("raw", "model"):
        bucket.put(str(local / name), f"{BUCKET}/{name}", recursive=True)
    return bucket


def _runs(store, server, recipe):
    endpoint = f"storage.endpoint_url={store.endpoint_url}"
    answering = f"stages.answers.config.openai.base_url={server.base_url}"
    nowhere = f"http://{LOGIN}@127.0.0.1:1"
    wrong_key = {"AWS_SECRET_ACCESS_KEY": WRONG_KEY}
    # A key that the endpoint does not take, and repeats.
    refused = [f"openai.base_url={server.base_url}", "openai.api_key_env=HF_TOKEN", "engine=openai", f"model={MODEL}"]
    return [
        ["pipeline", [str(recipe), endpoint, answering], {}],
        ["crash", [], {}],
        ["ingest", [f"release={nowhere}/own.jsonl", f"output_dir=s3://{BUCKET}/a", endpoint], {}],
        ["ingest", ["release=own.jsonl", f"output_dir=s3://{BUCKET}/b", f"storage.endpoint_url={nowhere}"], {}],
        ["predict", [f"samples_dir=s3://{BUCKET}/run/samples", f"output_dir=s3://{BUCKET}/c", endpoint, *refused], {}],
        ["ingest", ["release=own.jsonl", f"output_dir=s3://{BUCKET}/d", endpoint, "storage.region=eu-1"], wrong_key],
    ]


def _environment(store, directory):
    own = {"TMPDIR": directory, "ECELLM_CACHE": f"{directory}/cache", "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    return environment_without_ray() | store.environment | SECRETS | {"MADE_UP_LOGIN": LOGIN} | own


def _start(runs, environment):
    # Words with secrets are not for a command line, which all of the machine see.
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.security.secret_runs"],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    process.stdin.write(json.dumps(runs))
    process.stdin.close()
    return process


def _follow(runs, environment, seen, seconds_between=1.0):
    process = _start(runs, environment)
    said: list[str] = []
    reader = threading.Thread(target=lambda: said.extend(process.stdout))
    reader.start()
    try:
        while process.poll() is None:
            with suppress(psutil.NoSuchProcess):
                seen.watch(psutil.Process(process.pid))
            time.sleep(seconds_between)
    finally:
        if process.poll() is None:
            kill_with_its_ray(process)
        reader.join()
    seen.output = "".join(said)
