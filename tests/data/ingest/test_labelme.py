"""LabelMe files become class ids, or are refused with file and reason."""

import json
import os

import numpy as np
import pytest

from lus_ray.data.ingest import labelme, polygons
from lus_ray.errors import SourceError

SQUARE = [[1, 1], [3, 1], [3, 3], [1, 3]]


@pytest.fixture
def draw(tmp_path):
    """`draw(shape, ..., **fields of the file)` on 6 x 8 pixels in the sparse scheme."""

    def run(*drawn: object, **fields: object) -> np.ndarray:
        content = {"imageHeight": 6, "imageWidth": 8, "shapes": list(drawn)} | fields
        path = tmp_path / "a.json"
        path.write_text(json.dumps(content))
        return labelme.read(path, "a.json", scheme="sparse", height=6, width=8)

    return run


def shape(points, label="pleura", **fields):
    return {"label": label, "points": points, "shape_type": "polygon"} | fields


def test_a_square_covers_the_pixels_of_its_corners_and_all_between(draw):
    ids = draw(shape(SQUARE))
    assert ids.shape == (6, 8)
    assert ids.dtype == np.uint8
    assert (ids[1:4, 1:4] == 3).all()
    assert np.count_nonzero(ids) == 9


def test_a_corner_falls_to_the_pixel_that_holds_it(draw):
    moved = [[x + 0.9, y + 0.4] for x, y in SQUARE]
    assert (draw(shape(moved)) == draw(shape(SQUARE))).all()


def test_a_rectangle_may_begin_at_any_corner(draw):
    for corners in ([[1, 1], [3, 3]], [[3, 1], [1, 3]], [[3, 3], [1, 1]]):
        assert (draw(shape(corners, shape_type="rectangle")) == draw(shape(SQUARE))).all()


def test_a_circle_is_round_its_centre(draw):
    ids = draw(shape([[4.5, 3.5], [4.5, 5.5]], shape_type="circle"))
    rows, columns = np.nonzero(ids)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (1, 5, 2, 6)
    assert ids[1, 2] == 0
    assert ids[3, 4] == 3


def test_a_thin_line_drawn_as_a_polygon_does_not_vanish(draw):
    line = [[0, 2.2], [7.9, 2.2], [7.9, 2.4], [0, 2.4]]
    assert (draw(shape(line))[2] == 3).all()


def test_later_shapes_lie_on_top_and_background_cuts_a_hole(draw):
    ids = draw(
        shape(SQUARE, "B-line"), shape([[2, 2], [2, 2]], "Background", shape_type="rectangle")
    )
    assert ids[2, 2] == 0
    assert np.count_nonzero(ids == 2) == 8
    ids = draw(shape(SQUARE, "B-line"), shape(SQUARE, "pleura"))
    assert set(ids[ids > 0]) == {3}


def test_labels_are_class_names_in_any_case_and_old_files_have_polygons(draw):
    ids = draw({"label": " b-LINE ", "points": SQUARE})
    assert set(ids.ravel()) == {0, 2}


def test_shapes_on_the_border_of_the_image_are_inside(draw):
    assert (draw(shape([[0, 0], [8, 0], [8, 6], [0, 6]])) == 3).all()


def test_the_image_and_the_path_inside_the_file_are_ignored(draw, tmp_path):
    outside = tmp_path / "secret.png"
    ids = draw(shape(SQUARE), imageData="no picture at all", imagePath=str(outside))
    assert np.count_nonzero(ids) == 9
    assert not outside.exists()


@pytest.mark.parametrize(
    ("drawn", "reason"),
    [
        (shape(SQUARE, "rib"), "'rib' is no class of scheme 'sparse'; one of background, A-line"),
        (shape(SQUARE, None), "None is no class"),
        (shape(SQUARE, 3), "3 is no class"),
        (shape([[1, 1], [9, 1], [3, 3]]), r"reaches \(9, 1\), outside of the image, which is 8"),
        (shape([[1, 1], [3, 6.01], [3, 3]]), "outside of the image"),
        (shape([[1, 1], [-0.5, 1], [3, 3]]), "outside of the image"),
        (shape([[1, 1], [1e300, 1], [3, 3]]), "outside of the image"),
        (shape([[1, 1], [10**400, 1], [3, 3]]), "outside of the image"),
        (shape([[2, 3], [2, 6]], shape_type="circle"), "outside of the image"),
        (shape([[1, 1], [2, 2]]), "has 2 points; a polygon has three"),
        (shape(SQUARE, shape_type="rectangle"), "a rectangle has two corners"),
        (shape(SQUARE, shape_type="circle"), "a circle has centre and edge"),
        (shape(SQUARE, shape_type="linestrip"), "a shape of type 'linestrip'; draw it as one of"),
        (shape(SQUARE, shape_type=["polygon"]), "a shape of type"),
        (shape([[1, 1], [3], [3, 3]]), "not all"),
        (shape([[1, 1], ["3", 1], [3, 3]]), "not all"),
        (shape([[1, 1], [True, 1], [3, 3]]), "not all"),
        (shape("1,1"), "not all"),
        (shape(None), "not all"),
        ("pleura", "'shapes' is not a list of objects"),
    ],
)
def test_a_shape_that_cannot_be_drawn_is_refused_with_file_and_reason(drawn, reason, draw):
    with pytest.raises(SourceError, match=rf"^a\.json: .*{reason}") as caught:
        draw(drawn)
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 250


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"imageHeight": 8, "imageWidth": 6}, "drawn on 8 x 6 pixels, but the image has 6 x 8"),
        ({"imageHeight": None}, "drawn on None x 8"),
        ({"imageHeight": "6"}, "drawn on '6' x 8"),
        ({"shapes": {}}, "'shapes' is not a list"),
        ({"shapes": []}, "the image has no annotation; if it truly shows nothing"),
    ],
)
def test_a_file_of_another_image_is_refused(fields, reason, draw):
    with pytest.raises(SourceError, match=rf"^a\.json: .*{reason}"):
        draw(shape(SQUARE), **fields)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[" * 100_000, "not a readable JSON file"),
        ('{"a":' * 100_000 + "1" + "}" * 100_000, "not a readable JSON file"),
        ('{"shapes": [NaN]}', "NaN is no JSON number"),
        ('{"shapes": [-Infinity]}', "-Infinity is no JSON number"),
        ('{"imageHeight": ' + "9" * 5000 + "}", "not a readable JSON file"),
        ("[]", "holds a list, not an object"),
        ("", "not a readable JSON file"),
        ("<html>", "not a readable JSON file"),
        ("\udcff", "not a readable JSON file"),
    ],
)
def test_a_file_that_is_no_honest_json_is_refused_in_one_short_line(text, reason, tmp_path):
    path = tmp_path / "a.json"
    path.write_text(text, errors="surrogateescape")
    with pytest.raises(SourceError, match=rf"^a\.json: .*{reason}") as caught:
        labelme.read(path, "a.json", scheme="sparse", height=6, width=8)
    assert len(str(caught.value)) < 250


def test_a_file_is_bounded_in_bytes_and_in_values(tmp_path):
    path = tmp_path / "a.json"
    with path.open("wb") as file:
        file.truncate(polygons.MAX_BYTES + 1)
    with pytest.raises(SourceError, match=r"larger than 64 MB"):
        polygons.read_json(path, "a.json")
    path.write_text('{"shapes": [' + "0," * polygons.MAX_VALUES + "0]}")
    with pytest.raises(SourceError, match=r"more than 10000000 values"):
        polygons.read_json(path, "a.json")


def test_shapes_and_points_of_an_image_are_bounded(draw):
    with pytest.raises(SourceError, match="more than 1000 shapes"):
        draw(*[shape(SQUARE)] * (polygons.MAX_SHAPES + 1))
    with pytest.raises(SourceError, match="or 100000 points"):
        draw(shape([[1, 1]] * (polygons.MAX_POINTS + 1)))


def test_a_large_image_takes_few_shapes():
    canvas = polygons.Canvas(2**12, 2**12, scheme="sparse", where="a.json")
    for _ in range(2**8):
        canvas.draw_rectangle("pleura", SQUARE[::2])
    with pytest.raises(SourceError, match="257 shapes on so large an image"):
        canvas.draw_rectangle("pleura", SQUARE[::2])


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.json")
    with pytest.raises(SourceError, match="is not a file"):
        polygons.read_json(tmp_path / "a.json", "a.json")
