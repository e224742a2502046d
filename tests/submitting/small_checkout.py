"""What tests of submitting need of the repository: its own patterns, and git in a directory of its own."""

import subprocess

import yaml

from tests.conftest import ROOT

EXCLUDES = yaml.safe_load((ROOT / "runtime_env.yaml").read_text())["excludes"]


def git(root, *words):
    """Run git in `root` as a made-up author; return what it prints."""
    author = ["-c", "user.name=T. Tester", "-c", "user.email=tester@example.org", "-c", "commit.gpgsign=false"]
    return subprocess.run(["git", *author, *words], cwd=root, capture_output=True, text=True, check=True).stdout.strip()
