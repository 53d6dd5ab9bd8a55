import numpy as np
import pyarrow as pa
import pytest

from lus_ray.clip import SCHEMA
from lus_ray.data.duplicates.groups import compute_signature
from lus_ray.data.duplicates.overlap import COLUMNS, find_overlap
from tests.planted import cropped, h264, tissue

RNG = np.random.default_rng(0)


def table(*rows):
    """Clips of (patient, pixels, group, frames); a missing entry is the patient's own."""
    listed = []
    for number, (patient, pixels, *more) in enumerate(rows):
        group, frames = (*more, None, None)[:2]
        signature = None if frames is None else compute_signature(frames)
        values = (f"{patient}-{number}", patient, group or patient, pixels, signature)
        listed.append(dict(zip(COLUMNS, values, strict=True)))
    return pa.Table.from_pylist(listed, schema=pa.schema([SCHEMA.field(name) for name in COLUMNS]))


def left_out(index, known, patients=()):
    patients = patients or set(known["patient"].to_pylist())
    return {
        own.patient: (own.num_clips, own.reason) for own in find_overlap(index, known, patients)
    }


@pytest.mark.parametrize(
    ("patient", "reason"),
    [
        ("s/P-007", "a patient of the run has this name"),
        ("s/p\u2011007", "the same name as 's/P-007'"),
        ("s/P007", "nearly the same name as 's/P-007'"),
        ("t/P-007", None),
        ("s/P-008", None),
    ],
)
def test_a_patient_is_known_by_name_in_any_spelling_within_a_source(patient, reason):
    found = left_out(table((patient, "a"), (patient, "b")), table(("s/P-007", "c")))
    assert found == ({} if reason is None else {patient: (2, reason)})


def test_equal_pixels_and_shared_groups_leave_a_patient_out():
    index = table(("t/a", "same"), ("t/b", "own", "t/a"), ("t/c", "other"))
    assert left_out(index, table(("s/1", "same"))) == {
        "t/a": (1, "'t/a-0' has the pixels of 's/1-0'"),
        "t/b": (1, "in one group with 't/a'"),
    }


def test_patients_of_the_folds_count_even_without_a_clip():
    assert set(left_out(table(("s/a", "1"), ("s/b", "2")), table(), {"s/b"})) == {"s/b"}


@pytest.mark.slow
def test_a_reencoded_crop_of_a_known_clip_is_a_near_copy_and_two_known_clips_are_not_compared():
    clips = [tissue(seed) for seed in range(3)]
    copy = cropped(h264(clips[1], RNG), RNG, share=0.1)
    known = table(*((f"s/{k}", f"{k}", None, frames) for k, frames in enumerate(clips)))
    index = table(("t/new", "n", None, tissue(9)), ("t/copy", "c", None, copy))
    ((patient, (number, reason)),) = left_out(index, known).items()
    assert (patient, number) == ("t/copy", 1)
    assert reason.startswith("'t/copy-1' is a near copy of 's/1-1' (similarity 0.")
