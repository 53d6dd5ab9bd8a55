"""Merged classes: equal to counting merged masks; confidences stay unknown."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lus_ray.clip import MASK_SCHEMES
from lus_ray.data import masks
from lus_ray.errors import ArmError
from lus_ray.metrics import segmentation
from lus_ray.tasks import MergedClasses


def count(true, predicted, scheme):
    num_classes = len(MASK_SCHEMES[scheme])
    counts = segmentation.count_pixels(true, predicted, num_classes=num_classes)
    return counts.reshape(len(true), num_classes**2)


@given(st.integers(0, 2**31), st.sampled_from([*sorted(masks.DERIVED), ("sparse", "sparse")]))
def test_merged_counts_are_counts_of_merged_masks(seed, pair):
    source, scheme = pair
    rng = np.random.default_rng(seed)
    ids = rng.integers(0, len(MASK_SCHEMES[source]), (2, 3, 6, 4), np.uint8)
    row = {"counts": count(*ids, source).tolist(), "bins": [[1, 2, 3]]}
    prediction = MergedClasses(source, scheme).predict(row)
    merged = count(*(masks.convert_masks(part, source, scheme) for part in ids), scheme)
    assert prediction.keys() == {"counts"}
    assert prediction["counts"].dtype == np.int32
    assert (prediction["counts"] == merged).all()
    assert prediction["counts"].sum(axis=1).tolist() == [24] * 3


def test_it_reads_rows_and_has_the_coarser_classes():
    task = MergedClasses("dense", "sparse")
    assert (task.label, task.classes) == ("sparse masks", MASK_SCHEMES["sparse"])
    assert task.reads_rows
    assert task.state_dict() == {}
    assert [task.target({"mask_scheme": scheme}) for scheme in ("dense", None)] == ["dense", None]
    assert task.predict({"counts": None}) == {}


@pytest.mark.parametrize(
    ("source", "scheme"), [("sparse", "dense"), ("markers", "bline"), ("dense", "hazy")]
)
def test_schemes_that_cannot_be_converted_are_refused_in_one_line(source, scheme):
    with pytest.raises(ArmError, match="cannot be converted") as caught:
        MergedClasses(source, scheme)
    assert "\n" not in str(caught.value)
