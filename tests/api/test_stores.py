"""`import lus_ray as lus`: stores as tables and arrays, folds as a table."""

import numpy as np
import pytest

import lus_ray as lus
from lus_ray.clip import SCHEMA, frames_of, make_row
from lus_ray.data import store as stores
from lus_ray.data.labels import SEVERITY, Label
from lus_ray.errors import FoldError, SourceError, StoreError
from lus_ray.folds import k_fold


@pytest.fixture
def own_labels(tmp_path):
    """Nine clips of nine patients, two of them in one group, six with a label of one's own."""
    with stores.Writer(tmp_path, "mine") as writer:
        for number in range(9):
            labels = None if number > 5 else {"effusion": "yes" if number % 2 else "no"}
            frames = np.full((2, 4, 6), number, np.uint8)
            row = {"clip": f"mine/c{number}", "patient": f"mine/p{number}", "source": "mine"}
            group = "mine/p0" if number == 1 else None
            writer.add(make_row(frames, **row, group=group, labels=labels))
    kind = {"classes": ["no", "yes"], "ordered": False}
    stores.record_source(tmp_path, "mine", {"labels": {"effusion": kind}})
    return tmp_path


def test_a_store_has_a_row_for_each_clip_and_each_patient(phantom_store):
    store = lus.open_store(phantom_store)
    assert len(store) == len(store.clips) == 48
    assert set(store.clips.columns) < set(SCHEMA.names)
    assert not {"frames", "masks", "signature"} & set(store.clips.columns)
    assert store.clips["severity"].isin(range(4)).all()
    assert store.patients["clips"].tolist() == [2] * 24
    assert repr(store).startswith(f"Store('{phantom_store}': 48 clips of 24 patients, labels sev")
    assert store.labels["severity"] == SEVERITY
    assert store.ledger["action"].tolist() == ["noted"]


def test_frames_are_arrays_of_grey_values(phantom_store):
    store = lus.open_store(str(phantom_store))
    first, last = store.clips["clip"].iloc[[0, -1]]
    assert (store.frames(first).shape, store.frames(first).dtype) == ((8, 64, 64), np.uint8)
    assert store.masks(first) is None
    rows = {row["clip"]: row for row in store.read([last, first])}
    assert list(rows) == [last, first]
    assert np.array_equal(rows[first]["frames"], frames_of(next(stores.read(phantom_store))))
    assert sum(1 for _ in store.read()) == 48
    with pytest.raises(StoreError, match="no clip 'x'; see the column 'clip'"):
        store.frames("x")


def test_labels_of_ones_own_are_columns(own_labels):
    store = lus.open_store(own_labels)
    assert store.labels == {"effusion": Label("effusion", ("no", "yes"))}
    assert store.clips["effusion"].tolist()[:3] == ["no", "yes", "no"]
    assert store.clips["effusion"].isna().sum() == 3
    folds = lus.folds(store, 3, label="effusion")
    assert folds.loc["mine/p0"].tolist() == folds.loc["mine/p1"].tolist()
    assert ((folds == "test").sum(axis=1) == 1).all()


def test_folds_are_those_of_the_studies(phantom_store):
    table = lus.folds(phantom_store, 4, label="severity", seed=3)
    (fold, *_) = k_fold(4).assign(stores.read_index(phantom_store), seed=3)
    assert tuple(table.index[table[0] == "test"]) == fold.test
    assert tuple(table.index[table[0] == "val"]) == fold.val
    joined = lus.open_store(phantom_store).clips.join(table, on="patient")
    assert (joined[0] == "train").sum() == 2 * len(fold.train)


def test_folds_of_a_label_that_nobody_has_are_refused(own_labels):
    with pytest.raises(FoldError, match="no clip has the label 'severity'; they have effusion"):
        lus.folds(own_labels)


def test_ingest_gives_the_store(tmp_path):
    options = {"patients": 1, "clips": 2, "frames": 2, "size": 64, "masks": "none"}
    store = lus.ingest("phantom", None, tmp_path / "store", **options, workers=1)
    assert len(store) == 2
    assert "2 clips" in lus.check(store).text()
    with pytest.raises(SourceError, match="did you mean 'phantom'"):
        lus.ingest("phantoms", None, tmp_path / "other")
