"""The configuration of a cluster: what it names exists, in the form that Ray calls it."""

import importlib
import inspect

import pytest
import yaml

from serve.local import CONFIG

APPLICATIONS = yaml.safe_load(CONFIG.read_text())["applications"]


@pytest.mark.parametrize("application", APPLICATIONS, ids=lambda one: one["name"])
def test_a_builder_takes_the_arguments_of_its_application_and_nothing_else(application):
    module, name = application["import_path"].split(":")
    builder = getattr(importlib.import_module(module), name)
    assert len(inspect.signature(builder).parameters) == 1
