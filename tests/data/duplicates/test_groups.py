import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lus_ray import clip
from lus_ray.data import store
from lus_ray.data.duplicates import groups
from lus_ray.data.duplicates.groups import LABELS, assign_groups, compute_signature, find_pairs
from lus_ray.errors import StoreError
from lus_ray.folds import gate, rotating
from tests.planted import mirrored, rescaled, tissue

RNG = np.random.default_rng(0)


def table(rows: list[dict]) -> pa.Table:
    """An index of clips; missing columns are null."""
    names = ("clip", "patient", "sha256", "signature", *LABELS)
    schema = pa.schema([clip.SCHEMA.field(name) for name in names])
    return pa.Table.from_pylist([{name: row.get(name) for name in names} for row in rows], schema)


def join(index: pa.Table) -> dict[str, str]:
    return groups.join_groups(index, find_pairs(index))


indexes = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 15)), min_size=1, max_size=30).map(
    lambda rows: [
        {"clip": f"s/{number:02}", "patient": f"s/p{patient:02}", "sha256": f"{pixels}"}
        for number, (patient, pixels) in enumerate(rows)
    ]
)
"""Clips of thirteen patients with sixteen different videos."""


@pytest.mark.slow
@given(indexes)
def test_groups_are_chains_of_patients_and_pixels_named_after_the_smallest_patient(rows):
    expected = {}
    for row in rows:  # each clip spreads over its chain by itself
        chain = [row]
        while more := [r for r in rows if r not in chain and any(_touch(r, c) for c in chain)]:
            chain += more
        expected[row["clip"]] = min(clip["patient"] for clip in chain)
    assert join(table(rows)) == expected


@pytest.mark.slow
@given(indexes, st.randoms())
def test_groups_do_not_depend_on_the_order_of_rows(rows, random):
    shuffled = random.sample(rows, len(rows))
    assert join(table(rows)) == join(table(shuffled))
    assert find_pairs(table(rows)) == find_pairs(table(shuffled))


@pytest.mark.parametrize(
    ("labels", "conflicts"),
    [
        ([{"severity": 1}, {"severity": 1}], ()),
        ([{"severity": 1}, {"severity": 2}], ("severity",)),
        ([{"severity": 1}, {}], ()),
        ([{"disease": "healthy", "severity": 0}, {"disease": None, "severity": 3}], ("severity",)),
        ([{"biomarkers": [1, -1, 0]}, {"biomarkers": [1, 1, -1]}], ()),
        ([{"biomarkers": [1, -1, 0]}, {"biomarkers": [1, 1, 1]}], ("biomarkers",)),
    ],
)
def test_labels_that_contradict_each_other_are_listed(labels, conflicts):
    names = [{"clip": f"s/{k}", "patient": f"s/p{k}", "sha256": "same"} for k in range(2)]
    rows = [name | label for name, label in zip(names, labels, strict=True)]
    (pair,) = find_pairs(table(rows))
    assert (pair.one, pair.other, pair.kind, pair.similarity) == ("s/0", "s/1", "equal pixels", 1.0)
    assert pair.conflicts == conflicts


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: b"",
        lambda text: text[:4],
        lambda text: text[:6] + b"no zlib",
        lambda text: text[:-40],
        lambda text: text[:2] + b"\xff\xff" + text[4:],
        lambda text: b"\x01\x00" + text[2:],
    ],
)
def test_a_damaged_signature_is_refused_in_one_line_with_its_clip(damage):
    text = compute_signature(tissue(1))
    rows = [
        {"clip": f"s/{k}", "patient": f"s/p{k}", "sha256": f"{k}", "signature": signature}
        for k, signature in enumerate((text, damage(text)))
    ]
    with pytest.raises(StoreError, match=r"^clip 's/1': its signature is damaged[^\n]*$"):
        find_pairs(table(rows))


@pytest.fixture
def leaky(tmp_path):
    """Two sources; `b/2` is a mirrored, smaller copy of `a/1`, `b/3` has the pixels of `a/2`."""
    videos = {"a/1": tissue(1), "a/2": tissue(2), "b/1": tissue(3)}
    videos["b/2"] = rescaled(mirrored(videos["a/1"], RNG), RNG)
    videos["b/3"] = videos["a/2"]
    for source, severity in (("a", 1), ("b", 2)):
        with store.Writer(tmp_path, source) as writer:
            for name, frames in videos.items():
                columns = {"severity": severity, "signature": compute_signature(frames)}
                columns |= {"clip": name, "patient": f"{source}/p{name[-1]}", "source": source}
                if name.startswith(source):
                    writer.add(clip.make_row(frames, **columns))
    return tmp_path


@pytest.mark.slow
def test_grouping_joins_copies_across_sources_and_keeps_pixels_and_labels(leaky):
    before = list(store.read(leaky))
    joined = assign_groups(leaky)
    assert joined.groups == {"a/p1": ("a/p1", "b/p2"), "a/p2": ("a/p2", "b/p3")}
    copies = [(p.one, p.other, p.kind) for p in joined.pairs]
    assert copies == [("a/1", "b/2", "near copy"), ("a/2", "b/3", "equal pixels")]
    assert all(pair.conflicts == ("severity",) for pair in joined.pairs)
    after = list(store.read(leaky))
    assert [row["group"] for row in after] == ["a/p1", "a/p2", "b/p1", "a/p1", "a/p2"]
    assert [row | {"group": ""} for row in after] == [row | {"group": ""} for row in before]
    assert (joined.num_shards_rewritten, assign_groups(leaky).num_shards_rewritten) == (1, 0)
    index = store.read_index(leaky)
    for seed in range(10):
        gate(rotating(3, stratify=None).assign(index, seed=seed), index)


def _touch(a: dict, b: dict) -> bool:
    return a["patient"] == b["patient"] or a["sha256"] == b["sha256"]
