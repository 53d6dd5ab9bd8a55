"""Folds over two domains: the same numbers for both, balanced in images, groups whole."""

from collections import Counter

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lus_ray.errors import FoldError
from lus_ray.folds import across_domains, gate
from tests.folds import test_protocols as protocols
from tests.folds.test_protocols import assert_tested_once, few

DOMAINS = ("cap", "covid")


def table(rows: list[tuple[str, str, str, int]]) -> pa.Table:
    """An index with one clip for each (patient, group, domain, number of images)."""
    patients, groups, domains, num_images = zip(*rows, strict=True)
    images = [[[frame, 0] for frame in range(number)] for number in num_images]
    index = protocols.table([(*names, None) for names in zip(patients, groups, strict=True)])
    index = index.append_column("domain", pa.array(domains, pa.string()))
    return index.append_column("images", pa.array(images, pa.list_(pa.list_(pa.int32()))))


def rows_of(domain: str) -> st.SearchStrategy[list[tuple[str, str, str, int]]]:
    """Six groups or more of one domain, each of one or two patients with one clip or more."""
    patient = st.lists(st.integers(1, 9), min_size=1, max_size=3)
    group = st.lists(patient, min_size=1, max_size=2)
    return st.lists(group, min_size=6, max_size=10).map(
        lambda groups: [
            (f"{domain}-{g}-{p}", f"{domain}-{g}", domain, num_images)
            for g, patients in enumerate(groups)
            for p, clips in enumerate(patients)
            for num_images in clips
        ]
    )


def index_of(cap: list[tuple], covid: list[tuple], num_shared: int = 0) -> pa.Table:
    """The first groups of both domains become groups with patients of both."""
    return table(
        [
            (patient, f"both-{group[-1]}" if int(group[-1]) < num_shared else group, domain, number)
            for patient, group, domain, number in cap + covid
        ]
    )


apart = st.builds(index_of, *map(rows_of, DOMAINS))
indexes, seeds = st.builds(index_of, *map(rows_of, DOMAINS), st.integers(0, 6)), st.integers(0, 99)
SINGLES = table([(f"{d}{n}", f"{d}{n}", d, 1) for d in DOMAINS for n in range(6)])


def per_domain(index: pa.Table, patients: tuple[str, ...]) -> Counter[str]:
    """Images of these patients by domain."""
    columns = (index[name].to_pylist() for name in ("patient", "domain", "images"))
    counts: Counter[str] = Counter()
    for patient, domain, images in zip(*columns, strict=True):
        counts[domain] += len(images) * (patient in patients)
    return +counts


@few
@given(indexes, st.integers(3, 6), st.booleans(), seeds, st.randoms(use_true_random=False))
def test_every_patient_is_tested_once_with_every_domain_in_any_order(index, k, val, seed, random):
    folds = across_domains(k, val).assign(index, seed=seed)
    order = random.sample(range(index.num_rows), index.num_rows)
    assert folds == across_domains(k, val).assign(index.take(order), seed=seed)
    gate(folds, index)
    assert [fold.number for fold in folds] == list(range(k))
    assert_tested_once(folds, index)
    for fold in folds:
        for split in ("train", "test", *(["val"] if val else [])):
            assert set(per_domain(index, getattr(fold, split))) == set(DOMAINS)
        assert val or fold.val == ()


@few
@given(apart, st.integers(3, 6), seeds)
def test_a_group_of_each_domain_validates_and_test_parts_differ_by_one_group(index, k, seed):
    folds = across_domains(k).assign(index, seed=seed)
    for fold in folds:
        groups = {patient.rpartition("-")[0] for patient in fold.val}
        assert sorted(group.partition("-")[0] for group in groups) == list(DOMAINS)
    parts = [per_domain(index, fold.test) for fold in folds]
    members = index.group_by("group").aggregate([("patient", "list")])["patient_list"]
    largest: Counter[str] = Counter()
    for patients in members.to_pylist():
        largest |= per_domain(index, tuple(patients))
    for domain in DOMAINS:
        numbers = [part[domain] for part in parts]
        assert max(numbers) - min(numbers) <= largest[domain]


def test_patients_of_the_published_numbers_fall_into_parts_as_published():
    """Mason 2021 tests one, two and three CAP patients (326 images), two COVID patients each."""
    cap = {"a": 148, "b": 60, "c": 51, "d": 30, "e": 20, "f": 17}
    covid = {"p": 160, "q": 159, "r": 161, "s": 158, "t": 170, "u": 169}
    index = table(
        [(name, name, "cap", number) for name, number in cap.items()]
        + [(name, name, "covid", number) for name, number in covid.items()]
    )
    folds = across_domains(3, val=False).assign(index, seed=0)
    assert sorted(per_domain(index, fold.test)["cap"] for fold in folds) == [81, 97, 148]
    assert sorted(len(set(fold.test) & set(cap)) for fold in folds) == [1, 2, 3]
    assert all(len(set(fold.test) & set(covid)) == 2 for fold in folds)


def test_a_clip_without_listed_images_counts_once():
    folds = across_domains(3).assign(SINGLES.drop_columns("images"), seed=4)
    assert folds == across_domains(3).assign(SINGLES, seed=4)
    assert [len(fold.test) for fold in folds] == [4, 4, 4]


def test_the_seed_decides_among_equals_and_spreads_who_validates():
    runs = [across_domains(3).assign(SINGLES, seed=seed) for seed in range(20)]
    assert len(set(runs[:5])) == 5
    assert len({patient for folds in runs for fold in folds for patient in fold.val}) == 12


def test_the_last_training_group_of_a_domain_never_validates():
    """One group of both domains and two of each: taking the first two would leave no CAP."""
    index = table(
        [("x", "x", "cap", 5), ("x", "x", "covid", 5)]
        + [(f"{d}{n}", f"{d}{n}", d, 1) for d in DOMAINS for n in range(2)]
    )
    for seed in range(20):
        for fold in across_domains(3).assign(index, seed=seed):
            assert set(per_domain(index, fold.train)) == set(DOMAINS)


TWO_GROUPS = [(f"cap{n}", f"cap{n // 2}", "cap", 1) for n in range(4)]
COVID = [(f"covid{n}", f"covid{n}", "covid", 1) for n in range(9)]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (TWO_GROUPS + COVID, "domain 'cap' has 2 groups of patients for 3 folds; use"),
        ([("a", "a", "cap", 1), ("b", "b", None, 1)], "clip 'clip 1' has no domain"),
    ],
)
def test_an_index_that_cannot_be_split_by_domain_is_refused(rows, message):
    with pytest.raises(FoldError, match=message):
        across_domains(3).assign(table(rows), seed=0)


def test_the_protocol_describes_itself():
    description = {"name": "across_domains", "k": 3, "val": False}
    assert across_domains(3, val=False).describe() == description
