"""Commands count only where they succeed."""

from contextlib import nullcontext
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
            "once": Command(("-c", write), "done", slow=True),
        }

    results = {name: row.measure(2) for name, row in demo.compare(of=small_commands)}
    rows = [(name, row.repeats, row.target, row.rivals) for name, row in results.items()]
    assert rows == [("often", 2, 5, ()), ("once", 1, None, ())]
    assert all(c.wall_ms > 0 and c.cpu_s > 0 for c in results.values())
    assert log.read_text() == "xxx"  # the warm-up, too
    assert not folders[0].exists()


@pytest.mark.parametrize(
    ("source", "codes", "reason"),
    [
        ("print('done'); exit('no space left')", (0,), "code 1 and 'no space left'"),
        ("print('something else')", (0, 1), "code 0 and 'something else'"),
        ("print('done'); exit(1)", (0, 1), None),
    ],
)
def test_a_command_that_fails_or_prints_something_else_gets_no_time(source, codes, reason):
    command = Command(("-c", source), "done", codes=codes)
    with pytest.raises(LusError, match=reason) if reason else nullcontext():
        run("this", command)


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
