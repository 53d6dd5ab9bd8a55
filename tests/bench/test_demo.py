"""Commands count only where they succeed."""

import pytest

from lus_ray.bench import demo
from lus_ray.errors import LusError


def test_each_command_has_its_limit_and_the_demo_runs_once():
    rows = [(name, row.target, row.repeats) for name, row in demo.compare()]
    assert rows == [("lus --help", 300, None), ("lus demo", 180_000, 1)]


def test_a_command_that_fails_or_prints_something_else_gets_no_time():
    demo.run("--help", expected="doctor")
    with pytest.raises(LusError, match=r"lus nothing ended with code 2 and .*'nothing'"):
        demo.run("nothing", expected="")
    with pytest.raises(LusError, match="lus --help ended with code 0"):
        demo.run("--help", expected="no such words")
