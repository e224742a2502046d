"""What is sent to a cluster holds no credentials: not the request, not the runtime environment, not the package."""

import json
import zipfile

import pytest

from ecellm.errors import InputError
from ecellm.submitting.request import make_request
from ecellm.submitting.upload import read_upload
from tests.conftest import ROOT
from tests.security.made_up_secrets import LOGIN, PASSWORD, SECRETS

RECIPE = str(ROOT / "jobs" / "recipes" / "pm_gemma270m.yaml")
WORDS = ["output_dir=s3://bucket/run", "defaults.raw_dir=s3://bucket/raw"]
ALL = SECRETS | {
    "AWS_SECRET_ACCESS_KEY": "made-up-store-key",  # pragma: allowlist secret
    "AWS_SESSION_TOKEN": "made-up-session-token",
    "RAY_AUTH_TOKEN": "made-up-ray-token",
    "login": PASSWORD,
}


@pytest.fixture
def upload(tmp_path, monkeypatch):
    for name, value in ALL.items():
        monkeypatch.setenv(name, value)
    return read_upload(ROOT, tmp_path)


def test_no_credential_of_the_submitter_goes_along(upload):
    request = make_request(upload, RECIPE, WORDS)
    sent = json.dumps([request.name, request.command, dict(upload.runtime_env), upload.commit])
    # The checkout's own files are sent as they are; that no secret lies in them is the linter's concern.
    with zipfile.ZipFile(upload.runtime_env["working_dir"]) as package:
        sent += "".join(package.namelist())
        assert not [name for name in package.namelist() if name.startswith(("tests/", ".git/", ".env"))]
    assert not [name for name, value in ALL.items() if value in sent]
    assert set(upload.runtime_env) == {"env_vars", "working_dir"}


@pytest.mark.parametrize(
    "word",
    [
        f"defaults.raw_dir=http://{LOGIN}@host/raw",
        f"defaults.raw_dir=https://host/raw?X-Amz-Signature={PASSWORD}",
        f"storage.profile={SECRETS['OPENAI_API_KEY']}",
    ],
)
def test_a_credential_in_a_word_is_refused_and_not_repeated(upload, word):
    with pytest.raises(InputError, match="Ray shows a job's command") as caught:
        make_request(upload, RECIPE, [*WORDS, word])
    assert not [name for name, value in ALL.items() if value in str(caught.value)]


@pytest.mark.parametrize(
    "line",
    [f"raw_dir: http://{LOGIN}@host/raw", f"raw_dir: s3://bucket/raw  # https://host/raw?X-Amz-Signature={PASSWORD}"],
)
def test_a_credential_in_a_recipe_is_refused_and_not_repeated(upload, tmp_path, line):
    recipe = tmp_path / "own.yaml"
    recipe.write_text(f"# python -m jobs.build own.yaml\n{line}\noutput_dir: s3://bucket/run\n")
    with pytest.raises(InputError, match=r"own\.yaml, line 2: .*recipes are copied to the cluster") as caught:
        make_request(upload, str(recipe), [])
    assert not [name for name, value in ALL.items() if value in str(caught.value)]
