"""Folds are disjoint, the gate refuses leaks, and a file keeps them."""

import json
import re

import pyarrow as pa
import pytest

from lus_ray.errors import FoldError
from lus_ray.folds import Fold, fingerprint, fixed_test, gate, read, rotating, write
from tests.folds.test_protocols import singles, table


def test_split_of_names_the_split_or_none():
    fold = Fold(0, train=("b", "a"), val=("c",), test=("d",))
    assert fold.train == ("a", "b")
    assert [fold.split_of(p) for p in "acdz"] == ["train", "val", "test", None]


def test_a_patient_in_two_splits_is_refused_by_name():
    with pytest.raises(FoldError, match=r"fold 1: patient 'b' is in train and in test"):
        Fold(1, train=("a", "b"), test=("b", "c"))


ONE_GROUP = table([("a", "g", 0), ("b", "g", 0)])
EQUAL_PIXELS = singles(2).set_column(4, "sha256", pa.array(["same", "same"]))


@pytest.mark.parametrize(
    ("fold", "index", "message"),
    [
        (Fold(0, train=("a",), test=("b",)), ONE_GROUP, "leak group 'g' is in two splits: 'a' in"),
        (Fold(0, train=("p00",), test=("p01",)), EQUAL_PIXELS, "equal pixels 'same'"),
        (Fold(0, train=("p00",), test=("q",)), singles(1), "patient 'q' is not in this store"),
        (Fold(3, train=(), test=("p00",)), singles(1), "fold 3: no patient to train on"),
    ],
)
def test_the_gate_refuses(fold, index, message):
    with pytest.raises(FoldError, match=message):
        gate([fold], index)


def test_written_folds_read_back_equal_with_protocol_seed_and_fingerprint(tmp_path):
    folds = fixed_test().assign(singles(12), seed=7)
    write(folds, tmp_path / "folds.json", protocol=fixed_test(), seed=7)
    assert read(tmp_path / "folds.json") == folds
    plan = json.loads((tmp_path / "folds.json").read_text())
    assert (plan["seed"], plan["protocol"]["name"]) == (7, "fixed_test")
    assert plan["fingerprint"] == fingerprint(folds)


def test_folds_edited_by_hand_are_refused(tmp_path):
    path = tmp_path / "folds.json"
    write([Fold(0, train=("a",), test=("b",))], path, protocol=rotating(3), seed=0)
    path.write_text(path.read_text().replace('"b"', '"c"'))
    with pytest.raises(FoldError, match="fingerprint"):
        read(path)


def numbered(*numbers):
    return json.dumps({"folds": [{"number": n, "train": ["a"], "test": ["b"]} for n in numbers]})


NUMBERS = [(1, 2), (0, 0), (0, 2), (0, 1.0), (0, True), ("0", "1"), ()]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        *((text, "") for text in ("", "[]", "{}", '{"folds": [{}]}')),
        ('{"folds": [{"number": 0, "train": "abc"}]}', "a split is a list of patients, not 'abc'"),
        *((numbered(*numbers), "folds are numbered 0, 1, 2, ..., each") for numbers in NUMBERS),
    ],
)
def test_a_file_that_does_not_list_folds_numbered_from_0_is_refused(tmp_path, text, message):
    path = tmp_path / "splits.json"
    path.write_text(text)
    with pytest.raises(FoldError, match=rf"splits\.json: no folds here .*{re.escape(message)}"):
        read(path)


def test_a_missing_file_is_named_with_the_reason(tmp_path):
    with pytest.raises(FoldError, match=r"none\.json: not readable \(No such file or directory\)$"):
        read(tmp_path / "none.json")


def test_folds_may_be_listed_in_any_order(tmp_path):
    (tmp_path / "splits.json").write_text(numbered(2, 0, 1))
    assert [fold.number for fold in read(tmp_path / "splits.json")] == [2, 0, 1]
