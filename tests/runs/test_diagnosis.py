import pyarrow as pa
import pytest

from experiments import biomarkers, classify, reverse_transfer
from lus_ray.clip import DISEASES
from lus_ray.data.labels import DIAGNOSIS, PNEUMONIA_DIAGNOSIS
from lus_ray.runs.diagnosis import fit_to_store

REVERSE = reverse_transfer.EXPERIMENT
PNEUMONIA, OTHER = "frame_f1 pneumonia", "frame_f1 other lung disease"


def store(*diseases, etiology=None):
    etiologies = [etiology if name == "other lung disease" else None for name in diseases]
    return pa.table({"clip": list(map(str, range(len(diseases)))),
                     "disease": pa.array(diseases, pa.string()),
                     "etiology": pa.array(etiologies, pa.string())})  # fmt: skip


def classes_of(experiment):
    arms = [arm for arm in experiment.arms if arm.label == "diagnosis"]
    return {arm.task.keywords.get("classes", DIAGNOSIS.classes) for arm in arms}


def test_a_store_with_etiologies_has_pneumonia_and_a_note_on_what_it_leaves_out():
    fitted, notes = fit_to_store(REVERSE, store(*DISEASES, None, etiology="viral"))
    assert fitted is REVERSE
    assert classes_of(fitted) == {PNEUMONIA_DIAGNOSIS.classes}
    assert PNEUMONIA in fitted.metrics
    (note,) = notes
    assert note.startswith("4 of 7 clips with a disease have no diagnosis")
    known = store("healthy", "COVID-19 pneumonia", "other lung disease", etiology="other")
    assert fit_to_store(REVERSE, known)[1] == ()


@pytest.mark.parametrize("diseases", [DISEASES, ("healthy",), (None,)])
def test_a_store_without_any_etiology_keeps_every_other_lung_disease_under_its_name(diseases):
    fitted, notes = fit_to_store(REVERSE, store(*diseases))
    assert classes_of(fitted) == {DIAGNOSIS.classes}
    assert [m for m in fitted.metrics if "pneumonia" in m and "COVID" not in m] == []
    assert fitted.published["none"][OTHER] == REVERSE.published["none"][PNEUMONIA]
    assert [arm.name for arm in fitted.arms] == [arm.name for arm in REVERSE.arms]
    assert notes[0].endswith("every other lung disease takes its place")


def test_a_study_without_a_diagnosis_stays_as_it_is():
    fitted, notes = fit_to_store(biomarkers.EXPERIMENT, store(*DISEASES))
    assert (fitted, notes) == (biomarkers.EXPERIMENT, ())


def test_a_study_of_one_label_keeps_the_classes_that_it_was_made_with():
    study = classify.make(DIAGNOSIS)
    assert fit_to_store(study, store(*DISEASES, etiology="viral")) == (study, ())
