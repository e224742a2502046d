"""The `ray up` files: by Ray's own schema and preparation, without a cloud."""

import json
import re
from pathlib import Path

import botocore.session
import jsonschema
import pytest
import ray.autoscaler
import yaml
from botocore.validate import ParamValidator
from ray.autoscaler._private.util import prepare_config, validate_config

from ecellm.node_types import VARIABLE, NodeType, told_node_types
from tests.conftest import CLUSTER

FILES = {path.stem: path for path in sorted((CLUSTER / "ray_up").iterdir())}
CLOUDS = ("aws", "gcp")


def loaded(cloud):
    return yaml.safe_load(FILES[cloud].read_text(encoding="utf-8"))


def test_every_file_is_tested():
    assert tuple(FILES) == CLOUDS


@pytest.mark.parametrize("cloud", CLOUDS)
def test_a_file_fits_rays_schema(cloud):
    schema = json.loads((Path(ray.autoscaler.__file__).parent / "ray-schema.json").read_text())
    jsonschema.validate(loaded(cloud), schema)
    jsonschema.Draft7Validator.check_schema(schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**loaded(cloud), "idle_timeout": 5}, schema)


@pytest.mark.parametrize("cloud", CLOUDS)
def test_what_ray_makes_of_a_file(cloud):
    """With Ray's defaults filled in: nothing of them installs another Ray, nothing runs but what the file says."""
    config = prepare_config(loaded(cloud))
    validate_config(config)
    assert config["provider"]["type"] == cloud
    assert [config[f"{kind}setup_commands"] for kind in ("", "head_", "worker_")] == [[], [], []]
    assert not any("pip" in command for command in config["initialization_commands"])
    assert any("ray start --head" in command for command in config["head_start_ray_commands"])
    assert config["provider"]["cache_stopped_nodes"] is False


@pytest.mark.parametrize("name", ["head", "cpu", "gpu"])
def test_amazon_would_understand_a_node(name):
    """`node_config` is what EC2's RunInstances is asked for: by botocore's own description of it."""
    request = {**loaded("aws")["available_node_types"][name]["node_config"], "MinCount": 1, "MaxCount": 1}
    shape = botocore.session.get_session().get_service_model("ec2").operation_model("RunInstances").input_shape
    report = ParamValidator().validate(request, shape)
    assert not report.has_errors(), report.generate_report()
    assert ParamValidator().validate({**request, "InstanceTyp": "m7i.large"}, shape).has_errors()


@pytest.mark.parametrize("cloud", CLOUDS)
def test_the_head_works_for_nobody_and_workers_start_from_zero(cloud):
    config = loaded(cloud)
    types = config["available_node_types"]
    assert config["head_node_type"] == "head"
    assert types["head"]["resources"]["CPU"] == 0
    assert [types[name]["min_workers"] for name in ("cpu", "gpu")] == [0, 0]
    assert config["max_workers"] == types["cpu"]["max_workers"] + types["gpu"]["max_workers"]
    assert types["gpu"]["docker"]["worker_image"].endswith("-cuda")
    assert types["gpu"]["docker"]["worker_run_options"] == ["--gpus=all"]


def test_gpu_workers_are_spot_and_the_head_is_not():
    aws, gcp = (loaded(cloud)["available_node_types"] for cloud in CLOUDS)
    assert aws["gpu"]["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
    assert gcp["gpu"]["node_config"]["scheduling"]["provisioningModel"] == "SPOT"
    assert "InstanceMarketOptions" not in aws["head"]["node_config"]
    assert "scheduling" not in gcp["head"]["node_config"]
    # Google's nodes tell Ray nothing of themselves before they are there.
    assert gcp["gpu"]["resources"] == {"CPU": 96, "GPU": 8, "memory": 900_000_000_000}
    assert set(gcp["cpu"]["resources"]) == {"CPU", "memory"}


@pytest.mark.parametrize("cloud", CLOUDS)
def test_drivers_are_told_what_the_nodes_may_grow_to(cloud, monkeypatch):
    config = loaded(cloud)
    (told,) = re.findall(rf"{VARIABLE}='([^']*)'", " ".join(config["head_start_ray_commands"]))
    monkeypatch.setenv(VARIABLE, told)
    types = [config["available_node_types"][name] for name in ("cpu", "gpu")]
    amazons = [{"CPU": 16}, {"CPU": 96, "GPU": 8}]  # m7i.4xlarge, p4de.24xlarge: Ray asks Amazon
    resources = amazons if cloud == "aws" else [kind["resources"] for kind in types]
    assert told_node_types() == [NodeType(kind["max_workers"], own) for kind, own in zip(types, resources, strict=True)]


@pytest.mark.parametrize("cloud", CLOUDS)
def test_the_token_is_on_and_on_every_node(cloud):
    config = loaded(cloud)
    assert "-e RAY_AUTH_MODE=token" in config["docker"]["run_options"]
    assert config["file_mounts"] == {"/home/ray/.ray/auth_token": "~/.ray/auth_token"}
    start = " ".join(config["head_start_ray_commands"])
    assert "--dashboard-host=127.0.0.1" in start


def test_nodes_have_roles_and_no_keys():
    aws, gcp = (loaded(cloud) for cloud in CLOUDS)
    roles = {name: kind["node_config"]["IamInstanceProfile"] for name, kind in aws["available_node_types"].items()}
    assert roles == {
        "head": {"Name": "ecellm-head"},
        "cpu": {"Name": "ecellm-worker"},
        "gpu": {"Name": "ecellm-worker"},
    }
    groups = [kind["node_config"]["SecurityGroupIds"] for kind in aws["available_node_types"].values()]
    assert groups == [["SECURITY_GROUP"]] * 3  # else Ray makes one that is open to the world
    options = [kind["node_config"]["MetadataOptions"]["HttpTokens"] for kind in aws["available_node_types"].values()]
    assert options == ["required"] * 3
    emails = {name: kind["node_config"]["serviceAccounts"] for name, kind in gcp["available_node_types"].items()}
    assert {name: account["email"].split("@")[0] for name, (account,) in emails.items()} == {
        "head": "ecellm-head",
        "cpu": "ecellm-worker",
        "gpu": "ecellm-worker",
    }
    assert "aws_credentials" not in aws["provider"]
    assert "gcp_credentials" not in gcp["provider"]
    assert [config["auth"] for config in (aws, gcp)] == [{"ssh_user": "ubuntu"}] * 2
