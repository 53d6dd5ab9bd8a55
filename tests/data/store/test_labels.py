"""Labels of one's own in the manifest of a store, and tables of versions that lack columns."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lus_ray.clip import LATER_COLUMNS, SCHEMA, make_row
from lus_ray.data import store
from lus_ray.data.labels import Label
from lus_ray.errors import SchemaError, StoreError

FRAMES = np.zeros((2, 8, 8), np.uint8)


def row(number, **columns):
    names = {"clip": f"a/{number}", "patient": f"a/{number}", "source": "a"}
    return make_row(FRAMES + number, **names, **columns)


def describe(text):
    ordered = "<" in text
    return {"classes": text.split("<" if ordered else ","), "ordered": ordered}


@pytest.mark.parametrize(
    ("one", "other", "merged"),
    [
        ("b,a", "c,a", Label("x", ("a", "b", "c"))),
        ("0<1<2", "0<2", Label("x", ("0", "1", "2"), ordered=True)),
        ("b,a", "a<b<c", Label("x", ("a", "b", "c"), ordered=True)),
        ("0<1<2", "0<3", None),
        ("a<b", "b<a", None),
        ("a<b", "a,c", None),
    ],
)
def test_classes_of_several_sources_are_united_where_their_orders_fit(one, other, merged):
    for first, second in ((one, other), (other, one)):
        sources = {
            "a": {"labels": {"x": describe(first)}},
            "b": {"labels": {"x": describe(second)}},
        }
        if merged is None:
            with pytest.raises(
                StoreError, match=r"label 'x' has the classes .* in source 'b', but"
            ):
                store.merge_labels("clips", sources)
        else:
            assert store.merge_labels("clips", {**sources, "old": {}}) == {"x": merged}


def test_a_row_keeps_its_labels_as_a_dict(tmp_path):
    columns = {"labels": {"view": "long"}, "sex": "male", "age": 40, "site": "Ost"}
    with store.Writer(tmp_path, "a") as writer:
        writer.add(row(0, **columns))
        writer.add(row(1))
    read = list(store.read(tmp_path))
    assert {name: read[0][name] for name in columns} == columns
    assert read[1]["labels"] is None


def test_columns_that_a_store_lacks_are_null_and_do_not_change_its_fingerprint(tmp_path):
    with store.Writer(tmp_path / "now", "a") as writer:
        for number in range(3):
            writer.add(row(number, severity=number))
    (shard,) = store.list_shards(tmp_path / "now")
    before = pq.read_table(shard).drop_columns(list(LATER_COLUMNS))
    (tmp_path / "before" / "clips").mkdir(parents=True)
    pq.write_table(before, tmp_path / "before" / "clips" / shard.name)
    rows = list(store.read(tmp_path / "before"))
    assert list(rows[0]) == SCHEMA.names
    assert [rows[0][name] for name in LATER_COLUMNS] == [None] * len(LATER_COLUMNS)
    old, new = (store.read_index(tmp_path / name) for name in ("before", "now"))
    assert old.column_names == new.column_names
    assert store.fingerprint(old) == store.fingerprint(new)
    store.replace_groups(tmp_path / "before", {"a/0": "a/1"})
    assert next(store.read(tmp_path / "before"))["group"] == "a/1"
    pq.write_table(before.drop_columns(["probe"]), tmp_path / "before" / "clips" / shard.name)
    with pytest.raises(StoreError, match="column 'probe' is None"):
        store.read_index(tmp_path / "before")


@pytest.mark.parametrize(
    "columns",
    [
        {"sex": "f"}, {"age": 121}, {"age": -1}, {"bmi": 4}, {"site": 3}, {"labels": {}},
        {"labels": {"view": 1}}, {"labels": [("view", "long")]}, {"labels": {"view": " "}},
        {"etiology": "viral"}, {"etiology": "viral", "disease": "healthy"},
        {"etiology": "fungal", "disease": "other lung disease"},
    ],
)  # fmt: skip
def test_a_value_that_a_column_does_not_allow_is_refused(columns):
    with pytest.raises(SchemaError, match=f"clip 'a/0': {next(iter(columns))} is"):
        row(0, **columns)


def test_a_fingerprint_counts_what_a_later_column_holds():
    def of(**columns):
        return store.fingerprint(pa.Table.from_pylist([row(0, **columns)], SCHEMA))

    assert len({of(), of(sex="male"), of(labels={"a": "b"}), of(labels={"a": "c"})}) == 4
