"""Collapsed counts: equal to counting masks that were merged, and honest about what is unknown."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lus_ray.clip import MASK_SCHEMES
from lus_ray.data import masks
from lus_ray.errors import ArmError
from lus_ray.metrics import segmentation
from lus_ray.tasks import MergedClasses


def counted(true, said, scheme):
    num_classes = len(MASK_SCHEMES[scheme])
    found = segmentation.count_pixels(true, said, num_classes=num_classes)
    return found.reshape(len(true), num_classes**2)


@given(st.integers(0, 2**31), st.sampled_from(sorted(masks.DERIVED)))
def test_merged_counts_are_counts_of_merged_masks(seed, pair):
    source, scheme = pair
    rng = np.random.default_rng(seed)
    true, said = rng.integers(0, len(MASK_SCHEMES[source]), (2, 3, 6, 4), np.uint8)
    found = MergedClasses(source, scheme).predict({"counts": counted(true, said, source).tolist()})
    merged = counted(
        masks.convert_masks(true, source, scheme), masks.convert_masks(said, source, scheme), scheme
    )
    assert found["counts"].dtype == np.int32
    assert (found["counts"] == merged).all()
    assert found["counts"].sum(axis=1).tolist() == [24] * 3


def test_a_scheme_collapsed_to_itself_is_as_it_was():
    counts = np.arange(32).reshape(2, 16).tolist()
    assert (
        MergedClasses("sparse", "sparse").predict({"counts": counts})["counts"].tolist() == counts
    )


def test_by_hand_both_pleurae_are_one_and_what_lies_below_is_background():
    counts = np.zeros((1, 7, 7), int)
    counts[0, 3, 4] = 5  # healthy pleura, said unhealthy pleura
    counts[0, 5, 2] = 7  # healthy region, said B-line
    (found,) = (
        MergedClasses("dense", "sparse")
        .predict({"counts": counts.reshape(1, 49).tolist()})["counts"]
        .reshape(1, 4, 4)
    )
    assert found[3, 3] == 5
    assert found[0, 2] == 7
    assert found.sum() == 12


def test_where_nothing_was_counted_nothing_is_said():
    assert MergedClasses("dense", "sparse").predict({"counts": None}) == {}


def test_confidences_of_merged_classes_are_not_made_up():
    said = MergedClasses("dense", "sparse").predict({"counts": [[0] * 49], "bins": [[1, 2, 3]]})
    assert said.keys() == {"counts"}


def test_it_names_the_coarser_classes_and_reads_rows():
    task = MergedClasses("dense", "sparse")
    assert (task.label, task.classes) == ("sparse masks", MASK_SCHEMES["sparse"])
    assert task.reads_rows
    assert task.state_dict() == {}
    assert task.target({"mask_scheme": "dense"}) == "dense"
    assert task.target({"mask_scheme": None}) is None


@pytest.mark.parametrize(
    ("source", "scheme"), [("sparse", "dense"), ("markers", "bline"), ("dense", "hazy")]
)
def test_a_scheme_that_cannot_be_read_so_is_refused_in_one_line(source, scheme):
    with pytest.raises(ArmError, match="cannot be converted") as caught:
        MergedClasses(source, scheme)
    assert "\n" not in str(caught.value)
