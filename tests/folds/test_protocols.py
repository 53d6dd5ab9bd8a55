"""Protocols assign patients to folds: once each, by group, the same on any machine."""

import json
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lus_ray.errors import FoldError
from lus_ray.folds import SPLITS, Fold, across_domains, fixed_test, gate, k_fold, official
from lus_ray.folds.grouping import split_groups
from lus_ray.folds.protocols import (
    Official,
    one_split,
    rotating,
    round_robin,
    stratified_group_k_fold,
)


def table(rows: list[tuple[str, str, int | None]]) -> pa.Table:
    """An index with one row for each (patient, group, severity)."""
    patients, groups, severities = zip(*rows, strict=True)
    names = [f"clip {number}" for number in range(len(rows))]
    severity = pa.array(severities, pa.int8())
    columns = {"clip": names, "patient": patients, "group": groups, "severity": severity}
    return pa.table(columns | {"sha256": names})


def singles(num_patients: int, num_clips: int = 1) -> pa.Table:
    """Patients p00, p01, ... each a group of its own, severity 0-3 in turn."""
    return table(
        [(f"p{n:02}", f"p{n:02}", n % 4) for n in range(num_patients) for _ in range(num_clips)]
    )


indexes = st.lists(
    st.tuples(st.integers(0, 40), st.none() | st.integers(0, 3)), min_size=12, max_size=80
).map(lambda rows: table([(f"p{n:02}", f"g{n // 2:02}", label) for n, label in rows]))
"""Patients in groups of two, some clips without a label."""

orders = st.permutations(range(80))

few = settings(deadline=None, max_examples=25)


def sizes(fold: Fold) -> list[int]:
    return [len(getattr(fold, split)) for split in SPLITS]


def num_groups(index: pa.Table) -> int:
    return len(set(index["group"].to_pylist()))


def assert_tested_once(folds: tuple[Fold, ...], index: pa.Table) -> None:
    tested = Counter(patient for fold in folds for patient in fold.test)
    assert tested == Counter(set(index["patient"].to_pylist()))
    assert all({*fold.train, *fold.val, *fold.test} == set(tested) for fold in folds)


@few
@given(indexes, st.sampled_from([rotating, k_fold]), st.integers(3, 5), st.integers(0, 3), orders)
def test_every_patient_is_tested_once_and_groups_stay_whole(index, protocol, k, seed, order):
    if num_groups(index) < k:
        with pytest.raises(FoldError, match="groups of patients cannot fill"):
            protocol(k).assign(index, seed=seed)
        return
    folds = protocol(k).assign(index, seed=seed)
    gate(folds, index)
    assert_tested_once(folds, index)
    assert all(all(sizes(fold)) for fold in folds)
    shuffled = index.take([n for n in order if n < index.num_rows])
    assert folds == protocol(k).assign(shuffled, seed=seed)


@few
@given(indexes, st.integers(2, 5))
def test_parts_differ_by_one_group_at_most_in_every_stratum_and_in_all(index, k):
    assume(num_groups(index) >= k)
    severity: dict[str, int] = {}
    for group, label in zip(index["group"].to_pylist(), index["severity"].to_pylist(), strict=True):
        severity[group] = max(severity.get(group, -1), -1 if label is None else label)
    parts = split_groups(index, (1 / k,) * k, seed=0, stratify="severity")
    groups = [{f"g{int(patient[1:]) // 2:02}" for patient in part} for part in parts]
    for stratum in {*severity.values(), None}:
        chosen = {g for g, s in severity.items() if stratum is None or s == stratum}
        counts = [len(part & chosen) for part in groups]
        assert max(counts) - min(counts) <= 1


def test_another_seed_gives_other_folds():
    assert len({rotating(4).assign(singles(40), seed=seed) for seed in range(5)}) == 5


def test_known_folds_never_change():
    first, *others = fixed_test().assign(singles(8), seed=0)
    assert first == Fold(
        0, train=("p01", "p03", "p04", "p06"), val=("p00", "p02"), test=("p05", "p07")
    )
    assert all(fold.test == first.test for fold in others)


def test_fixed_test_validates_every_other_part_once():
    folds = fixed_test(parts=4, cv=3).assign(singles(40), seed=0)
    assert len({fold.test for fold in folds}) == 1
    assert sorted(p for fold in folds for p in fold.val) == sorted(folds[0].train + folds[0].val)
    assert [len(fold.train) for fold in folds] == [20, 20, 20]


def test_a_quarter_of_what_k_folds_do_not_test_validates_in_every_stratum():
    for fold in k_fold(3).assign(singles(48), seed=0):
        assert sizes(fold) == [24, 8, 16]
        for split, number in (("train", 6), ("val", 2), ("test", 4)):
            by_severity = Counter(int(patient[1:]) % 4 for patient in getattr(fold, split))
            assert by_severity == dict.fromkeys(range(4), number)


def test_strata_of_a_group_or_two_leave_no_k_fold_without_its_quarter_to_validate():
    index = singles(24).append_column("disease", pa.array([f"disease {n // 2}" for n in range(24)]))
    folds = k_fold(3, stratify="disease").assign(index, seed=0)
    assert [sizes(fold) for fold in folds] == [[12, 4, 8]] * 3


@pytest.mark.parametrize("num_patients", [3, 5])
def test_k_folds_of_very_few_patients_validate_on_one(num_patients):
    for fold in k_fold(3).assign(singles(num_patients), seed=0):
        assert len(fold.val) == 1
        assert fold.train


@pytest.mark.parametrize(
    ("shares", "num_patients", "expected"),
    [
        ((0.5, 0.25, 0.25), 40, [20, 10, 10]),
        ((0.5, 0, 0.5), 8, [4, 0, 4]),
        ((0.98, 0.01, 0.01), 6, [4, 1, 1]),
    ],
)
def test_one_split_keeps_its_shares_and_no_share_above_0_is_empty(shares, num_patients, expected):
    protocol = one_split(**dict(zip(SPLITS, shares, strict=True)))
    (fold,) = protocol.assign(singles(num_patients), seed=0)
    assert sizes(fold) == expected


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("disease", pa.array(["healthy", None, "asthma"] * 4)),
        ("sf_ratio", pa.array([450.0, 300.0, None] * 4, pa.float32())),
        (None, None),
    ],
)
def test_strata_can_be_names_ratios_or_nothing(column, values):
    index = singles(12).append_column(column, values) if column else singles(12)
    parts = split_groups(index, (0.5, 0.5), seed=0, stratify=column)
    assert list(map(len, parts)) == [6, 6]


RATED = singles(9).append_column("raters", pa.array([[1]] * 9))


@pytest.mark.parametrize(
    ("protocol", "index", "message"),
    [
        (fixed_test(parts=4), singles(3, 9), "3 groups of patients cannot fill 4 parts"),
        (rotating(3), table([("a", "a", 0), ("a", "b", 0), ("c", "c", 0)]), "in groups 'a' and"),
        (rotating(3, stratify="colour"), singles(9), "cannot stratify by 'colour'"),
        (rotating(3, stratify="raters"), RATED, "cannot stratify by 'raters'"),
    ],
)
def test_an_index_that_a_protocol_cannot_split_is_refused(protocol, index, message):
    with pytest.raises(FoldError, match=message):
        protocol.assign(index, seed=0)


@pytest.mark.parametrize(
    ("protocol", "arguments"),
    [
        (fixed_test, {"parts": 3, "cv": 3}),
        (rotating, {"k": 2}),
        (k_fold, {"k": 2}),
        (k_fold, {"k": 3, "one_in": 1}),
        (across_domains, {"k": 2}),
        (across_domains, {"k": 1, "val": False}),
        (one_split, {"train": 0.5, "val": 0.1, "test": 0.1}),
        (one_split, {"train": 0.0, "val": 0.5, "test": 0.5}),
    ],
)
def test_impossible_protocols_are_refused(protocol, arguments):
    with pytest.raises(FoldError, match=protocol.__name__):
        protocol(**arguments)


def published(folder: Path, *splits: dict[str, list[str]]) -> Official:
    folds = [{"number": number, **split} for number, split in enumerate(splits)]
    (folder / "official.json").write_text(json.dumps({"folds": folds}))
    return official(folder / "official.json")


SOUND = {"train": ["p00"], "test": ["p01"]}


def test_official_folds_keep_the_patients_of_the_store(tmp_path):
    protocol = published(tmp_path, {"train": ["p00", "x"], "test": ["p01"]})
    assert protocol.assign(singles(3), seed=0) == (Fold(0, train=("p00",), test=("p01",)),)
    assert protocol.describe()["file"] == "official.json"


@pytest.mark.parametrize(
    ("split", "patients", "verb"),
    [
        ("train", ["x"], "trains on"),
        ("val", ["x"], "validates on"),
        ("test", ["x"], "tests"),
        ("test", [], "tests"),
    ],
)
def test_official_folds_without_a_patient_in_a_split_are_refused(tmp_path, split, patients, verb):
    protocol = published(tmp_path, SOUND, {**SOUND, split: patients})
    with pytest.raises(FoldError, match=f"fold 1 {verb} no patient of this store"):
        protocol.assign(singles(3), seed=0)


def test_patients_that_only_the_file_or_only_the_store_has_are_noted_with_both_numbers(tmp_path):
    others = {"train": ["p01", "p1", "p2", "p3", "p4"], "test": ["p00"]}
    protocol = published(tmp_path, SOUND, others)
    assert protocol.notes(singles(2)) == [
        "4 of 6 patients of official.json are not in the store: p1, p2, p3 and 1 more"
    ]
    assert protocol.notes(singles(4))[1:] == [
        "2 of 4 patients of the store are in no fold of official.json and left out: p02, p03"
    ]
    assert published(tmp_path, SOUND).notes(singles(2)) == []


def classed(*sizes: int) -> pa.Table:
    """A patient each, with as many of class a, b and so on as these sizes."""
    names = [letter for letter, size in zip("abcd", sizes, strict=False) for _ in range(size)]
    patients = [f"{name}{number:02}" for number, name in enumerate(names)]
    index = table([(patient, patient, None) for patient in patients])
    return index.append_column("class", pa.array(names))


@pytest.mark.parametrize(
    ("sizes", "num_folds"), [((4, 4, 4), 3), ((1, 2), 3), ((12, 12, 12), 5), ((8, 8), 4)]
)
def test_small_cohorts_have_fewer_folds_and_say_so(sizes, num_folds):
    index = classed(*sizes)
    folds = stratified_group_k_fold(5).assign(index, seed=0)
    assert_tested_once(folds, index)
    gate(folds, index)
    assert len(folds) == num_folds
    notes = stratified_group_k_fold(5).notes(index)
    assert [note.partition(",")[0] for note in notes] == (
        [f"{num_folds} folds instead of 5"] if num_folds < 5 else []
    )


@few
@given(st.lists(st.integers(1, 6), min_size=2, max_size=4), st.integers(0, 20))
def test_a_class_trains_before_it_validates(sizes, seed):
    assume(sum(sizes) >= 3)
    for fold in stratified_group_k_fold(5).assign(classed(*sizes), seed=seed):
        trained = {patient[0] for patient in fold.train}
        assert trained >= {patient[0] for patient in fold.val}


def with_sites(sites: list[str | None]) -> pa.Table:
    index = singles(len(sites))
    return index.append_column("site", pa.array(sites, pa.string()))


def test_patients_of_one_hospital_after_the_other_go_to_the_folds_in_turn():
    index = with_sites(["B", "A", None, "A", "B", "A", "A"])
    # A: p01 p03 p05 p06; B: p00 p04; no hospital: p02.
    folds = round_robin(3).assign(index, seed=0)
    assert [fold.test for fold in folds] == [("p01", "p02", "p06"), ("p00", "p03"), ("p04", "p05")]
    assert [fold.val for fold in folds] == [folds[(n + 1) % 3].test for n in range(3)]
    assert folds == round_robin(3).assign(index.take([6, 2, 0, 1, 5, 4, 3]), seed=9)
    assert round_robin(3).notes(index) == ["1 of 7 clips have no site: assigned last"]
    assert round_robin(3).notes(with_sites(["A"] * 3)) == []


def test_round_robin_keeps_groups_whole_and_tests_everybody_once():
    index = table([(f"p{n:02}", f"g{n // 2:02}", None) for n in range(16)])
    index = index.append_column("site", pa.array([f"s{n % 3}" for n in range(16)]))
    folds = round_robin(5).assign(index, seed=0)
    assert_tested_once(folds, index)
    gate(folds, index)
    with pytest.raises(FoldError, match="8 groups of patients cannot fill 9 parts"):
        round_robin(9).assign(index, seed=0)
    with pytest.raises(FoldError, match="k is 2; use at least 3"):
        round_robin(2)
