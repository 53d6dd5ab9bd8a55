"""cluster.yaml on a simulated AWS: the nodes that Ray starts, and who reaches them."""

import boto3
import moto
import pytest
from ray.autoscaler._private.aws.config import bootstrap_aws
from ray.autoscaler._private.aws.node_provider import AWSNodeProvider
from ray.autoscaler._private.util import prepare_config
from ray.autoscaler.tags import TAG_RAY_NODE_KIND

from tests.orchestration.cluster.project import cloud

pytestmark = pytest.mark.slow

PROFILES = ("lus-ray-head", "lus-ray-worker")


@pytest.fixture(scope="module")
def account(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch, moto.mock_aws():
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))  # Ray leaves a key there
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        region = cloud()["provider"]["region"]
        iam = boto3.client("iam", region_name=region)
        for name in PROFILES:
            iam.create_instance_profile(InstanceProfileName=name)
        config = bootstrap_aws(prepare_config(cloud()))
        provider = AWSNodeProvider(config["provider"], config["cluster_name"])
        for name, node in config["available_node_types"].items():
            provider.create_node(node["node_config"], {TAG_RAY_NODE_KIND: name}, 1)
        yield boto3.resource("ec2", region_name=region)


def test_a_node_of_every_type_starts_and_head_and_workers_have_profiles_of_their_own(account):
    types = cloud()["available_node_types"].values()
    profiles = {
        instance.instance_type: instance.iam_instance_profile["Arn"].rpartition("/")[2]
        for instance in account.instances.all()
    }
    assert profiles == {
        "m7i.xlarge": "lus-ray-head",
        "g6.2xlarge": "lus-ray-worker",
        "m7i.2xlarge": "lus-ray-worker",
    }
    assert set(profiles) == {node["node_config"]["InstanceType"] for node in types}
    assert len(list(account.instances.all())) == len(profiles)


def test_the_world_reaches_ssh_and_nothing_else(account):
    groups = {group["GroupId"] for i in account.instances.all() for group in i.security_groups}
    rules = [rule for name in groups for rule in account.SecurityGroup(name).ip_permissions]
    public = [(r["FromPort"], r["ToPort"], r["IpRanges"]) for r in rules if r["IpRanges"]]
    assert public == [(22, 22, [{"CidrIp": "0.0.0.0/0"}])]
    inside = [pair["GroupId"] for rule in rules for pair in rule["UserIdGroupPairs"]]
    assert set(inside) == groups
