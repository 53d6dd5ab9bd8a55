import itertools
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from lus_ray.data.ingest.annotations import coco
from lus_ray.errors import SourceError


def run_lengths(mask):
    """Run lengths down the columns, pixel by pixel: the plain definition."""
    runs = [(value, len(list(run))) for value, run in itertools.groupby(mask.T.ravel())]
    return [0] * bool(runs[0][0]) + [length for _, length in runs]


def compress(lengths):
    """The string that COCO's own tools write for run lengths."""
    text = ""
    for index, length in enumerate(lengths):
        value = length - lengths[index - 2] if index > 2 else length
        while True:
            bits, value = value & 31, value >> 5
            more = value != -1 if bits & 16 else value != 0
            text += chr(bits + 32 * more + 48)
            if not more:
                break
    return text


@given(arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=12)))
def test_run_lengths_decode_to_their_mask_compressed_or_not(mask):
    lengths = run_lengths(mask)
    for counts in (lengths, compress(lengths)):
        assert (coco.decode_run_lengths(counts, *mask.shape, "x") == mask).all()


@given(st.lists(st.integers(0, 2**20), min_size=1, max_size=20))
def test_long_runs_survive_compression(lengths):
    assert coco._decompress(compress(lengths), "x") == lengths


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
        *((empty, "run lengths of 0 pixels") for empty in ([], "")),
        ([10**300, 1], "run lengths of 1000"),
        *((bad, "not whole numbers") for bad in ([7, -1], [6.0], [True, 5], ["6"], None, {"6": 1})),
        ("1" * 1000, "not whole numbers"),
        *((bad, "damaged") for bad in ("1\x00", "1é", "oooooooo1")),
        ("12o", "truncated compressed"),
    ],
)
def test_run_lengths_that_do_not_fit_are_refused(counts, reason):
    with pytest.raises(SourceError, match=rf"^a\.json: annotation 5.*{reason}") as caught:
        coco.decode_run_lengths(counts, 2, 3, "a.json: annotation 5")
    assert len(str(caught.value)) < 250


IMAGE = {"id": 1, "file_name": "a.png", "height": 6, "width": 8}
SQUARE = [1, 1, 3, 1, 3, 3, 1, 3]


@pytest.fixture
def draw(tmp_path):
    """`draw(segmentation, ..., **parts of the file)` on 6 x 8 pixels in the sparse scheme."""

    def run(*shapes, name="a.png", **parts):
        common = {"image_id": 1, "category_id": 7}
        annotations = [common | {"id": n, "segmentation": s} for n, s in enumerate(shapes)]
        categories = [{"id": 7, "name": "Pleura"}, {"id": 8, "name": "rib"}]
        content = {"images": [IMAGE], "categories": categories, "annotations": annotations}
        path = tmp_path / "annotations.json"
        path.write_text(json.dumps(content | parts))
        return coco.load(path, path.name).draw_mask(name, scheme="sparse", height=6, width=8)

    return run


def test_an_image_is_found_by_its_name_in_another_unicode_form(draw):
    images = [IMAGE | {"file_name": "e\u0301.png"}]
    assert draw([SQUARE], name="\u00e9.png", images=images).any()


def test_one_file_may_hold_polygons_and_run_lengths_and_later_objects_lie_on_top(draw):
    column = {"size": [6, 8], "counts": [0, 6, 42]}
    ids = draw([SQUARE, [5, 1, 6, 1, 6, 2, 5, 2]], column)
    for part in (ids[1:4, 1:4], ids[1:3, 5:7], ids[:, 0]):
        assert (part == 3).all()
    assert np.count_nonzero(ids) == 9 + 4 + 6  # and "rib", unknown to the scheme, is unused
    shapes = [(7, [[0, 0, 4, 0, 4, 4, 0, 4]]), (9, [SQUARE])]
    objects = [{"image_id": 1, "category_id": k, "segmentation": shape} for k, shape in shapes]
    names = [{"id": 7, "name": "pleura"}, {"id": 9, "name": "B-line"}]
    ids = draw(annotations=objects, categories=names)
    assert (ids[1:4, 1:4] == 2).all()
    assert np.count_nonzero(ids == 3) == 25 - 9


@pytest.mark.parametrize(
    ("shape", "parts", "reason"),
    [
        ([[1, 1, 9, 1, 3, 3]], {}, "outside of the image"),
        ([[1, 1, 3, 1, 3]], {}, "not a list of x, y"),
        ([[1, 1, 3, 1]], {}, "a polygon has three"),
        *((bad, {}, "not a list of x, y") for bad in ([[1, 1, "3", 1, 3, 3]], [1, 1, 3, 1, 3, 3])),
        *((empty, {}, "no segmentation") for empty in ([], None)),
        ({"size": [8, 6], "counts": [48]}, {}, "drawn on 8 x 6 pixels, but the image has 6 x 8"),
        ({"size": [6, 8], "counts": [47]}, {}, "run lengths of 47 pixels"),
        *(({"size": size, "counts": [48]}, {}, "drawn on") for size in ([6, 8, 1], 48, None)),
        ([SQUARE], {"annotations": []}, "the image has no annotation"),
        ([SQUARE], {"images": [IMAGE, IMAGE | {"id": 2}]}, "2 images have this 'file_name'"),
        ([SQUARE], {"images": [IMAGE | {"height": 7}]}, "drawn on 7 x 8 pixels"),
        ([SQUARE], {"categories": [{"id": 1, "name": "a"}]}, "annotation 0 is of category 7"),
        ([SQUARE], {"categories": [{"id": 7, "name": "rib"}]}, "'rib' is no class of scheme"),
        ([SQUARE], {"name": "b.png"}, "0 images have this 'file_name'"),
        ([SQUARE], {"images": [IMAGE | {"id": "1"}]}, "'id' is '1'; a whole number"),
        ([SQUARE], {"images": [IMAGE, IMAGE]}, "is a duplicate"),
        ([SQUARE], {"images": [{"id": 1}]}, "has no 'file_name'"),
        ([SQUARE], {"images": [IMAGE | {"id": 2}]}, "is of image 1, which the"),
        ([SQUARE], {"images": None}, "'images' is not a list"),
        ([SQUARE], {"annotations": [3]}, "'annotations' is not a list"),
        ([SQUARE], {"categories": [{"id": 7, "name": "a"}] * 2}, "is a duplicate"),
        ([SQUARE], {"categories": [{"id": 7}]}, "has no name"),
    ],
)
def test_a_damaged_file_or_object_is_refused_with_file_and_image(shape, parts, reason, draw):
    where = r"annotations\.json( \([ab]\.png\))?"
    with pytest.raises(SourceError, match=rf"^{where}: .*{reason}[^\n]*$"):
        draw(shape, **parts)
