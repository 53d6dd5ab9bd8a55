"""JSON lines that a kill cut short."""

import json

from hypothesis import given
from hypothesis import strategies as st

from lus_ray.runs.json_files import parse_json_lines


@given(st.lists(st.dictionaries(st.sampled_from("ab"), st.integers())), st.integers(0, 60))
def test_lines_are_read_up_to_the_first_incomplete_or_wrong_one(rows, num_left):
    text = "".join(json.dumps(row) + "\n" for row in rows)
    parsed = parse_json_lines(text[:num_left])
    assert parsed == rows[: len(parsed)]
    assert len(parsed) >= text[:num_left].count("\n")
    assert parse_json_lines('{"a": 1}\n[2]\n{"a": 3}\n') == [{"a": 1}]
