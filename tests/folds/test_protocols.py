"""Folds: nobody on two sides, groups stay whole, the same deal on any machine."""

import json
from collections import Counter

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lus_ray.errors import FoldError
from lus_ray.folds import (
    Fold,
    fingerprint,
    fixed_test,
    gate,
    k_fold,
    official,
    one_split,
    read,
    rotating,
    write,
)
from lus_ray.folds.grouping import split_groups


def table(rows: list[tuple[str, str, int | None]]) -> pa.Table:
    """An index with one row for each (patient, group, severity)."""
    patients, groups, severities = zip(*rows, strict=True)
    names = [f"clip {number}" for number in range(len(rows))]
    return pa.table(
        {
            "clip": names,
            "patient": patients,
            "group": groups,
            "severity": pa.array(severities, pa.int8()),
            "sha256": names,
        }
    )


def singles(num_patients: int, num_clips: int = 1) -> pa.Table:
    """Patients p00, p01, ... each a group of its own, severity 0-3 in turn."""
    return table(
        [(f"p{n:02}", f"p{n:02}", n % 4) for n in range(num_patients) for _ in range(num_clips)]
    )


indexes = st.lists(
    st.tuples(st.integers(0, 40), st.none() | st.integers(0, 3)), min_size=12, max_size=80
).map(lambda rows: table([(f"p{n:02}", f"g{n // 2:02}", label) for n, label in rows]))
"""Patients in groups of two, some clips without a label."""


def num_groups(index: pa.Table) -> int:
    return len(set(index["group"].to_pylist()))


def test_a_patient_on_two_sides_is_refused_by_name():
    with pytest.raises(FoldError, match=r"fold 1: patient 'b' is in train and in test"):
        Fold(1, train=("a", "b"), test=("b", "c"))


def test_split_of_names_the_side_or_none():
    fold = Fold(0, train=("b", "a"), val=("c",), test=("d",))
    assert fold.train == ("a", "b")
    assert [fold.split_of(p) for p in "acdz"] == ["train", "val", "test", None]


@settings(deadline=None)
@given(indexes, st.sampled_from([rotating, k_fold]), st.integers(3, 5), st.integers(0, 3))
def test_every_patient_is_tested_exactly_once(index, protocol, k, seed):
    if num_groups(index) < k:
        with pytest.raises(FoldError, match="groups of patients cannot fill"):
            protocol(k).assign(index, seed=seed)
        return
    folds = protocol(k).assign(index, seed=seed)
    gate(folds, index)
    tested = Counter(patient for fold in folds for patient in fold.test)
    assert tested == Counter(set(index["patient"].to_pylist()))
    assert all(set(f.train) | set(f.val) | set(f.test) == set(tested) for f in folds)
    assert all(fold.train and fold.val and fold.test for fold in folds)


@settings(deadline=None)
@given(indexes, st.permutations(range(80)))
def test_folds_do_not_depend_on_the_order_of_rows(index, order):
    if num_groups(index) < 4:
        return
    shuffled = index.take([n for n in order if n < index.num_rows])
    assert fixed_test().assign(index, seed=1) == fixed_test().assign(shuffled, seed=1)


@settings(deadline=None)
@given(indexes, st.integers(0, 5))
def test_a_group_never_splits(index, seed):
    if num_groups(index) < 4:
        return
    folds = fixed_test().assign(index, seed=seed)
    gate(folds, index)
    group_of = dict(zip(index["patient"].to_pylist(), index["group"].to_pylist(), strict=True))
    for fold in folds:
        sides = [{group_of[p] for p in side} for side in (fold.train, fold.val, fold.test)]
        assert sum(map(len, sides)) == len(set.union(*sides))


@settings(deadline=None)
@given(indexes, st.integers(2, 5))
def test_parts_differ_by_one_group_at_most_in_every_stratum_and_in_all(index, k):
    if num_groups(index) < k:
        return
    severity: dict[str, int] = {}
    for group, label in zip(index["group"].to_pylist(), index["severity"].to_pylist(), strict=True):
        severity[group] = max(severity.get(group, -1), -1 if label is None else label)
    parts = split_groups(index, (1 / k,) * k, seed=0, stratify="severity")
    for stratum in {*severity.values(), None}:
        chosen = {g for g, s in severity.items() if stratum is None or s == stratum}
        sizes = [len({f"g{int(p[1:]) // 2:02}" for p in part} & chosen) for part in parts]
        assert max(sizes) - min(sizes) <= 1


def test_another_seed_deals_otherwise():
    deals = {rotating(4).assign(singles(40), seed=seed) for seed in range(5)}
    assert len(deals) == 5


def test_a_known_deal_stays_what_it_is():
    first, *others = fixed_test().assign(singles(8), seed=0)
    assert first == Fold(
        0, train=("p01", "p03", "p04", "p06"), val=("p00", "p02"), test=("p05", "p07")
    )
    assert all(fold.test == first.test for fold in others)


def test_fixed_test_validates_every_other_part_once():
    folds = fixed_test(parts=4, cv=3).assign(singles(40), seed=0)
    assert len(folds) == 3
    assert {fold.test for fold in folds} == {folds[0].test}
    assert sorted(p for fold in folds for p in fold.val) == sorted(folds[0].train + folds[0].val)
    assert [len(f.train) for f in folds] == [20, 20, 20]


def test_a_quarter_of_what_k_folds_do_not_test_validates_in_every_stratum():
    for fold in k_fold(3).assign(singles(48), seed=0):
        assert [len(fold.train), len(fold.val), len(fold.test)] == [24, 8, 16]
        for side, number in ((fold.train, 6), (fold.val, 2), (fold.test, 4)):
            by_severity = Counter(int(patient[1:]) % 4 for patient in side)
            assert by_severity == dict.fromkeys(range(4), number)


def test_strata_of_a_group_or_two_leave_no_k_fold_without_its_quarter_to_validate():
    index = table([(f"p{n:02}", f"p{n:02}", None) for n in range(24)])
    index = index.append_column("disease", pa.array([f"disease {n // 2}" for n in range(24)]))
    for fold in k_fold(3, stratify="disease").assign(index, seed=0):
        assert [len(fold.train), len(fold.val), len(fold.test)] == [12, 4, 8]


@pytest.mark.parametrize("num_patients", [3, 4, 5])
def test_k_folds_of_very_few_patients_have_one_who_validates(num_patients):
    for fold in k_fold(3).assign(singles(num_patients), seed=0):
        assert len(fold.val) == 1
        assert fold.train


def test_one_split_keeps_its_shares():
    (fold,) = one_split(train=0.5, val=0.25, test=0.25).assign(singles(40), seed=0)
    assert [len(fold.train), len(fold.val), len(fold.test)] == [20, 10, 10]


def test_an_empty_share_makes_an_empty_side():
    (fold,) = one_split(train=0.5, val=0, test=0.5).assign(singles(8), seed=0)
    assert (len(fold.train), fold.val, len(fold.test)) == (4, (), 4)


def test_a_small_share_still_has_a_patient():
    (fold,) = one_split(train=0.98, val=0.01, test=0.01).assign(singles(6), seed=0)
    assert [len(fold.train), len(fold.val), len(fold.test)] == [4, 1, 1]


def test_a_patient_without_any_label_is_dealt_too():
    index = table([(f"p{n}", f"p{n}", None if n == 5 else 1) for n in range(9)])
    folds = rotating(3).assign(index, seed=0)
    assert sum("p5" in fold.test for fold in folds) == 1


def test_strata_can_be_names_ratios_or_nothing():
    index = singles(12)
    index = index.append_column("disease", pa.array(["healthy", None, "asthma"] * 4))
    index = index.append_column("sf_ratio", pa.array([450.0, 300.0, None] * 4, pa.float32()))
    for column in ("disease", "sf_ratio", None):
        parts = split_groups(index, (0.5, 0.5), seed=0, stratify=column)
        assert [len(part) for part in parts] == [6, 6]


def test_too_few_groups_are_refused_with_both_numbers():
    with pytest.raises(FoldError, match="3 groups of patients cannot fill 4 parts"):
        fixed_test(parts=4).assign(singles(3, num_clips=9), seed=0)


def test_a_patient_in_two_groups_is_refused():
    with pytest.raises(FoldError, match="patient 'a' is in groups 'a' and 'b'"):
        rotating(3).assign(table([("a", "a", 0), ("a", "b", 0), ("c", "c", 0)]), seed=0)


@pytest.mark.parametrize("column", ["colour", "raters"])
def test_a_column_that_cannot_stratify_is_named(column):
    index = singles(9).append_column("raters", pa.array([[1]] * 9))
    with pytest.raises(FoldError, match=column):
        rotating(3, stratify=column).assign(index, seed=0)


@pytest.mark.parametrize(
    "make",
    [
        lambda: fixed_test(parts=3, cv=3),
        lambda: rotating(2),
        lambda: k_fold(2),
        lambda: k_fold(3, one_in=1),
        lambda: one_split(train=0.5, val=0.1, test=0.1),
        lambda: one_split(train=0.0, val=0.5, test=0.5),
    ],
)
def test_an_impossible_protocol_is_refused_when_it_is_made(make):
    with pytest.raises(FoldError):
        make()


def test_the_gate_refuses_a_leak_group_on_two_sides():
    index = table([("a", "a", 0), ("b", "a", 0), ("c", "c", 0)])
    with pytest.raises(FoldError, match="leak group 'a' is on two sides: 'a' in train, 'b' in te"):
        gate([Fold(0, train=("a", "c"), test=("b",))], index)


def test_the_gate_refuses_equal_pixels_on_two_sides():
    index = singles(2).set_column(4, "sha256", pa.array(["same", "same"]))
    with pytest.raises(FoldError, match="equal pixels 'same'"):
        gate([Fold(0, train=("p00",), test=("p01",))], index)


def test_the_gate_refuses_a_patient_that_the_store_does_not_have():
    with pytest.raises(FoldError, match="patient 'q' is not in this store"):
        gate([Fold(0, train=("p00",), test=("q",))], singles(1))


def test_the_gate_refuses_a_fold_that_trains_on_nobody():
    with pytest.raises(FoldError, match="no patient to train on"):
        gate([Fold(3, train=(), test=("p00",))], singles(1))


def test_written_folds_read_back_equal_and_say_where_they_came_from(tmp_path):
    folds = fixed_test().assign(singles(12), seed=7)
    write(folds, tmp_path / "folds.json", protocol=fixed_test(), seed=7)
    assert read(tmp_path / "folds.json") == folds
    plan = json.loads((tmp_path / "folds.json").read_text())
    assert plan["seed"] == 7
    assert plan["protocol"]["name"] == "fixed_test"
    assert plan["fingerprint"] == fingerprint(folds)


def test_folds_edited_by_hand_are_refused(tmp_path):
    path = tmp_path / "folds.json"
    write([Fold(0, train=("a",), test=("b",))], path, protocol=rotating(3), seed=0)
    path.write_text(path.read_text().replace('"b"', '"c"'))
    with pytest.raises(FoldError, match="fingerprint"):
        read(path)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"folds": [{}]}', '{"folds": [{"number": 0, "train": "abc"}]}']
)
def test_a_file_without_folds_is_refused_by_name(tmp_path, text):
    path = tmp_path / "splits.json"
    path.write_text(text)
    with pytest.raises(FoldError, match=r"splits\.json: no folds here"):
        read(path)


def test_official_folds_keep_the_patients_that_are_here(tmp_path):
    path = tmp_path / "official.json"
    path.write_text('{"folds": [{"number": 0, "train": ["p00", "x"], "test": ["p01"]}]}')
    assert official(path).assign(singles(3), seed=0) == (Fold(0, train=("p00",), test=("p01",)),)
    assert official(path).describe()["file"] == "official.json"


@pytest.mark.parametrize(
    ("sides", "does"),
    [
        ({"train": ["x"], "test": ["p01"]}, "trains on"),
        ({"train": ["p01"], "test": ["x"]}, "tests"),
        ({"train": ["p01"], "test": []}, "tests"),
        ({"train": ["p01"]}, "tests"),
        ({"train": ["p01"], "val": ["x"], "test": ["p02"]}, "validates on"),
    ],
)
def test_official_folds_without_a_patient_on_a_side_are_refused(tmp_path, sides, does):
    path = tmp_path / "official.json"
    whole = {"number": 0, "train": ["p00"], "test": ["p01"]}
    path.write_text(json.dumps({"folds": [whole, {"number": 1, **sides}]}))
    with pytest.raises(FoldError, match=f"fold 1 {does} no patient of this store"):
        official(path).assign(singles(3), seed=0)


def test_patients_that_only_the_file_or_only_the_store_has_are_told_with_both_numbers(tmp_path):
    path = tmp_path / "official.json"
    folds = [
        {"number": 0, "train": ["p00", "p1"], "test": ["p01"]},
        {"number": 1, "train": ["p01", "p2", "p3", "p4"], "test": ["p00"]},
    ]
    path.write_text(json.dumps({"folds": folds}))
    assert official(path).misfits(singles(2)) == [
        "4 of 6 patients of official.json are not in the store: p1, p2, p3 and 1 more"
    ]
    assert official(path).misfits(singles(4))[1:] == [
        "2 of 4 patients of the store are in no fold of official.json and left out: p02, p03"
    ]
    path.write_text('{"folds": [{"number": 0, "train": ["p00"], "test": ["p01"]}]}')
    assert official(path).misfits(singles(2)) == []


@pytest.mark.parametrize("numbers", [[1, 2], [0, 0], [0, 2], [0, 1.0], [0, True], ["0", "1"], []])
def test_folds_are_numbered_from_0_each_once(tmp_path, numbers):
    path = tmp_path / "splits.json"
    folds = [{"number": n, "train": ["a"], "test": ["b"]} for n in numbers]
    path.write_text(json.dumps({"folds": folds}))
    with pytest.raises(FoldError, match=r"folds are numbered 0, 1, 2, \.\.\., each once, not"):
        read(path)


def test_folds_may_stand_in_any_order(tmp_path):
    path = tmp_path / "splits.json"
    folds = [{"number": n, "train": ["a"], "test": ["b"]} for n in (2, 0, 1)]
    path.write_text(json.dumps({"folds": folds}))
    assert [fold.number for fold in read(path)] == [2, 0, 1]
