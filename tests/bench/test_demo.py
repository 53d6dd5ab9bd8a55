"""Commands count only where they did their work; speed itself is not asserted."""

from pathlib import Path

import pytest

from lus_ray.bench import demo
from lus_ray.bench.demo import Command, commands, run
from lus_ray.errors import LusError


def test_each_command_is_timed_with_its_own_limit(tmp_path):
    ran = tmp_path / "ran"
    note = f"open({str(ran)!r}, 'a').write('x'); print('done')"
    of = {
        "often": Command(("-c", note), "done", limit_ms=5),
        "once": Command(("-c", "print('all done')"), "done", once=True),
    }
    results = demo.measure(3, of=lambda folder: of)
    assert list(results) == ["often", "once"]
    assert [(c.repeats, c.target, c.baselines) for c in results.values()] == [
        (3, 5, ()),
        (1, None, ()),
    ]
    assert all(c.wall_ms > 0 and c.cpu_s > 0 for c in results.values())
    assert ran.read_text() == "xxxx"  # one more than counts


def test_what_a_command_writes_is_gone_afterwards():
    folders = []

    def writing(folder: Path) -> dict[str, Command]:
        folders.append(folder)
        note = f"open({str(folder / 'a')!r}, 'w').write('a'); print('done')"
        return {"write": Command(("-c", note), "done", once=True)}

    demo.measure(of=writing)
    (folder,) = folders
    assert not folder.exists()


@pytest.mark.parametrize(
    ("source", "trouble"),
    [
        ("print('done'); raise SystemExit('no space left')", "code 1 and 'no space left'"),
        ("print('something else')", "code 0 and 'something else'"),
    ],
)
def test_a_command_that_fails_or_does_other_work_gets_no_time(source, trouble):
    with pytest.raises(LusError, match=trouble):
        run("this", Command(("-c", source), "done"))


def test_an_accepted_code_counts():
    run("this", Command(("-c", "print('done'); raise SystemExit(1)"), "done", codes=(0, 1)))


def test_the_commands_of_the_table_are_there_and_the_quick_ones_work(tmp_path):
    results = commands(tmp_path)
    assert {name: command.limit_ms for name, command in results.items()} == {
        "lus --help": 300,
        "import lus_ray": None,
        "lus doctor": None,
        "lus demo": 180_000,
    }
    for name in ("lus --help", "import lus_ray"):
        run(name, results[name])
