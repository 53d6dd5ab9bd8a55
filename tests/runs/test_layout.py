"""What lies in a run folder: one rule for names, one reader for its record."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lus_ray.errors import StoreError
from lus_ray.evaluation import results
from lus_ray.inference import model_selection
from lus_ray.monitoring import run_files
from lus_ray.runs import layout

RECORD = {"experiment": "study", "arms": [{"name": "a", "recipe": None}]}


@pytest.mark.parametrize(
    "read", [layout.record, results.read, run_files.read_plan, model_selection.neighbouring_runs]
)
@pytest.mark.parametrize(
    ("record", "said"),
    [
        ([], "it is a list"),
        (None, "it is a NoneType"),
        ({}, "it has no 'experiment'"),
        ({"experiment": "study"}, "it has no 'arms'"),
        (RECORD | {"arms": {}}, "'arms' is a dict"),
        (RECORD | {"arms": ["a"]}, "an arm has no name"),
        (RECORD | {"arms": [{"name": 5}]}, "an arm has no name"),
        (RECORD | {"arms": [{"name": "a", "rows": []}]}, "'rows' of arm 'a' is a list"),
        (RECORD | {"data": 5}, "'data' is a int"),
    ],
)
def test_what_is_no_record_is_refused_in_one_line_by_every_reader(tmp_path, read, record, said):
    (tmp_path / "experiment.json").write_text(json.dumps(record))
    with pytest.raises(StoreError) as caught:
        read(tmp_path)
    told = str(caught.value)
    assert told.startswith(f"{tmp_path / 'experiment.json'}: no record of a run ({said})")
    assert "\n" not in told


def test_a_record_is_read_as_it_is(tmp_path):
    (tmp_path / "experiment.json").write_text(json.dumps(RECORD))
    assert layout.record(tmp_path) == RECORD


@pytest.mark.parametrize(
    ("text", "said"), [('{"experiment"', "not readable"), (None, "no such file; name a folder")]
)
def test_a_record_cut_short_or_gone_is_named(tmp_path, text, said):
    if text is not None:
        (tmp_path / "experiment.json").write_text(text)
    with pytest.raises(StoreError, match=rf"experiment\.json: {said}"):
        layout.record(tmp_path)


def test_folders_of_arms_are_named_in_small_letters_and_digits():
    assert layout.slug("SIFA covid→cap, validated (2)") == "sifa-covid-cap-validated-2"


@given(st.lists(st.dictionaries(st.sampled_from("ab"), st.integers())), st.integers(0, 60))
def test_lines_are_read_up_to_where_a_kill_cut_them(rows, num_left):
    text = "".join(json.dumps(row) + "\n" for row in rows)
    found = layout.lines(text[:num_left])
    assert found == rows[: len(found)]
    assert len(found) >= text[:num_left].count("\n")


def test_lines_end_at_what_is_no_row():
    assert layout.lines('{"a": 1}\n[2]\n{"a": 3}\n') == [{"a": 1}]
