"""The cluster configuration names existing builders, which take its arguments."""

import importlib
import inspect

import pytest
import yaml

from lus_ray.errors import InputError
from lus_ray.inference.model_selection import LABELS
from serve.app import require_token
from serve.local import CONFIG
from serve.slots import DEPLOYMENTS, SLOTS, kind_of

APPLICATIONS = yaml.safe_load(CONFIG.read_text())["applications"]


@pytest.mark.parametrize("application", APPLICATIONS, ids=lambda application: application["name"])
def test_a_builder_takes_the_arguments_and_the_deployment_exists(application):
    module, name = application["import_path"].split(":")
    builder = getattr(importlib.import_module(module), name)
    assert len(inspect.signature(builder).parameters) == 1
    if application["name"] != "ingress":
        slot = application["args"]["slot"]
        assert slot == application["name"]
        deployment = DEPLOYMENTS[kind_of(slot)]
        assert deployment.name == application["deployments"][0]["name"]


def test_every_slot_has_an_application():
    slots = {*SLOTS.values(), *(f"experts-{label}" for label in LABELS)}
    assert {application["name"] for application in APPLICATIONS} == {"ingress", *slots}


def test_only_a_host_that_others_reach_requires_a_token():
    for host in ("0.0.0.0", "::", "192.0.2.1", "example.org", "", "[::1]"):
        with pytest.raises(InputError, match="set a token with --token or LUS_TOKEN"):
            require_token(host, None)
        require_token(host, "token")
    for host in ("127.0.0.1", "127.1.2.3", "::1", "localhost"):
        require_token(host, None)
