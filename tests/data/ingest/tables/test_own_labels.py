import pytest

from lus_ray.data.ingest import folder
from lus_ray.data.ingest.tables import own_labels
from lus_ray.data.ingest.tables.label_table import TableRow
from lus_ray.data.labels import Label, class_index
from lus_ray.data.ledger import Ledger
from lus_ray.errors import SchemaError, SourceError


def column(*values, name="grade"):
    return [TableRow(f"labels.csv row {k}", {name: value}) for k, value in enumerate(values, 2)]


@pytest.mark.parametrize(
    ("values", "classes", "ordered"),
    [
        (("poor", "good", "poor", "good", ""), ("good", "poor"), False),
        (("10", "2", "2.0", "+10"), ("2", "10"), True),
        (("1", "0", "-99", "1", "n/a", "0"), ("0", "1"), True),
        (("none", "mild", "None of it", "none", "mild", "None of it"),
         ("None of it", "mild", "none"), False),
        (("1", "1b", "1", "1b"), ("1", "1b"), False),
    ],
)  # fmt: skip
def test_words_and_whole_numbers_are_classes(values, classes, ordered):
    assert own_labels.find_label("grade", column(*values)) == Label("grade", classes, ordered)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (("good", "good"), "1 value, and a label has 2 to 12"),
        ([str(number) for number in range(13)] * 2, "13 values, and a label has 2 to 12"),
        (("a", "b", "a"), "2 values in 3 rows are fewer than 2 clips a class"),
        (("1.5", "2", "1.5", "2"), "'1.5' is neither a whole number nor a word"),
        (("2024-05-01", "2024-05-02") * 2, "is neither a whole number nor a word"),
        (("good", "a remark that is longer than any name of a class is") * 2, "at most 40"),
    ],
)
def test_other_columns_are_no_labels_and_the_reason_says_why(values, reason):
    assert reason in own_labels.find_label("grade", column(*values))


@pytest.mark.parametrize("name", ["split", "Source", "tracks", "x masks", "(column 3)", "a" * 41])
def test_a_name_that_tables_use_or_files_cannot_have_is_no_label(name):
    assert "name" in own_labels.find_label(name, column(*"abab", name=name))


@pytest.mark.parametrize(
    ("values", "name", "message"),
    [
        (("Good", "good", "bad", "bad", "bad", "bad"), "grade", "classes 'Good' and 'good'; write"),
        ("abab", "diagnosis", "column 'diagnosis': the name 'diagnosis' is used by lus"),
    ],
)
def test_classes_that_differ_in_case_and_built_in_labels_are_refused(values, name, message):
    with pytest.raises(SourceError, match=message):
        own_labels.find_label(name, column(*values, name=name))


def test_classes_come_in_the_order_that_is_given_and_others_are_refused():
    given = own_labels.parse_classes(("grade=mild<severe< very severe", "view = b, a"))
    assert given["view"] == Label("view", ("b", "a"))
    numbers = own_labels.parse_classes(("stage=02<01",))["stage"]
    assert own_labels.find_label("stage", column("1", "02.0", name="stage"), numbers) == numbers
    rows = column("severe", "")  # too few rows without --classes
    assert own_labels.find_label("grade", rows, given["grade"]).classes[2] == "very severe"
    with pytest.raises(SourceError, match="row 2: 'grade' is 'sever'; did you mean 'severe'"):
        own_labels.find_label("grade", column("sever"), given["grade"])


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (("grade",), "write NAME=A<B<C"),
        (("grade=a",), "write NAME=A<B<C"),
        (("=a<b",), "write NAME=A<B<C"),
        (("grade=a<b,c",), "write NAME=A<B<C"),
        (("grade=a<b<a",), "'a' is listed twice"),
        (("grade=01<1.0",), "'1' is listed twice"),
        (("view=good,unknown",), "'unknown' means not known"),
        (("g=a,b", "g=a<b"), "'g' is given twice"),
    ],
)
def test_a_list_of_classes_that_cannot_be_read_is_refused(texts, message):
    with pytest.raises(SourceError, match=message):
        own_labels.parse_classes(texts)


@pytest.fixture
def root(tmp_path):
    for name in "abcd":
        (tmp_path / f"{name}.mp4").touch()
    lines = ["file,patient,view,remark", "a.mp4,1,long,x1", "b.mp4,2,short,", "c.mp4,3,,x2",
             "d.mp4,4,long,x3"]  # fmt: skip
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    return tmp_path


def test_a_folder_has_its_own_labels_by_clip_and_their_classes(root):
    ledger = Ledger()
    rows = list(folder.clips(root, ledger, classes=("view=short<long",)))
    assert [row.get("labels") for row in rows] == [
        {"view": "long"}, {"view": "short"}, None, {"view": "long"}
    ]  # fmt: skip
    assert own_labels.describe(ledger.labels) == {
        "view": {"classes": ["short", "long"], "ordered": True}
    }
    assert ledger.other_columns == ["remark"]
    assert class_index("view", rows[0], ("short", "long")) == 1
    assert class_index("view", {"labels": None}, ("short", "long")) is None
    with pytest.raises(SchemaError, match="label 'view' is 'long'; its classes are a, b"):
        class_index("view", {**rows[0], "clip": "folder/a"}, ("a", "b"))


@pytest.mark.parametrize(
    ("text", "message"),
    [("severity=0,1", "the classes of 'severity' are fixed"),
     ("views=a,b", "has no column 'views'; did you mean 'view'")],
)  # fmt: skip
def test_classes_of_no_own_column_are_refused(text, message, root):
    with pytest.raises(SourceError, match=message):
        list(folder.clips(root, Ledger(), classes=(text,)))
