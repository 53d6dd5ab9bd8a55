"""cluster.yaml is valid, safe and cheap."""

import re

import pytest
from ray.autoscaler._private.util import prepare_config, validate_config

from tests.orchestration.cluster.project import ROOT, cloud, on_premises

TEXT = (ROOT / "cluster.yaml").read_text()


def start_command(config, kind):
    (line,) = [c for c in config[f"{kind}_start_ray_commands"] if "ray start" in c]
    return line


@pytest.mark.parametrize("config", [cloud(), on_premises()], ids=["cloud", "own hosts"])
def test_both_clusters_are_valid_and_closed(config):
    validate_config(prepare_config(config))
    with pytest.raises(Exception, match="min_wrokers"):
        validate_config(prepare_config(config | {"min_wrokers": 1}))
    assert "--dashboard-host=127.0.0.1" in start_command(config, "head")
    for kind in ("head", "worker"):
        assert "RAY_AUTH_MODE=token" in start_command(config, kind)
    assert config["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    commands = [*config["setup_commands"], *config["head_setup_commands"]]
    installs = [line for line in commands if "pip install" in line]
    assert len(installs) >= 2
    assert all("-c ~/lus_ray/constraints.txt" in line for line in installs)
    assert "~/lus_ray/constraints.txt" in config["file_mounts"]


def test_the_file_opens_no_address_and_holds_no_secret():
    assert "0.0.0.0" not in TEXT
    assert not re.search(r"AKIA[0-9A-Z]{16}|secret_access_key|RAY_AUTH_TOKEN=", TEXT)


def test_nodes_install_the_package_at_pinned_versions():
    lines = (ROOT / "constraints.txt").read_text().split()
    assert {"ray", "torch", "boto3"} <= {line.split("==")[0] for line in lines if "==" in line}
    mounts = cloud()["file_mounts"]
    sent = {local for remote, local in mounts.items() if remote.startswith("~/lus_ray/")}
    assert {"pyproject.toml", "README.md", "LICENSE", "lus_ray", "experiments", "serve"} <= sent
    assert all((ROOT / name).exists() for name in sent)
    assert not sent & {".", "runs", "clips", ".venv", ".git"}


def test_the_head_hosts_drivers_and_workers_scale_from_zero():
    config = cloud()
    types = config["available_node_types"]
    assert types[config["head_node_type"]]["resources"] == {"CPU": 0, "driver": 4}
    assert "--num-cpus=0" in start_command(config, "head")
    assert """--resources='{"driver":4}'""" in start_command(config, "head")
    workers = [node for name, node in types.items() if name != config["head_node_type"]]
    assert [node["min_workers"] for node in workers] == [0, 0]
    assert sum(node["max_workers"] for node in workers) <= config["max_workers"]
    assert 0 < config["idle_timeout_minutes"] <= 15
    assert any(node["resources"].get("GPU") for node in workers)
    for node in types.values():  # every node may read and write the bucket
        assert re.fullmatch(r"lus-ray-\w+", node["node_config"]["IamInstanceProfile"]["Name"])
