"""The label of a study of any one label: named, or the only one of a store."""

import numpy as np
import pytest

from lus_ray.clip import make_row
from lus_ray.data import store
from lus_ray.data.labels import DISEASE, PNEUMONIA_DIAGNOSIS, SEVERITY, Label
from lus_ray.errors import InputError
from lus_ray.orchestration.target_label import choose_label, find_labels

GRADE = Label("grade", ("mild", "severe"), ordered=True)


@pytest.fixture
def clips(tmp_path):
    """A function that writes a store of clips given as columns."""

    def write(*clips, labels=()):
        with store.Writer(tmp_path, "t") as writer:
            for number, columns in enumerate(clips):
                names = {"clip": f"t/{number}", "patient": f"t/p{number}", "source": "t"}
                writer.add(make_row(np.full((1, 4, 4), number, np.uint8), **names, **columns))
        facts = {own.name: {"classes": own.classes, "ordered": own.ordered} for own in labels}
        store.record_source(tmp_path, "t", {"labels": facts})
        return tmp_path

    return write


def choose(data, name=None):
    notes = []
    return choose_label("classify", data, name, notes.append), notes


def test_the_only_label_with_two_classes_is_taken_with_a_note(clips):
    data = clips({"severity": 0, "disease": "healthy"}, {"severity": 3, "disease": "healthy"})
    assert choose(data) == (SEVERITY, [f"note: label severity, the only one of {data}"])


def test_a_label_of_ones_own_is_taken_by_its_name(clips):
    mild, severe = ({"labels": {"grade": name}, "severity": 0} for name in GRADE.classes)
    assert choose(clips(mild, severe, labels=[GRADE]), "grade") == (GRADE, [])


def test_the_diagnosis_follows_from_the_disease_and_must_be_named(clips):
    sick = {"disease": "other lung disease", "etiology": "bacterial"}
    data = clips({"disease": "healthy"}, sick)
    assert find_labels(data) == {"disease": DISEASE, "diagnosis": PNEUMONIA_DIAGNOSIS}
    assert choose(data)[0] == DISEASE
    assert choose(data, "diagnosis") == (PNEUMONIA_DIAGNOSIS, [])


@pytest.mark.parametrize(
    ("columns", "name", "message"),
    [
        ({}, None, "no label with two classes"),
        ({}, "disease", "no clip of .* has it; it has none with two classes"),
        ({"severity": 0, "sf_ratio": 100.0}, None, "choose one: lus run classify .* severity"),
        ({"severity": 0}, "severty", "did you mean 'severity'"),
    ],
)
def test_labels_that_a_store_lacks_and_an_open_choice_are_refused(clips, columns, name, message):
    other = {"severity": 1, "sf_ratio": 450.0}
    data = clips(columns, {column: other[column] for column in columns})
    with pytest.raises(InputError, match=message) as caught:
        choose(data, name)
    assert "\n" not in str(caught.value)


def test_phantom_clips_have_the_labels_that_are_built_in():
    assert choose(None) == (SEVERITY, [])
    assert choose(None, "disease") == (DISEASE, [])
    with pytest.raises(InputError, match="phantom clips have severity"):
        choose(None, "grade")


def test_the_command_of_a_choice_quotes_names_with_spaces(clips):
    own = [Label(name, ("x", "y")) for name in ("image quality", "view")]
    one, two = ({"labels": dict.fromkeys(("image quality", "view"), text)} for text in "xy")
    with pytest.raises(InputError, match=r"--label 'image quality'$"):
        choose(clips(one, two, labels=own))
