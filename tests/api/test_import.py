"""`import lus_ray` is fast, and its names are known to people and to type checkers."""

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import lus_ray

PROGRAM = """
import sys, lus_ray
print(*sorted({"torch", "ray", "pandas", "numpy", "pyarrow"} & set(sys.modules)))
lus_ray.open_store
print(*sorted({"torch", "ray"} & set(sys.modules)))
"""


def test_importing_the_package_imports_no_library_and_a_store_needs_no_torch():
    output = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )
    assert output.stdout.split("\n") == ["", "", ""]


@pytest.mark.parametrize("name", lus_ray.__all__)
def test_a_name_is_documented_and_listed(name):
    assert name in dir(lus_ray)
    assert inspect.getdoc(getattr(lus_ray, name))


def test_type_checkers_know_the_names():
    tree = ast.parse(Path(lus_ray.__file__).read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    imported = {alias.asname for line in block.body for alias in line.names}
    assert imported == set(lus_ray.__all__)


def test_folds_is_a_package_that_can_be_called():
    from lus_ray import folds

    assert lus_ray.folds is folds
    assert folds.k_fold(3).k == 3
    assert callable(folds)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'open_shop'"):
        _ = lus_ray.open_shop
