"""The world of the ensemble's control: what its masks and hospitals say is true of its frames."""

import numpy as np
import pytest

from lus_ray.clip import make_row
from lus_ray.data.phantom.worlds.hospitals import HOSPITALS, clips


def read(**options):
    return [make() for make in clips(patients=24, **options).values()]


def marked_greys(clip):
    """Mean and deviation of the speckle of every mark, apart from grey values that are cut off."""
    for frame, mask in zip(clip["frames"], clip["masks"], strict=True):
        for half in (np.s_[:, :20], np.s_[:, 20:]):
            inside = frame[half][mask[half] > 1]
            if len(inside):
                yield inside.mean(), inside.std()


def find_look(mean, deviation):
    if deviation < 10:
        return "smooth"
    return "bright" if mean > 160 else "dark" if mean < 80 else "none"


@pytest.mark.parametrize("hospital", HOSPITALS)
def test_a_hospital_has_two_looks_and_lacks_the_one_in_its_name(hospital):
    own = [clip for clip in read() if clip["site"] == hospital]
    looks = {find_look(*greys) for clip in own for greys in marked_greys(clip)}
    assert looks == {"bright", "dark", "smooth"} - {hospital.removeprefix("without ")}


def test_scores_of_frames_are_those_of_their_marks_and_clips_are_rows():
    for name, make in clips(patients=3).items():
        clip = make()
        assert clip["frame_severity"] == [mask.max() - 1 for mask in clip["masks"]]
        row = make_row(**clip, clip=name, patient="control/p", source="control")
        assert row["clip"] == name
        assert (
            row["sha256"]
            == make_row(**make(), clip="control/c", patient="control/p", source="control")["sha256"]
        )


def test_shuffled_masks_belong_to_other_frames():
    looks = [find_look(*greys) for clip in read(shuffled=True) for greys in marked_greys(clip)]
    assert looks.count("none") > len(looks) / 2
