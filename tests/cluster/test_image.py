"""The Dockerfile, as far as it can be checked without Docker: what it copies, what it asks pip for, who runs it."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib import metadata

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.conftest import CLUSTER, ROOT

DOCKERFILE = (CLUSTER / "Dockerfile").read_text(encoding="utf-8")
LINES = re.sub(r"\\\n\s*", " ", DOCKERFILE).splitlines()


def instructions(name):
    return [line.removeprefix(name).strip() for line in LINES if line.startswith(f"{name} ")]


def arguments():
    return dict(argument.split("=", 1) for argument in instructions("ARG"))


def pinned(name):
    pins = {}
    for line in (CLUSTER / name).read_text().splitlines():
        if line and not line.startswith("#"):
            package, version = line.split("==")  # each line is a pin
            pins[canonicalize_name(package)] = version
    return pins


def test_the_base_is_pinned_and_of_the_python_that_is_tested():
    assert instructions("FROM") == ["python:${PYTHON}-slim-bookworm"]
    python = arguments()["PYTHON"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", python)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert python.rpartition(".")[0] == project["tool"]["mypy"]["python_version"]


def test_it_copies_no_more_than_it_is_sent():
    (copied,) = instructions("COPY")
    sources = copied.split()[:-1]
    assert [name for name in sources if not (ROOT / name).is_file()] == []
    ignore = (CLUSTER / "Dockerfile.dockerignore").read_text().splitlines()
    rules = [line for line in ignore if line and not line.startswith("#")]
    assert rules == ["*", *(f"!{name}" for name in sources)]
    assert "ADD" not in {line.split(" ", 1)[0] for line in LINES}


def test_nobody_is_root_and_tokens_are_asked_for():
    assert instructions("USER") == ["1000:1000"]
    settings = " ".join(instructions("ENV")).split()
    assert "RAY_AUTH_MODE=token" in settings
    assert "HOME=/home/ray" in settings


def requirements(extras):
    """What the image's own line of Python makes of pyproject.toml."""
    (command,) = (line for line in instructions("RUN") if "tomllib" in line)
    code = command.split('python -c "', 1)[1].split('" > requirements.txt', 1)[0].replace("${EXTRAS}", extras)
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return [Requirement(line) for line in result.stdout.splitlines()]


def test_every_dependency_is_pinned():
    constraints, cloud = pinned("constraints.txt"), pinned("requirements-cloud.txt")
    wanted = {canonicalize_name(requirement.name) for requirement in requirements(arguments()["EXTRAS"])}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    own = {canonicalize_name(Requirement(line).name) for line in project["dependencies"]}
    assert own < wanted  # and the extras'
    assert {"duckdb", "openai", "rouge-score"} < wanted
    assert wanted - set(constraints) == set()
    assert set(constraints) & set(cloud) == set()
    assert constraints["ray"] == metadata.version("ray")
    assert len(requirements("")) == len(project["dependencies"])


def test_boto3_fits_the_botocore_that_s3fs_needs():
    """Each boto3 asks for the botocore of its own number; another one could not be installed beside aiobotocore."""
    assert pinned("requirements-cloud.txt")["boto3"] == pinned("constraints.txt")["botocore"]


def test_pip_is_given_the_constraints_each_time():
    commands = [part for line in instructions("RUN") for part in re.findall(r"pip install [^;&]*", line)]
    assert len(commands) == 2  # all of it, and flash attention
    assert all("-c constraints.txt" in command for command in commands)
    assert "$index -r requirements.txt -r requirements-cloud.txt" in commands[0]


@pytest.mark.parametrize(("accelerator", "index"), [("cpu", "https://download.pytorch.org/whl/cpu"), ("cuda", None)])
def test_torch_for_cpus_comes_from_pytorchs_own_index(accelerator, index, tmp_path):
    """The image's own shell commands, with a pip that says what it was asked for."""
    (command,) = (line for line in instructions("RUN") if "tomllib" in line)
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "pip").write_text('#!/bin/sh\necho "$@" >> "$PIP_LOG"\n')
    (tools / "pip").chmod(0o755)
    (tools / "python").symlink_to(sys.executable)
    work = tmp_path / "build"
    work.mkdir()
    for name in ("pyproject.toml", "cluster/constraints.txt", "cluster/requirements-cloud.txt"):
        shutil.copy(ROOT / name, work)
    environment = {
        **arguments(),
        "ACCELERATOR": accelerator,
        "PATH": f"{tools}:{os.environ['PATH']}",
        "PIP_LOG": str(tmp_path / "log"),
    }
    command = command.replace("rm -r /tmp/build/*", "true")
    subprocess.run(["/bin/sh", "-ec", command], cwd=work, env=environment, check=True)
    install, check = (tmp_path / "log").read_text().splitlines()
    assert check == "check"
    assert (f"--extra-index-url {index}" in install) if index else ("index" not in install)
    assert (work / "requirements.txt").read_text().startswith("ray[")


def test_another_accelerator_is_refused(tmp_path):
    (command,) = (line for line in instructions("RUN") if "tomllib" in line)
    (choice,) = re.findall(r"case .*? esac", command)
    environment = {"ACCELERATOR": "rocm", "PATH": os.environ["PATH"]}
    result = subprocess.run(["/bin/sh", "-ec", choice], env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "must be cpu or cuda, not 'rocm'" in result.stderr
