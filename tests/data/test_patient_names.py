import pytest

from lus_ray.data.ingest.patients import unify_patients
from lus_ray.data.ledger import Ledger
from lus_ray.data.patient_names import find_same, find_similar, match_names, normalize_name


@pytest.mark.parametrize(
    "written",
    [
        " P-007 ", "P-007\u00a0", "P\u2011007", "P\u2013007", "P\u2212007",
        "\uff30-\uff10\uff10\uff17",
        "P-\u200b007", "\ufeffP-007", "P-007\u200e", "P\ufe0f-007", "P-\u00ad007",
    ],
)  # fmt: skip
def test_blanks_dashes_and_unicode_forms_do_not_make_another_patient(written):
    assert normalize_name(written) == "P-007"


def test_inner_blanks_count_once_and_letters_are_composed():
    assert normalize_name("A \u00a0\t1") == "A 1"
    assert normalize_name("Cle\u0301") == "Cl\u00e9"
    assert normalize_name(normalize_name("\u212b\u0323")) == normalize_name("\u212b\u0323")


def test_names_that_differ_in_case_are_the_same_and_others_similar():
    names = ["P-007", "p-007", "P-07", "P 7", "P007", "P-70", "STRASSE", "straße", "1-1", "11"]
    assert find_same(names) == (("P-007", "p-007"), ("STRASSE", "straße"))
    assert find_similar(names) == (("P 7", "P-007", "P-07", "P007"),)
    assert find_similar(["7", "7.0", "007", "70"]) == (("007", "7", "7.0"),)
    assert find_similar(["1-1", "1 1", "1_1", "11"]) == (("1 1", "1-1", "1_1"),)
    assert find_similar(["\u0420-1", "P-1"]) == (("P-1", "\u0420-1"),)  # a Cyrillic letter


def test_a_name_matches_itself_before_the_same_and_the_same_before_a_similar_one():
    others = ["x/P-7", "x/p-7", "x/P-07", "y/1"]
    assert match_names(["x/P-7", "x/P\u20117", "x/P7", "z/1"], others) == {
        "x/P-7": ("x/P-7", True),
        "x/P\u20117": ("x/P-7", True),
        "x/P7": ("x/P-07", False),
    }


def unify(*patients):
    """Pairs of clip number and patient in the new order, and the ledger."""
    ledger = Ledger()
    items = [
        {"clip": f"x/{number}", "patient": name and f"x/{name}"}
        for number, name in enumerate(patients)
    ]
    unified = unify_patients(items, "x", ledger)
    return [(item["clip"][2:], item["patient"]) for item in unified], ledger


def test_one_patient_has_one_spelling_and_its_clips_are_neighbours():
    unified, ledger = unify("A 1", "B", "A  1", "b", "C-01", "C-1")
    assert unified == [
        ("0", "x/A 1"), ("2", "x/A 1"), ("1", "x/B"), ("3", "x/b"), ("4", "x/C-01"), ("5", "x/C-1")
    ]  # fmt: skip
    notes = {entry.item: entry.reason for entry in ledger.entries}
    assert list(notes) == ["x/2", "x/b", "x/C-1"]
    assert "patient 'x/A  1' counts as 'x/A 1'" in notes["x/2"]
    assert "only in case: kept in one group" in notes["x/b"]
    assert "may be the same patient as 'x/C-01'" in notes["x/C-1"]


@pytest.mark.parametrize("name", ["NA", "nan", "None", "n/a", "Unknown", "?"])
def test_clips_under_a_text_for_an_unknown_name_are_not_joined_as_one_patient(name):
    unified, ledger = unify(name, "NA 1", name)
    assert unified == [("1", "x/NA 1")]
    reason = f"patient 'x/{name}' means an unknown name; write a name, or leave it empty"
    assert [(entry.item, entry.reason) for entry in ledger.entries] == [
        ("x/0", reason), ("x/2", reason)
    ]  # fmt: skip


def test_a_name_without_a_letter_is_missing_and_one_with_a_lost_letter_is_skipped():
    unified, ledger = unify("\u200b", None, "Cl\ufffd", "a\x07")
    assert unified == [("0", None), ("1", None)]
    skipped = [entry.item for entry in ledger.entries if entry.action == "skipped"]
    assert skipped == ["x/2", "x/3"]
