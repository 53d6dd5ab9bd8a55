"""The finished runs of the tests of inference."""

from tests.inference.conftest import runs as runs
