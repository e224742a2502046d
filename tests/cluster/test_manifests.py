"""The KubeRay manifests: against the operator's own resource definitions, and against what Ray and the jobs expect."""

import copy
import gzip
import itertools
import re
import shlex
import subprocess
from importlib import metadata

import jsonschema
import pytest
import yaml
from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr
from ray.dashboard.http_server_agent import PUBLIC_EXACT_PATHS
from ray.scripts.scripts import drain_node

from ecellm.node_types import VARIABLE, NodeType, told_node_types
from ecellm.pipeline import resolve
from ecellm.sources.fetch_addresses import read_addresses, select
from ecellm.stages import load_stage
from ecellm.storage import Storage
from tests.conftest import CLUSTER, ROOT, SCHEMAS, missing
from tests.job_commands import check, commands_in

KUBERAY = CLUSTER / "kuberay"
DOCUMENTS = {
    path.stem: list(yaml.safe_load_all(path.read_text(encoding="utf-8"))) for path in sorted(KUBERAY.glob("*.yaml"))
}
RAY_CLUSTER, RAY_JOB = DOCUMENTS["raycluster"][0], DOCUMENTS["rayjob"][0]
SPEC = RAY_CLUSTER["spec"]
GROUPS = {group["groupName"]: group for group in SPEC["workerGroupSpecs"]}
POD_TEMPLATES = {
    "head": SPEC["headGroupSpec"]["template"],
    **{name: group["template"] for name, group in GROUPS.items()},
    "submitter": RAY_JOB["spec"]["submitterPodTemplate"],
}
RAY_PODS = ("head", "cpu", "gpu")


def container(pod):
    (only,) = POD_TEMPLATES[pod]["spec"]["containers"]
    return only


def definition(plural):
    """The schema of ray.io/v1, in which unknown fields are errors (the API server would drop them, silently)."""
    path = SCHEMAS / f"ray.io_{plural}.yaml.gz"
    if not path.is_file():
        missing("schemas", f"KubeRay's resource definitions are not in {SCHEMAS}; set ECELLM_SCHEMAS")
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # a megabyte of YAML
    versions = yaml.load(gzip.decompress(path.read_bytes()), loader)["spec"]["versions"]
    (schema,) = (version["schema"]["openAPIV3Schema"] for version in versions if version["name"] == "v1")
    return closed(schema)


def closed(node):
    if isinstance(node, list):
        return [closed(item) for item in node]
    if not isinstance(node, dict):
        return node
    result = {key: closed(value) for key, value in node.items()}
    preserves = node.get("x-kubernetes-preserve-unknown-fields")
    if isinstance(node.get("properties"), dict) and node.get("type") == "object" and not preserves:
        result.setdefault("additionalProperties", False)
    return result


@pytest.fixture(scope="module")
def definitions():
    return {"RayCluster": definition("rayclusters"), "RayJob": definition("rayjobs")}


def check_against(schema, value):
    """Raise what is wrong with a value, without checking the (large) schema itself each time."""
    error = jsonschema.exceptions.best_match(jsonschema.Draft7Validator(schema).iter_errors(value))
    if error:
        raise error


def test_every_manifest_is_tested():
    kinds = {stem: [document["kind"] for document in documents] for stem, documents in DOCUMENTS.items()}
    assert kinds == {
        "namespace": ["Namespace", "ServiceAccount", "NetworkPolicy"],
        "raycluster": ["RayCluster"],
        "rayjob": ["RayJob"],
    }
    assert RAY_CLUSTER["apiVersion"] == RAY_JOB["apiVersion"] == "ray.io/v1"
    namespaces = {document["metadata"].get("namespace") for document in itertools.chain(*DOCUMENTS.values())}
    assert namespaces == {None, "ecellm"}  # the namespace itself lies in none


@pytest.mark.parametrize("manifest", [RAY_CLUSTER, RAY_JOB], ids=["RayCluster", "RayJob"])
def test_a_manifest_fits_its_resource_definition(definitions, manifest):
    check_against(definitions[manifest["kind"]], manifest)


@pytest.mark.parametrize(
    ("where", "name"),
    [
        (("spec",), "deletionPolicy"),
        (("spec", "rayClusterSpec"), "rayVerison"),
        (("spec", "rayClusterSpec", "workerGroupSpecs", 1), "minReplica"),
        (("spec", "rayClusterSpec", "workerGroupSpecs", 1, "template", "spec", "containers", 0), "envfrom"),
    ],
)
def test_a_misspelt_field_is_refused(definitions, where, name):
    manifest = copy.deepcopy(RAY_JOB)
    node = manifest
    for step in where:
        node = node[step]
    node[name] = "x"
    with pytest.raises(jsonschema.ValidationError, match=f"'{name}' was unexpected"):
        check_against(definitions["RayJob"], manifest)


def test_the_job_makes_the_cluster_that_stays():
    assert RAY_JOB["spec"]["rayClusterSpec"] == SPEC


def test_the_operator_accepts_the_job():
    """Rules that the operator checks in code (validation.go of KubeRay 1.7), not in its definitions."""
    spec = RAY_JOB["spec"]
    assert len(RAY_JOB["metadata"]["name"]) <= 47
    assert "shutdownAfterJobFinishes" not in spec  # rules exclude it, and with it
    assert "ttlSecondsAfterFinished" not in spec
    assert "clusterSelector" not in spec
    # With an autoscaler workers are not deleted by a rule, and pods are not restarted in place.
    rules = spec["deletionStrategy"]["deletionRules"]
    assert "DeleteWorkers" not in {rule["policy"] for rule in rules}
    assert all("restartPolicy" not in POD_TEMPLATES[pod]["spec"] for pod in RAY_PODS)
    when = {}
    for rule in rules:
        condition = dict(rule["condition"])
        seconds = condition.pop("ttlSeconds")
        ((kind, status),) = condition.items()  # exactly one of jobStatus and jobDeploymentStatus
        assert rule["policy"] not in when.setdefault((kind, status), {})
        when[kind, status][rule["policy"]] = seconds
    assert set(when) == {("jobStatus", "SUCCEEDED"), ("jobStatus", "FAILED"), ("jobDeploymentStatus", "Failed")}
    assert all(policies["DeleteCluster"] < policies["DeleteSelf"] for policies in when.values())
    # Object stores smaller than the memory they lie in.
    for pod, group in [("head", SPEC["headGroupSpec"]), *GROUPS.items()]:
        volumes = {volume["name"]: volume for volume in POD_TEMPLATES[pod]["spec"]["volumes"]}
        assert {"name": "shared-memory", "mountPath": "/dev/shm"} in container(pod)["volumeMounts"]
        assert volumes["shared-memory"]["emptyDir"]["medium"] == "Memory"
        size = volumes["shared-memory"]["emptyDir"]["sizeLimit"]
        assert int(group["rayStartParams"]["object-store-memory"]) < int(size.removesuffix("Gi")) * 2**30
        assert {mount["name"] for mount in container(pod)["volumeMounts"]} == set(volumes)


def test_rays_autoscaler_reads_the_pools():
    """By Ray's own code, which reads the resource in the head's pod."""
    assert SPEC["enableInTreeAutoscaling"] is True
    assert SPEC["autoscalerOptions"]["version"] == "v2"
    types = _derive_autoscaling_config_from_ray_cr(copy.deepcopy(RAY_CLUSTER))["available_node_types"]
    assert set(types) == {"headgroup", "cpu", "gpu"}
    assert types["headgroup"]["resources"]["CPU"] == 0
    assert [types[pool]["min_workers"] for pool in ("cpu", "gpu")] == [0, 0]
    assert [GROUPS[pool]["replicas"] for pool in ("cpu", "gpu")] == [0, 0]
    assert "GPU" not in types["cpu"]["resources"]
    assert types["gpu"]["resources"]["GPU"] == 8
    assert GROUPS["cpu"]["priority"] > GROUPS["gpu"].get("priority", 0)


@pytest.mark.parametrize("recipe", ["ecellm_s", "ecellm_m", "ecellm_l"])
def test_the_gpu_pool_holds_a_recipes_workers(recipe):
    config = check("pipeline", [f"jobs/recipes/{recipe}.yaml", "defaults.release=s3://BUCKET/dataset.json"])
    (workers,) = (node.config for node in resolve(config, load_stage) if node.name == "tuned")
    limits = container("gpu")["resources"]["limits"]
    assert workers.use_gpu
    assert workers.num_workers <= int(limits["nvidia.com/gpu"]) * GROUPS["gpu"]["maxReplicas"]
    assert workers.num_workers * workers.cpus_per_worker <= int(limits["cpu"])


def test_the_entrypoint_is_a_valid_command():
    entrypoint = RAY_JOB["spec"]["entrypoint"]
    ((job, words),) = commands_in(entrypoint)
    config = check(job, words)
    assert config.output_dir == "s3://BUCKET/runs/ecellm_m"
    # KubeRay puts it into a shell's command line as it stands.
    assert shlex.split(entrypoint) == entrypoint.split()
    assert not set(entrypoint) & set("[]{}()*?&;|<>$`~!\"'\\")


def test_the_code_comes_from_the_object_store_with_the_usual_environment():
    sent = yaml.safe_load(RAY_JOB["spec"]["runtimeEnvYAML"])
    assert set(sent) == {"working_dir", "env_vars"}
    assert sent["working_dir"] == "s3://BUCKET/code/ecellm-REVISION.zip"
    usual = yaml.safe_load((ROOT / "runtime_env.yaml").read_text())["env_vars"]
    assert sent["env_vars"] == {"ECELLM_GIT_COMMIT": "REVISION", **usual}


@pytest.mark.parametrize("source", [KUBERAY / "rayjob.yaml", CLUSTER / "README.md"], ids=["rayjob", "README"])
def test_the_documented_sed_fills_all_placeholders_in(source):
    text = source.read_text(encoding="utf-8").replace("\n#", "\n")
    [command] = re.findall(r"sed (-e [^|]*(?:\|[^|]*)*?)\\\n\s*cluster/kuberay/rayjob\.yaml", text)
    command = command.replace("$(git rev-parse HEAD)", "0123abcd")
    filled = subprocess.run(
        ["sed", *(word for word in shlex.split(command) if word.strip())],
        input=(KUBERAY / "rayjob.yaml").read_text(encoding="utf-8"),
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    manifest = yaml.safe_load(filled)
    sent = yaml.safe_load(manifest["spec"]["runtimeEnvYAML"])
    assert sent["working_dir"] == "s3://my-bucket/code/ecellm-0123abcd.zip"
    assert sent["env_vars"]["ECELLM_GIT_COMMIT"] == "0123abcd"
    assert not re.search(r"REGISTRY|BUCKET|REVISION", yaml.safe_dump(manifest))


def test_the_data_are_read_where_the_readme_fetches_them_to():
    readme = (CLUSTER / "README.md").read_text(encoding="utf-8")
    [fetched] = re.findall(r"jobs\.fetch raw_dir=(\S+) sources=\[ecinstruct\]", readme)
    there = {f"{fetched}/{entry.name}" for entry in select(read_addresses(Storage(), None), ["ecinstruct"])}
    read = re.findall(r"=(s3://BUCKET/release/\S+)", RAY_JOB["spec"]["entrypoint"] + readme)
    assert len(read) >= 6
    assert {path for path in read if path != fetched} <= there


def test_drivers_are_told_what_the_pools_may_grow_to(monkeypatch):
    (told,) = [variable["value"] for variable in container("head")["env"] if variable["name"] == VARIABLE]
    monkeypatch.setenv(VARIABLE, told)
    types = _derive_autoscaling_config_from_ray_cr(copy.deepcopy(RAY_CLUSTER))["available_node_types"]
    assert told_node_types() == [
        NodeType(
            types[pool]["max_workers"],
            {
                name: types[pool]["resources"][name]
                for name in ("CPU", "GPU", "memory")
                if name in types[pool]["resources"]
            },
        )
        for pool in ("cpu", "gpu")
    ]


def test_every_ray_pod_asks_for_the_token():
    assert SPEC["authOptions"] == {"mode": "token", "secretName": "ray-token"}  # pragma: allowlist secret
    names = {variable["name"] for pod in POD_TEMPLATES for variable in container(pod).get("env", ())}
    assert not {name for name in names if name.startswith("RAY_AUTH")}  # nothing that would override it


def test_credentials_come_from_secrets_that_may_be_left_out():
    for pod in RAY_PODS:
        assert container(pod)["envFrom"] == [
            {"secretRef": {"name": "object-store", "optional": True}},
            {"secretRef": {"name": "model-hub", "optional": True}},
        ]
    assert {POD_TEMPLATES[pod]["spec"]["serviceAccountName"] for pod in RAY_PODS} == {"ray"}
    assert DOCUMENTS["namespace"][1]["metadata"]["name"] == "ray"


@pytest.mark.parametrize("pod", POD_TEMPLATES)
def test_a_pod_meets_the_restricted_standard(pod):
    labels = DOCUMENTS["namespace"][0]["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    spec = POD_TEMPLATES[pod]["spec"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] == 1000
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container(pod)["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    assert SPEC["autoscalerOptions"]["securityContext"] == container(pod)["securityContext"]
    assert all(set(volume) == {"name", "emptyDir"} for volume in spec.get("volumes", ()))
    # Only the head, for its autoscaler, may talk to Kubernetes.
    assert spec.get("automountServiceAccountToken", True) == (pod == "head")


@pytest.mark.parametrize("pod", POD_TEMPLATES)
def test_a_pod_has_requests_and_limits(pod):
    resources = container(pod)["resources"]
    assert set(resources["requests"]) == set(resources["limits"]) >= {"cpu", "memory"}
    if pod in RAY_PODS:
        # Ray plans with the limits: what is requested must be as much.
        assert resources["requests"] == resources["limits"]
        assert "ephemeral-storage" in resources["limits"]
        on_disk = [volume["emptyDir"] for volume in POD_TEMPLATES[pod]["spec"]["volumes"]]
        on_disk = [int(volume["sizeLimit"].removesuffix("Gi")) for volume in on_disk if "medium" not in volume]
        assert sum(on_disk) < int(resources["limits"]["ephemeral-storage"].removesuffix("Gi"))


@pytest.mark.parametrize("pod", RAY_PODS)
def test_probes_ask_what_ray_answers_without_a_token(pod):
    probes = [container(pod)[name]["httpGet"] for name in ("readinessProbe", "livenessProbe")]
    for probe in probes:
        if probe["port"] == 8265:  # the dashboard's list lies inside a function
            assert probe["path"] == "/api/gcs_healthz"
        else:
            assert probe["port"] == 52365
            assert probe["path"] in PUBLIC_EXACT_PATHS


def test_gpu_workers_are_spot_and_the_head_is_not():
    spot = {
        "eks.amazonaws.com/capacityType": ["SPOT"],
        "karpenter.sh/capacity-type": ["spot"],
        "cloud.google.com/gke-spot": ["true"],
        "kubernetes.azure.com/scalesetpriority": ["spot"],
    }
    head = POD_TEMPLATES["head"]["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    (term,) = head["nodeSelectorTerms"]
    assert {rule["key"]: rule["values"] for rule in term["matchExpressions"]} == spot
    assert {rule["operator"] for rule in term["matchExpressions"]} == {"NotIn"}
    gpu = POD_TEMPLATES["gpu"]["spec"]
    preferred = gpu["affinity"]["nodeAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    rules = [rule for choice in preferred for rule in choice["preference"]["matchExpressions"]]
    assert {rule["key"]: rule["values"] for rule in rules} == spot
    assert {rule["operator"] for rule in rules} == {"In"}
    tolerated = {toleration["key"] for toleration in gpu["tolerations"]}
    assert tolerated >= {"nvidia.com/gpu", "cloud.google.com/gke-spot", "kubernetes.azure.com/scalesetpriority"}
    assert "tolerations" not in POD_TEMPLATES["head"]["spec"]


def test_a_gpu_pod_that_must_go_drains_its_node_in_time():
    shell, flag, script = container("gpu")["lifecycle"]["preStop"]["exec"]["command"]
    assert (shell, flag) == ("/bin/bash", "-c")
    drain, sleep = script.split("&&")
    _timeout, limit, ray, command, *options = shlex.split(drain)
    assert (ray, command) == ("ray", "drain-node")
    parsed = drain_node.make_context("drain-node", options).params  # unknown options and reasons raise
    assert parsed["reason"] == "DRAIN_NODE_REASON_PREEMPTION"  # the one that Ray Train tells its workers of
    wait = int(sleep.split()[1])
    assert parsed["deadline_remaining_seconds"] == wait
    assert int(limit) + wait < POD_TEMPLATES["gpu"]["spec"]["terminationGracePeriodSeconds"]


def test_only_the_namespace_and_the_operator_reach_the_pods(definitions):
    policy = DOCUMENTS["namespace"][2]
    assert policy["apiVersion"] == "networking.k8s.io/v1"
    spec = policy["spec"]
    assert spec["podSelector"] == {"matchLabels": {"ray.io/is-ray-node": "yes"}}
    assert spec["policyTypes"] == ["Ingress"]
    own, operator = spec["ingress"]
    assert own == {"from": [{"podSelector": {}}]}  # without a namespace: the policy's own
    (peer,) = operator["from"]
    assert peer["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "kuberay-system"}
    assert peer["podSelector"]["matchLabels"] == {"app.kubernetes.io/name": "kuberay-operator"}
    assert [port["port"] for port in operator["ports"]] == [8265]
    # The operator's own resource has such rules, and with them their schema.
    fields = definitions["RayCluster"]["properties"]["spec"]["properties"]["networkPolicy"]["properties"]
    check_against(fields["head"]["properties"]["ingressRules"], spec["ingress"])


def test_versions_are_those_of_the_constraints():
    version = metadata.version("ray")
    assert SPEC["rayVersion"] == version
    assert f"\nray=={version}\n" in (CLUSTER / "constraints.txt").read_text()
    images = {pod: container(pod)["image"] for pod in POD_TEMPLATES}
    release = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)[1]
    assert images.pop("gpu") == f"REGISTRY/ecellm:{release}-cuda"
    assert set(images.values()) == {f"REGISTRY/ecellm:{release}-cpu"}
