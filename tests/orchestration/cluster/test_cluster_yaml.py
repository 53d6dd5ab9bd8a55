"""cluster.yaml: what Ray's own check says of it, and what keeps a cluster safe and cheap."""

import re

import pytest
from ray.autoscaler._private.util import prepare_config, validate_config

from tests.orchestration.cluster.onpremises import ROOT, cloud, on_premises

VARIANTS = pytest.mark.parametrize("config", [cloud(), on_premises()], ids=["cloud", "own hosts"])


@VARIANTS
def test_ray_accepts_the_cluster(config):
    validate_config(prepare_config(config))


def test_ray_refuses_the_cluster_with_a_key_that_it_does_not_know():
    with pytest.raises(Exception, match="min_wrokers"):
        validate_config(prepare_config(cloud() | {"min_wrokers": 1}))


@VARIANTS
def test_the_dashboard_listens_on_loopback_alone(config):
    head = starts(config, "head")
    assert "--dashboard-host=127.0.0.1" in head
    assert "0.0.0.0" not in (ROOT / "cluster.yaml").read_text()


@VARIANTS
def test_every_node_asks_for_the_token_and_has_it(config):
    assert "RAY_AUTH_MODE=token" in starts(config, "head")
    assert "RAY_AUTH_MODE=token" in starts(config, "worker")
    assert config["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"


@VARIANTS
def test_every_version_comes_from_the_constraints(config):
    commands = [*config["setup_commands"], *config["head_setup_commands"]]
    installs = [line for line in commands if "pip install" in line]
    assert len(installs) >= 2
    assert all("-c ~/lus_ray/constraints.txt" in line for line in installs)
    assert "~/lus_ray/constraints.txt" in config["file_mounts"]


def test_what_the_setup_installs_is_pinned():
    pinned = dict(
        line.split("==") for line in (ROOT / "constraints.txt").read_text().split() if "==" in line
    )
    assert {"ray", "torch", "boto3"} <= set(pinned)


def test_what_is_installed_has_all_that_the_package_is_built_from():
    mounts = cloud()["file_mounts"]
    sent = {local for remote, local in mounts.items() if remote.startswith("~/lus_ray/")}
    assert {"pyproject.toml", "README.md", "LICENSE", "lus_ray", "experiments", "serve"} <= sent
    assert all((ROOT / name).exists() for name in sent)
    assert not sent & {".", "runs", "clips", ".venv", ".git"}


def test_the_head_hosts_drivers_and_no_cells():
    config = cloud()
    head = config["available_node_types"][config["head_node_type"]]["resources"]
    assert head == {"CPU": 0, "driver": 4}
    started = starts(config, "head")
    assert "--num-cpus=0" in started
    assert """--resources='{"driver":4}'""" in started


def test_workers_come_from_zero_and_go_again():
    config = cloud()
    workers = [
        node for name, node in config["available_node_types"].items()
        if name != config["head_node_type"]
    ]  # fmt: skip
    assert [node["min_workers"] for node in workers] == [0, 0]
    assert sum(node["max_workers"] for node in workers) <= config["max_workers"]
    assert 0 < config["idle_timeout_minutes"] <= 15
    assert any(node["resources"].get("GPU") for node in workers)


def test_every_node_type_of_the_cloud_may_reach_the_store():
    for node in cloud()["available_node_types"].values():
        assert re.fullmatch(r"lus-ray-\w+", node["node_config"]["IamInstanceProfile"]["Name"])


def test_no_secret_stands_in_the_file():
    text = (ROOT / "cluster.yaml").read_text()
    assert not re.search(r"AKIA[0-9A-Z]{16}|secret_access_key|RAY_AUTH_TOKEN=", text)


def starts(config, kind):
    """The command that starts Ray on a node of a kind, as one line."""
    (line,) = [c for c in config[f"{kind}_start_ray_commands"] if "ray start" in c]
    return line
