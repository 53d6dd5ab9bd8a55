"""Folds over two domains: the same numbers for both, balanced in images, groups whole."""

from collections import Counter

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lus_ray.errors import FoldError
from lus_ray.folds import Protocol, across_domains, gate

DOMAINS = ("cap", "covid")


def table(rows: list[tuple[str, str, str, int]]) -> pa.Table:
    """An index with one clip for each (patient, group, domain, number of images)."""
    patients, groups, domains, num_images = zip(*rows, strict=True)
    names = [f"clip {number}" for number in range(len(rows))]
    images = [[[frame, 0] for frame in range(number)] for number in num_images]
    return pa.table(
        {
            "clip": names,
            "patient": patients,
            "group": groups,
            "domain": pa.array(domains, pa.string()),
            "sha256": names,
            "images": pa.array(images, pa.list_(pa.list_(pa.int32()))),
        }
    )


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


apart = st.tuples(*map(rows_of, DOMAINS)).map(lambda both: table(both[0] + both[1]))
"""Groups of one domain each."""

shared = st.tuples(*map(rows_of, DOMAINS), st.integers(1, 6)).map(
    lambda given: table(
        [
            (patient, f"both-{group[-1]}" if int(group[-1]) < given[2] else group, domain, number)
            for patient, group, domain, number in given[0] + given[1]
        ]
    )
)
"""Some groups, or all of some domain's, hold patients of both domains."""

indexes, seeds = apart | shared, st.integers(0, 99)
SINGLES = table([(f"{d}{n}", f"{d}{n}", d, 1) for d in DOMAINS for n in range(6)])
few = settings(deadline=None, max_examples=40)


def per_domain(index: pa.Table, patients: tuple[str, ...]) -> Counter[str]:
    """Images of these patients by domain."""
    columns = (index[name].to_pylist() for name in ("patient", "domain", "images"))
    counts: Counter[str] = Counter()
    for patient, domain, images in zip(*columns, strict=True):
        counts[domain] += len(images) * (patient in patients)
    return +counts


@few
@given(indexes, st.integers(3, 6), st.booleans(), seeds)
def test_every_patient_is_tested_once_and_every_split_has_every_domain(index, k, val, seed):
    folds = across_domains(k, val).assign(index, seed=seed)
    gate(folds, index)
    assert [fold.number for fold in folds] == list(range(k))
    patients = set(index["patient"].to_pylist())
    assert Counter(patient for fold in folds for patient in fold.test) == Counter(patients)
    for fold in folds:
        assert {*fold.train, *fold.val, *fold.test} == patients
        for split in ("train", "test", *(["val"] if val else [])):
            assert set(per_domain(index, getattr(fold, split))) == set(DOMAINS)
        assert val or fold.val == ()


@few
@given(apart, st.integers(3, 6), seeds)
def test_test_parts_of_a_domain_differ_by_no_more_than_its_largest_group(index, k, seed):
    folds = across_domains(k, val=False).assign(index, seed=seed)
    parts = [per_domain(index, fold.test) for fold in folds]
    largest: Counter[str] = Counter()
    for group in set(index["group"].to_pylist()):
        members = index.filter(pa.compute.equal(index["group"], group))["patient"].to_pylist()
        largest |= per_domain(index, tuple(members))
    for domain in DOMAINS:
        numbers = [part[domain] for part in parts]
        assert max(numbers) - min(numbers) <= largest[domain]


@few
@given(indexes, st.randoms(use_true_random=False), seeds)
def test_the_order_of_rows_changes_nothing(index, random, seed):
    order = random.sample(range(index.num_rows), index.num_rows)
    protocol = across_domains()
    assert protocol.assign(index.take(order), seed=seed) == protocol.assign(index, seed=seed)


@few
@given(apart, seeds)
def test_one_group_of_each_domain_validates(index, seed):
    for fold in across_domains().assign(index, seed=seed):
        groups = {patient.rpartition("-")[0] for patient in fold.val}
        assert sorted(group.partition("-")[0] for group in groups) == list(DOMAINS)


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


@pytest.mark.parametrize(("k", "val"), [(2, True), (1, False), (0, True)])
def test_too_few_folds_are_refused(k, val):
    with pytest.raises(FoldError, match=f"across_domains: k is {k}; use at least"):
        across_domains(k, val)


def test_the_protocol_describes_itself():
    protocol = across_domains(3, val=False)
    assert isinstance(protocol, Protocol)
    assert protocol.describe() == {"name": "across_domains", "k": 3, "val": False}
