"""What goes along with a submission: all code, little else, and the commit that it is."""

import os
import zipfile
from pathlib import Path

import pytest
from ray._private.runtime_env import packaging

from ecellm.errors import InputError
from ecellm.submitting import upload
from ecellm.submitting.upload import list_files, most_bytes, read_upload
from tests.conftest import ROOT
from tests.submitting.small_checkout import EXCLUDES, git


def test_the_repository_s_upload_is_its_code_and_small():
    files = list_files(ROOT, EXCLUDES)
    assert sum(files.values()) < 2_500_000
    assert {
        "ecellm/evaluation/published_results.parquet",
        "ecellm/presets.yaml",
        "jobs/submit.py",
        "jobs/recipes/demo.yaml",
        "runtime_env.yaml",
    } <= files.keys()
    code = {
        path.relative_to(ROOT).as_posix() for folder in ("ecellm", "jobs") for path in (ROOT / folder).rglob("*.py")
    }
    assert code <= files.keys()
    others = {name.split("/")[0] for name in files} & {"tests", ".git", ".venv", ".ci", "demo-output", "runs", "models"}
    assert not others
    assert not [name for name in files if "__pycache__" in name or name.endswith((".pyc", ".safetensors"))]


@pytest.mark.parametrize(
    "name", [".env", "prod.env", ".env.local", "store.pem", "id.key", "credentials.json", "jobs/aws_credentials"]
)
def test_keys_that_lie_beside_the_code_stay_behind(tmp_path, name):
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "run.py").write_text("x = 1\n")
    (tmp_path / name).write_text("made-up")
    assert set(list_files(tmp_path, EXCLUDES)) == {"jobs/run.py"}


def test_the_list_is_what_ray_packs(tmp_path):
    """Ray's client makes its package by this call."""
    package = tmp_path / "package.zip"
    patterns = [".git", ".venv", "venv", "__pycache__", *EXCLUDES]
    packaging.create_package(str(ROOT), package, True, False, patterns)
    with zipfile.ZipFile(package) as packed:
        sizes = {item.filename: item.file_size for item in packed.infolist() if not item.is_dir()}
    assert sizes == list_files(ROOT, EXCLUDES)


@pytest.fixture
def checkout(tmp_path_factory, monkeypatch):
    root = tmp_path_factory.mktemp("checkout")
    (root / "runtime_env.yaml").write_text("excludes: [/big/]\nenv_vars: {A: b}\n")
    (root / ".gitignore").write_text("*.bin\n")
    (root / "code.py").write_text("x = 1\n")
    monkeypatch.setattr(upload, "git_commit", lambda: "c0ffee")
    return root


def test_the_commit_goes_along_for_the_manifests(checkout, tmp_path, monkeypatch):
    made = read_upload(checkout, tmp_path)
    assert made.runtime_env["env_vars"] == {"A": "b", "ECELLM_GIT_COMMIT": "c0ffee"}
    assert made.commit == "c0ffee"
    monkeypatch.setattr(upload, "git_commit", lambda: None)
    assert read_upload(checkout, tmp_path).runtime_env["env_vars"] == {"A": "b"}


def test_the_same_files_make_the_same_package(checkout, tmp_path):
    first = Path(read_upload(checkout, tmp_path).runtime_env["working_dir"])
    packed = first.read_bytes()
    with zipfile.ZipFile(first) as package:
        assert set(package.namelist()) == {"runtime_env.yaml", ".gitignore", "code.py"}
        assert package.read("code.py") == b"x = 1\n"
    os.utime(checkout / "code.py", (1, 1))
    read_upload(checkout, tmp_path)
    assert first.read_bytes() == packed


def test_what_ray_would_not_take_is_told_before_it_is_sent(checkout, tmp_path, monkeypatch):
    monkeypatch.setattr(upload, "most_bytes", lambda: 3 * 2**20)
    for name in ("excluded.bin", "big/model", "fine"):
        (checkout / name).parent.mkdir(exist_ok=True)
        (checkout / name).write_bytes(bytes(2 * 2**20))
    assert read_upload(checkout, tmp_path).num_bytes < 3 * 2**20
    (checkout / "weights").write_bytes(bytes(4 * 2**20))
    with pytest.raises(
        InputError, match=r"Ray takes 3 at most; the largest are weights \(4\.0 MiB\), fine \(2\.0 MiB\)"
    ):
        read_upload(checkout, tmp_path)


def test_ray_s_limits_are_known():
    assert 10 * 2**20 < most_bytes() <= 512 * 2**20


def test_it_takes_a_checkout(tmp_path):
    with pytest.raises(InputError, match=r"has no runtime_env\.yaml: submit from a checkout"):
        read_upload(tmp_path, tmp_path)


def test_a_commit_is_dirty_if_the_code_is_not_the_commit_s(tmp_path, monkeypatch):
    from ecellm import provenance

    monkeypatch.delenv("ECELLM_GIT_COMMIT", raising=False)
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "provenance.py"))
    assert provenance.git_commit() is None
    git(tmp_path, "init", "--quiet")
    (tmp_path / "a").write_text("1")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "--message", "a")
    git(tmp_path, "tag", "-a", "v1", "-m", "a release")
    commit = git(tmp_path, "rev-parse", "HEAD")
    (tmp_path / "notes").write_text("of no commit, and no code")
    assert provenance.git_commit() == commit
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "new.yaml").write_text("a: 1")
    assert provenance.git_commit() == f"{commit}-dirty"
    (tmp_path / "jobs" / "new.yaml").unlink()
    assert provenance.git_commit() == commit
    (tmp_path / "a").write_text("2")
    assert provenance.git_commit() == f"{commit}-dirty"
    monkeypatch.setenv("ECELLM_GIT_COMMIT", "stamped")
    assert provenance.git_commit() == "stamped"
