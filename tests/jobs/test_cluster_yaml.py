"""cluster.yaml is valid for this Ray, and has no typo where Ray itself does not look."""

from __future__ import annotations

import re
from copy import deepcopy
from pathlib import Path

import pytest
from support.clusters.supported_ray import supported_ray

ROOT = Path(__file__).parents[2]

# What EC2's create_instances and Ray's AWS provider take, as far as this file may use it.
# None: a value; a dict: the keys below it.
EBS = {"VolumeSize": None, "VolumeType": None, "DeleteOnTermination": None}
NODE_CONFIG = {
    "InstanceType": None,
    "ImageId": None,
    "KeyName": None,
    "SubnetIds": None,
    "SecurityGroupIds": None,
    "IamInstanceProfile": {"Arn": None, "Name": None},
    "InstanceMarketOptions": {
        "MarketType": None,
        "SpotOptions": {"MaxPrice": None, "SpotInstanceType": None},
    },
    "BlockDeviceMappings": {"DeviceName": None, "Ebs": EBS},
}
PROVIDER = {
    "type": None,
    "region": None,
    "availability_zone": None,
    "cache_stopped_nodes": None,
    "use_internal_ips": None,
    "key_pair": {"key_name": None},
    "security_group": {"GroupName": None, "IpPermissions": None},
}


@pytest.fixture
def config():
    yaml = pytest.importorskip("yaml", reason="pyyaml comes with the test extra")
    return yaml.safe_load((ROOT / "cluster.yaml").read_text(encoding="utf-8"))


def unknown_keys(value, allowed, where):
    """Paths of keys that ``allowed`` does not have; lists are checked item by item."""
    if isinstance(value, list) and allowed is not None:
        return [bad for item in value for bad in unknown_keys(item, allowed, where)]
    if allowed is None or not isinstance(value, dict):
        return []
    found = []
    for key, inner in value.items():
        path = f"{where}.{key}"
        found += [path] if key not in allowed else unknown_keys(inner, allowed[key], path)
    return found


def misspelt(config):
    found = unknown_keys(config["provider"], PROVIDER, "provider")
    for name, node_type in config["available_node_types"].items():
        found += unknown_keys(node_type["node_config"], NODE_CONFIG, name)
    return found


def validated(config):
    """The config as ``ray up`` would complete and check it; needs no cloud and no boto3."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    prepared = prepare_config(deepcopy(config))
    validate_config(prepared)
    return prepared


def test_ray_accepts_the_file(config):
    prepared = validated(config)
    assert prepared["head_node_type"] == "head"
    # Setup commands reach the workers before their own.
    assert prepared["worker_setup_commands"][0] == config["setup_commands"][0]


def test_keys_that_ray_does_not_check_are_known(config):
    assert misspelt(config) == []


def test_ray_refuses_a_misspelt_node_type_key(config):
    import jsonschema

    worker = config["available_node_types"]["gpu-worker"]
    worker["max_wrokers"] = worker.pop("max_workers")
    with pytest.raises(jsonschema.ValidationError, match="max_wrokers"):
        validated(config)


@pytest.mark.parametrize(
    ("path", "right", "wrong"),
    [
        ("provider", "region", "regoin"),
        ("provider", "availability_zone", "availability_zones"),
        ("head", "InstanceType", "InstanceTyp"),
        ("gpu-worker", "InstanceMarketOptions", "InstanceMarketOption"),
        ("gpu-worker.InstanceMarketOptions", "MarketType", "Markettype"),
        ("head.BlockDeviceMappings.0.Ebs", "VolumeSize", "volumeSize"),
    ],
)
def test_typos_that_ray_lets_pass_are_found(config, path, right, wrong):
    first, *rest = path.split(".")
    section = (
        config["provider"]
        if first == "provider"
        else config["available_node_types"][first]["node_config"]
    )
    for step in rest:
        section = section[int(step)] if step.isdigit() else section[step]
    section[wrong] = section.pop(right)
    validated(config)  # Ray sees nothing wrong, which is why this file keeps its own lists
    found = misspelt(config)
    assert [name.rsplit(".", 1)[-1] for name in found] == [wrong]
    assert found[0].startswith(first)


def test_head_is_on_demand_without_work_and_workers_are_spot(config):
    head = config["available_node_types"]["head"]
    worker = config["available_node_types"]["gpu-worker"]
    assert head["resources"]["CPU"] == 0
    assert "InstanceMarketOptions" not in head["node_config"]
    assert worker["node_config"]["InstanceMarketOptions"]["MarketType"] == "spot"
    assert worker["min_workers"] == 0
    assert 0 < worker["max_workers"] <= config["max_workers"]


def test_the_token_reaches_every_container(config):
    assert config["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    assert "--env RAY_AUTH_MODE=token" in config["docker"]["run_options"]


def test_nothing_listens_to_the_world_but_ssh(config):
    prepared = validated(config)
    start = prepared["head_start_ray_commands"][-1]
    assert start.endswith("--dashboard-host=127.0.0.1")
    assert "--autoscaling-config=~/ray_bootstrap_config.yaml" in start
    # Ray's own security group opens port 22, and more only where it is told to.
    assert "security_group" not in config["provider"]
    assert not any("-p" in option.split() for option in config["docker"]["run_options"])


def test_a_job_on_the_new_cluster_knows_how_far_it_may_grow(config):
    from vae_batch.run.execute.on_ray.machines import addable_machines, size_pool

    # As the AWS provider completes it: a g5.2xlarge has 8 cores and a GPU.
    config["available_node_types"]["gpu-worker"]["resources"] = {"CPU": 8, "GPU": 1}
    pool = size_pool(None, addable_machines(config))
    assert (pool.size, pool.gpus, pool.threads) == (8, 1, 8)


def test_mounted_parts_of_the_project_exist(config):
    local = [path for path in config["file_mounts"].values() if not path.startswith("~")]
    assert {"pyproject.toml", "LICENSE", "vae_batch"} <= set(local)
    assert [path for path in local if not (ROOT / path).exists()] == []


def test_images_have_a_supported_ray_and_python(config):
    images = [config["docker"][key] for key in ("image", "head_image")]
    found = [re.match(r"rayproject/ray:([\d.]+)-py311-", image) for image in images]
    versions = {match and match[1] for match in found}
    assert len(versions) == 1
    assert versions.pop() in supported_ray()
