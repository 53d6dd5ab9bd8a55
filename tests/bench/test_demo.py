"""Commands count only where they succeed."""

from pathlib import Path

import pytest

from lus_ray.bench import demo
from lus_ray.bench.demo import Command, commands, run
from lus_ray.errors import LusError


def test_each_command_is_timed_with_its_own_limit_in_a_temporary_folder(tmp_path):
    log, folders = tmp_path / "log", []

    def small_commands(folder: Path) -> dict[str, Command]:
        folders.append(folder)
        append = f"open({str(log)!r}, 'a').write('x'); print('done')"
        write = f"open({str(folder / 'a')!r}, 'w').write('a'); print('all done')"
        return {
            "often": Command(("-c", append), "done", limit_ms=5),
            "once": Command(("-c", write), "done", once=True),
        }

    results = demo.measure(3, of=small_commands)
    assert [(name, c.repeats, c.target, c.baselines) for name, c in results.items()] == [
        ("often", 3, 5, ()),
        ("once", 1, None, ()),
    ]
    assert all(c.wall_ms > 0 and c.cpu_s > 0 for c in results.values())
    assert log.read_text() == "xxxx"  # the warm-up, too
    assert not folders[0].exists()


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("print('done'); raise SystemExit('no space left')", "code 1 and 'no space left'"),
        ("print('something else')", "code 0 and 'something else'"),
    ],
)
def test_a_command_that_fails_or_prints_something_else_gets_no_time(source, reason):
    with pytest.raises(LusError, match=reason):
        run("this", Command(("-c", source), "done"))


def test_an_accepted_code_counts():
    run("this", Command(("-c", "print('done'); raise SystemExit(1)"), "done", codes=(0, 1)))


def test_the_commands_of_the_table_exist_and_the_quick_ones_succeed(tmp_path):
    table = commands(tmp_path)
    assert {name: command.limit_ms for name, command in table.items()} == {
        "lus --help": 300,
        "import lus_ray": None,
        "lus doctor": None,
        "lus demo": 180_000,
    }
    for name in ("lus --help", "import lus_ray"):
        run(name, table[name])
