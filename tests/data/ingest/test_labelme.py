import json
import os

import numpy as np
import pytest

from lus_ray.data.ingest import labelme, polygons
from lus_ray.errors import SourceError

SQUARE = [[1, 1], [3, 1], [3, 3], [1, 3]]
SIZE = {"scheme": "sparse", "height": 6, "width": 8}


@pytest.fixture
def draw(tmp_path):
    """`draw(shape, ..., **fields of the file)` on 6 x 8 pixels in the sparse scheme."""

    def run(*shapes, **fields):
        content = {"imageHeight": 6, "imageWidth": 8, "shapes": list(shapes)} | fields
        (tmp_path / "a.json").write_text(json.dumps(content))
        return labelme.read(tmp_path / "a.json", "a.json", **SIZE)

    return run


def shape(points, label="pleura", shape_type="polygon"):
    return {"label": label, "points": points, "shape_type": shape_type}


def test_a_square_covers_the_pixels_of_its_corners_and_all_between(draw):
    ids = draw(shape(SQUARE))
    assert (ids.shape, ids.dtype) == ((6, 8), np.uint8)
    assert (ids[1:4, 1:4] == 3).all()
    assert np.count_nonzero(ids) == 9


@pytest.mark.parametrize(
    "drawn",
    [
        shape([[x + 0.9, y + 0.4] for x, y in SQUARE]),
        shape([[1, 1], [3, 3]], shape_type="rectangle"),
        shape([[3, 1], [1, 3]], shape_type="rectangle"),
        shape([[3, 3], [1, 1]], shape_type="rectangle"),
        {"label": " PLEura ", "points": SQUARE},  # old files have polygons only
    ],
)
def test_the_same_square_in_other_words(drawn, draw):
    assert (draw(drawn) == draw(shape(SQUARE))).all()


def test_a_circle_is_round_its_centre(draw):
    ids = draw(shape([[4.5, 3.5], [4.5, 5.5]], shape_type="circle"))
    rows, columns = np.nonzero(ids)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (1, 5, 2, 6)
    assert (ids[1, 2], ids[3, 4]) == (0, 3)


def test_a_thin_line_drawn_as_a_polygon_does_not_vanish(draw):
    assert (draw(shape([[0, 2.2], [7.9, 2.2], [7.9, 2.4], [0, 2.4]]))[2] == 3).all()


def test_later_shapes_lie_on_top_and_background_cuts_a_hole(draw):
    hole = shape([[2, 2], [2, 2]], "Background", "rectangle")
    ids = draw(shape(SQUARE, "B-line"), hole)
    assert ids[2, 2] == 0
    assert np.count_nonzero(ids == 2) == 8
    assert set(np.unique(draw(shape(SQUARE, "B-line"), shape(SQUARE)))) == {0, 3}


def test_shapes_on_the_border_of_the_image_are_inside(draw):
    assert (draw(shape([[0, 0], [8, 0], [8, 6], [0, 6]])) == 3).all()


def test_the_image_and_the_path_inside_the_file_are_ignored(draw, tmp_path):
    path = tmp_path / "secret.png"
    ids = draw(shape(SQUARE), imageData="not an image", imagePath=str(path))
    assert np.count_nonzero(ids) == 9
    assert not path.exists()


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
        ({"imageHeight": 8, "imageWidth": 6}, "drawn on 8 x 6 pixels, but the image has 6 x 8"),
        ({"imageHeight": None}, "drawn on None x 8"),
        ({"imageHeight": "6"}, "drawn on '6' x 8"),
        ({"shapes": {}}, "'shapes' is not a list"),
        ({"shapes": []}, "the image has no annotation; if it truly shows nothing"),
    ],
)
def test_a_shape_or_file_that_does_not_fit_is_refused_in_one_line(drawn, reason, draw):
    fields = drawn if "points" not in drawn and drawn != "pleura" else {}
    with pytest.raises(SourceError, match=rf"^a\.json: .*{reason}") as caught:
        draw(shape(SQUARE) if fields else drawn, **fields)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 250


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
    ids=range(9),
)
def test_a_file_that_is_not_proper_json_is_refused_in_one_line(text, reason, tmp_path):
    (tmp_path / "a.json").write_text(text, errors="surrogateescape")
    with pytest.raises(SourceError, match=rf"^a\.json: .*{reason}") as caught:
        labelme.read(tmp_path / "a.json", "a.json", **SIZE)
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


def test_shapes_points_and_painted_pixels_of_an_image_are_bounded(draw, monkeypatch):
    with pytest.raises(SourceError, match="more than 1000 shapes"):
        draw(*[shape(SQUARE)] * (polygons.MAX_SHAPES + 1))
    monkeypatch.setattr(polygons, "MAX_POINTS", 100)
    with pytest.raises(SourceError, match="or 100 points"):
        draw(shape([[1, 1]] * 101))
    canvas = polygons.Canvas(2**12, 2**12, scheme="sparse", where="a.json")
    canvas.num_shapes = 2**8 - 1
    canvas.draw_rectangle("pleura", SQUARE[::2])
    with pytest.raises(SourceError, match="257 shapes on so large an image"):
        canvas.draw_rectangle("pleura", SQUARE[::2])


def test_a_pipe_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "a.json")
    with pytest.raises(SourceError, match="is not a file"):
        polygons.read_json(tmp_path / "a.json", "a.json")
