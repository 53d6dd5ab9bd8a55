"""COCO polygons and run lengths become class ids, or are refused with file and reason."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from lus_ray.data.ingest import coco
from lus_ray.errors import SourceError

masks = arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=12))


def counts_by_walking(mask: np.ndarray) -> list[int]:
    """Run lengths, pixel by pixel down the columns: the plain definition."""
    lengths, last = [0], False
    for column in range(mask.shape[1]):
        for row in range(mask.shape[0]):
            if bool(mask[row, column]) != last:
                lengths.append(0)
                last = not last
            lengths[-1] += 1
    return lengths


def compressed(lengths: list[int]) -> str:
    """The string that COCO's own tools write for run lengths."""
    text = ""
    for place, length in enumerate(lengths):
        value = length - lengths[place - 2] if place > 2 else length
        while True:
            bits, value = value & 31, value >> 5
            more = value != -1 if bits & 16 else value != 0
            text += chr(bits + 32 * more + 48)
            if not more:
                break
    return text


@given(masks)
def test_run_lengths_decode_to_the_mask_they_were_walked_from(mask):
    assert (coco.decode_run_lengths(counts_by_walking(mask), *mask.shape, "x") == mask).all()


@given(masks)
def test_compressed_run_lengths_decode_to_the_same_mask(mask):
    text = compressed(counts_by_walking(mask))
    assert (coco.decode_run_lengths(text, *mask.shape, "x") == mask).all()


@given(st.lists(st.integers(0, 2**20), min_size=1, max_size=20))
def test_long_runs_survive_the_string(lengths):
    assert coco._decompress(compressed(lengths), "x") == lengths


def test_run_lengths_by_hand():
    # 2 x 3 pixels, down the columns: off, on on, off off off
    assert coco.decode_run_lengths([1, 2, 3], 2, 3, "x").astype(int).tolist() == [
        [0, 1, 0],
        [1, 0, 0],
    ]
    assert compressed([1, 2, 3]) == "123"
    assert coco.decode_run_lengths("123", 2, 3, "x").sum() == 2


def test_the_string_that_coco_tools_write_for_a_disc_is_that_disc():
    # pycocotools 2.0.11: radius 10 in 40 x 30 pixels, centred at column 15, row 20.
    rows, columns = np.mgrid[:40, :30]
    disc = (rows - 20) ** 2 + (columns - 15) ** 2 <= 100
    text = "l61S18J4M2N2O0O2O00000O20N1000001N101N2N3L6H`4"
    assert (coco.decode_run_lengths(text, 40, 30, "x") == disc).all()


@pytest.mark.parametrize(
    ("counts", "reason"),
    [
        ([1, 2, 2], "run lengths of 5 pixels in all, but the image has 6"),
        ([1, 2, 4], "run lengths of 7 pixels"),
        ([], "run lengths of 0 pixels"),
        ("", "run lengths of 0 pixels"),
        ([10**300, 1], "run lengths of 1000"),
        ([7, -1], "not whole numbers"),
        ([6.0], "not whole numbers"),
        ([True, 5], "not whole numbers"),
        (["6"], "not whole numbers"),
        (None, "not whole numbers"),
        ({"6": 1}, "not whole numbers"),
        ("1" * 1000, "not whole numbers"),
        ("1\x00", "damaged"),
        ("1é", "damaged"),
        ("oooooooo1", "damaged"),
        ("12o", "truncated compressed"),
    ],
)
def test_run_lengths_that_do_not_fit_are_refused(counts, reason):
    with pytest.raises(SourceError, match=reason) as caught:
        coco.decode_run_lengths(counts, 2, 3, "a.json: annotation 5")
    assert str(caught.value).startswith("a.json: annotation 5")
    assert len(str(caught.value)) < 250


IMAGE = {"id": 1, "file_name": "a.png", "height": 6, "width": 8}
SQUARE = [1, 1, 3, 1, 3, 3, 1, 3]


@pytest.fixture
def draw(tmp_path):
    """`draw(segmentation, ..., **parts of the file)` on 6 x 8 pixels in the sparse scheme."""

    def run(*shapes: object, name: str = "a.png", **parts: object) -> np.ndarray:
        things = [
            {"id": n, "image_id": 1, "category_id": 7, "segmentation": shape}
            for n, shape in enumerate(shapes)
        ]
        content = {
            "images": [IMAGE],
            "categories": [{"id": 7, "name": "Pleura"}, {"id": 8, "name": "rib"}],
            "annotations": things,
        } | parts
        path = tmp_path / "annotations.json"
        path.write_text(json.dumps(content))
        loaded = coco.load(path, path.name)
        return loaded.draw_mask(name, scheme="sparse", height=6, width=8)

    return run


def test_polygons_of_one_object_are_all_filled(draw):
    ids = draw([SQUARE, [5, 1, 6, 1, 6, 2, 5, 2]])
    assert (ids[1:4, 1:4] == 3).all()
    assert (ids[1:3, 5:7] == 3).all()
    assert np.count_nonzero(ids) == 13


def test_run_lengths_and_polygons_may_stand_in_one_file(draw):
    column = {"size": [6, 8], "counts": [0, 6, 42]}
    ids = draw([SQUARE], column)
    assert (ids[:, 0] == 3).all()
    assert np.count_nonzero(ids) == 15


def test_objects_lie_on_one_another_in_the_order_of_the_file(draw):
    over = {"id": 2, "image_id": 1, "category_id": 9, "segmentation": [SQUARE]}
    under = {"id": 1, "image_id": 1, "category_id": 7, "segmentation": [[0, 0, 4, 0, 4, 4, 0, 4]]}
    categories = [{"id": 7, "name": "pleura"}, {"id": 9, "name": "B-line"}]
    ids = draw(annotations=[under, over], categories=categories)
    assert (ids[1:4, 1:4] == 2).all()
    assert np.count_nonzero(ids == 3) == 25 - 9


@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        ([[1, 1, 9, 1, 3, 3]], "outside of the image"),
        ([[1, 1, -1, 1, 3, 3]], "outside of the image"),
        ([[1, 1, 3, 1, 3]], "not a list of x, y"),
        ([[1, 1, 3, 1]], "a polygon has three"),
        ([[1, 1, "3", 1, 3, 3]], "not a list of x, y"),
        ([1, 1, 3, 1, 3, 3], "not a list of x, y"),
        ([], "no segmentation"),
        (None, "no segmentation"),
        ({"size": [8, 6], "counts": [48]}, "drawn on 8 x 6 pixels, but the image has 6 x 8"),
        ({"size": [6, 8], "counts": [47]}, "run lengths of 47 pixels"),
        ({"size": [6, 8, 1], "counts": [48]}, "drawn on"),
        ({"size": 48, "counts": [48]}, "drawn on"),
        ({}, "drawn on"),
    ],
)
def test_an_object_that_cannot_be_drawn_is_refused_with_file_and_image(shape, reason, draw):
    with pytest.raises(SourceError, match=rf"^annotations\.json \(a\.png\): .*{reason}"):
        draw(shape)


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ({"annotations": []}, "the image has no annotation"),
        ({"name": "b.png"}, "0 images have this 'file_name'"),
        ({"images": [IMAGE, IMAGE | {"id": 2}]}, "2 images have this 'file_name'"),
        ({"images": [IMAGE | {"height": 7}]}, "drawn on 7 x 8 pixels"),
        ({"images": [IMAGE | {"id": "1"}]}, "'id' is '1'; a whole number"),
        ({"images": [IMAGE, IMAGE]}, "is a duplicate"),
        ({"images": [{"id": 1}]}, "has no 'file_name'"),
        ({"images": [], "annotations": [{"id": 5, "image_id": 1}]}, "is of image 1, which the"),
        ({"images": None}, "'images' is not a list"),
        ({"annotations": [3]}, "'annotations' is not a list"),
        ({"categories": [{"id": 7, "name": "a"}, {"id": 7, "name": "b"}]}, "is a duplicate"),
        ({"categories": [{"id": 7}]}, "has no name"),
        ({"categories": [{"id": 1, "name": "pleura"}]}, "annotation 0 is of category 7"),
        ({"categories": [{"id": 7, "name": "rib"}]}, "'rib' is no class of scheme 'sparse'"),
    ],
)
def test_a_file_that_does_not_hold_together_is_refused(parts, reason, draw):
    with pytest.raises(SourceError, match=rf"^annotations\.json.*{reason}") as caught:
        draw([SQUARE], **parts)
    assert len(str(caught.value).splitlines()) == 1


def test_a_category_that_the_scheme_lacks_matters_only_where_it_is_drawn(draw):
    assert np.count_nonzero(draw([SQUARE])) == 9  # "rib" is listed and unused
