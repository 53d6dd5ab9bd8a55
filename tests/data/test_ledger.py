import json

import pytest
from click.testing import CliRunner

from lus_ray import cli
from lus_ray.data.ledger import Ledger, LedgerEntry, count_reasons, read
from lus_ray.errors import StoreError
from lus_ray.storage import files

ENTRY = {"source": "a", "item": "x.mp4", "action": "skipped", "reason": "the file is empty"}


def test_entries_of_a_source_are_replaced_and_those_of_others_stay(tmp_path):
    path = tmp_path / "ledger.jsonl"
    assert read(path) == []
    for source, item in (("a", "one"), ("b", "two"), ("a", "three")):
        ledger = Ledger()
        ledger.note(source, item, "of no\n  use")
        ledger.write(path, source=source)
    assert read(path) == [
        LedgerEntry("b", "two", "noted", "of no use"),
        LedgerEntry("a", "three", "noted", "of no use"),
    ]


@pytest.mark.parametrize(
    "line",
    ["{", "", "[]", "7", '{"source": "a"}', json.dumps({**ENTRY, "more": 1}),
     json.dumps({**ENTRY, "item": None}), json.dumps({**ENTRY, "action": "lost"})],
)  # fmt: skip
def test_a_damaged_line_is_named_in_one_line(tmp_path, line):
    path = tmp_path / "ledger.jsonl"
    path.write_text(f"{json.dumps(ENTRY)}\n{line}\n")
    reason = r"^[^\n]*ledger\.jsonl line 2: not a ledger entry .*; remove the line$"
    with pytest.raises(StoreError, match=reason):
        read(path)


@pytest.mark.slow
@pytest.mark.parametrize("command", [["check"], ["ingest", "phantom"]])
def test_a_command_on_a_store_with_a_damaged_ledger_ends_in_one_line(
    tmp_path, command, phantom_store
):
    (tmp_path / "clips").symlink_to(phantom_store / "clips")
    (tmp_path / "ledger.jsonl").write_text("what?\n")
    done = CliRunner().invoke(cli.main, [*command, str(tmp_path)])
    assert done.exit_code == 2
    assert done.stderr.count("\n") == 1
    assert f"{tmp_path / 'ledger.jsonl'} line 1: not a ledger entry" in done.stderr


def test_a_ledger_is_on_the_disk_before_it_takes_its_name(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(files, "fsync", lambda path: synced.append(path.exists()))
    Ledger().write(tmp_path / "ledger.jsonl", source="a")
    assert synced == [True, True]


def test_reasons_that_differ_in_file_row_value_or_number_count_as_one():
    ledger = Ledger()
    ledger.note("a", "z.mp4", "not skipped")
    ledger.skip("a", "sub/a.mp4", "a.mp4: truncated: 3 of 60 frames; copy it again")
    ledger.skip("a", "b.mp4", "b.mp4: truncated: 44 of 50 frames; copy it again")
    ledger.skip("a", "c.mp4", "t.csv row 4: 'severity' is '9'; write 0 to 3")
    ledger.skip("a", "d.mp4", "t.csv row 5: 'severity' is 'x'; write 0 to 3")
    ledger.skip("a", "e.mp4", "t.csv row 12: 'severity' is 'mild'; write 0 to 3")
    ledger.skip("a", "f.mp4", "the file is empty; copy it again")
    ledger.skip("a", "g.mp4", "t.csv row 6: 'probe' is '9'; write 0 to 3")
    assert count_reasons(ledger.entries) == [
        ("'severity' is ...; write 0 to 3", 3),
        ("truncated: N of N frames; copy it again", 2),
        ("the file is empty; copy it again", 1),
        ("'probe' is '9'; write 0 to 3", 1),
    ]


def test_text_that_is_not_unicode_is_escaped(tmp_path):
    ledger = Ledger()
    ledger.skip("a", "caf\udce9\n\x1b", "caf\udce9: \ud800")
    ledger.write(tmp_path / "ledger.jsonl", source="a")
    (entry,) = read(tmp_path / "ledger.jsonl")
    assert (entry.item, entry.reason) == (r"caf\xe9\n\x1b", r"caf\xe9: \ud800")
