"""What cluster/README.md and the other files there name exists, and nothing there is a secret."""

import re

import pytest

from tests.cluster.test_manifests import DOCUMENTS, POD_TEMPLATES, RAY_JOB, SPEC
from tests.conftest import CLUSTER, ROOT
from tests.job_commands import check, commands_in

README = (CLUSTER / "README.md").read_text(encoding="utf-8")
FILES = {
    str(path.relative_to(CLUSTER)): path.read_text(encoding="utf-8")
    for path in sorted(CLUSTER.rglob("*"))
    if path.is_file() and "__pycache__" not in path.parts
}
# A folded entrypoint is one command on many lines: as YAML reads it.
TEXTS = {**FILES, "kuberay/rayjob.yaml": RAY_JOB["spec"]["entrypoint"]}
COMMANDS = [
    (name, job, words)
    for name, text in TEXTS.items()
    for job, words in commands_in(text)
    if words and "..." not in words  # neither a job's name alone nor half a command
]
# KEY=value or `key: value` with something in it that looks drawn at random; and what known keys begin with.
SECRETS = re.compile(
    r"AKIA[0-9A-Z]{16}|hf_[A-Za-z0-9]{20,}|gh[pousr]_[A-Za-z0-9]{20,}|-----BEGIN|[0-9a-f]{32,}"
    r"|(?i:(?:token|secret|password|access_key)\w*[\"']?\s*[:=]\s*[\"']?(?=[^\s\"']*\d)[A-Za-z0-9+/]{16,})"
)


@pytest.mark.parametrize(("name", "job", "words"), COMMANDS, ids=[f"{name}-{job}" for name, job, _ in COMMANDS])
def test_a_job_command_is_valid(name, job, words):
    check(job, words)


def test_commands_were_found():
    assert {job for _, job, _ in COMMANDS} >= {"pipeline", "fetch", "ingest"}
    assert len(COMMANDS) >= 6


@pytest.mark.parametrize("name", FILES)
def test_paths_that_are_named_exist(name):
    named = set(re.findall(r"(?:jobs|tests|cluster|ecellm)/[\w/]+\.(?:py|yaml|txt|json|md)\b", FILES[name]))
    named |= set(re.findall(r"cluster/(?:Dockerfile|kuberay|ray_up|deepspeed)\b", FILES[name]))
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_the_readme_lists_every_file():
    (table,) = re.findall(r"\| file \| what it is \|\n\| --- \| --- \|\n((?:\|.*\n)+)", README)
    listed = set()
    for pattern in re.findall(r"`([^`]+)`", "\n".join(line.split("|")[1] for line in table.splitlines())):
        found = {str(path.relative_to(CLUSTER)) for path in CLUSTER.glob(pattern)}
        assert found, f"{pattern} is not there"
        listed |= found
    assert set(FILES) - listed == {"README.md", "Dockerfile.dockerignore"}


def test_the_readme_makes_every_secret_that_the_manifests_name():
    made = set(re.findall(r"create secret generic (\S+)", README))
    named = {SPEC["authOptions"]["secretName"]}
    for template in POD_TEMPLATES.values():
        for container in template["spec"]["containers"]:
            named |= {source["secretRef"]["name"] for source in container.get("envFrom", ())}
    assert made == named
    assert "--from-literal=auth_token=" in README  # the key that KubeRay reads
    assert f"get rayjob {RAY_JOB['metadata']['name']}" in README
    assert f"-n {DOCUMENTS['namespace'][0]['metadata']['name']} " in README


@pytest.mark.parametrize("pool", ["head", "cpu", "gpu"])
def test_the_table_of_pools_is_what_the_manifests_ask_for(pool):
    (line,) = re.findall(rf"^\| {pool} \| (.*) \|$", README, re.MULTILINE)
    replicas, size, _ = line.split(" | ")
    limits = POD_TEMPLATES[pool]["spec"]["containers"][0]["resources"]["limits"]
    gpus = f"{limits['nvidia.com/gpu']} GPUs, " if pool == "gpu" else ""
    memory, disk = (limits[name].replace("Gi", " GiB") for name in ("memory", "ephemeral-storage"))
    assert size == f"{gpus}{limits['cpu']} CPUs, {memory}, {disk} disk"
    most = {group["groupName"]: group["maxReplicas"] for group in SPEC["workerGroupSpecs"]}
    assert replicas.startswith({"head": "1, on demand", "cpu": f"0 to {most['cpu']}", "gpu": "0 or 1, spot"}[pool])
    assert most["gpu"] == 1


@pytest.mark.parametrize("name", FILES)
def test_nothing_looks_like_a_secret(name):
    assert SECRETS.findall(FILES[name]) == []


def test_a_secret_would_be_found():
    key = "AKIA" + "ABCDEFGH12345678"
    hexadecimal = "0123456789abcdef" * 2
    word = "q1w2e3r4" * 3
    for text in (f"aws: {key}", f"token={hexadecimal}", f"SECRET_KEY: '{word}'", "-----BEGIN RSA"):
        assert SECRETS.search(text), text


@pytest.mark.parametrize("name", FILES)
def test_images_have_versions(name):
    """`image: name:tag` in YAML, `-t name:tag` and FROM elsewhere."""
    images = re.findall(r"(?:\bimage: |_image: |-t |^FROM )(\S+)", FILES[name], re.MULTILINE)
    for image in images:
        tag = image.rpartition(":")[2]
        assert ":" in image, image
        assert re.match(r"\d+\.\d+\.\d+|\$\{PYTHON\}", tag), image
    assert ":latest" not in FILES[name]
    assert bool(images) == (name in IMAGES_IN)


IMAGES_IN = {
    "Dockerfile",
    "README.md",
    "kuberay/raycluster.yaml",
    "kuberay/rayjob.yaml",
    "ray_up/aws.yaml",
    "ray_up/gcp.yaml",
}
