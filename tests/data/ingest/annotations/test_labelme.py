import json
import os

import numpy as np
import pytest

from lus_ray.data.ingest.annotations import labelme, polygons
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
    ids = draw(shape(SQUARE), imageData="not an image", imagePath="absent.png")  # both ignored
    assert (ids.shape, ids.dtype) == ((6, 8), np.uint8)
    assert (ids[1:4, 1:4] == 3).all()
    assert np.count_nonzero(ids) == 9


@pytest.mark.parametrize(
    "same",
    [
        shape([[x + 0.9, y + 0.4] for x, y in SQUARE]),
        shape([[1, 1], [3, 3]], shape_type="rectangle"),
        shape([[3, 1], [1, 3]], shape_type="rectangle"),
        shape([[3, 3], [1, 1]], shape_type="rectangle"),
        {"label": " PLEura ", "points": SQUARE},  # old files have polygons only
    ],
)
def test_the_same_square_in_other_words(same, draw):
    assert (draw(same) == draw(shape(SQUARE))).all()


def test_a_circle_is_round_its_centre(draw):
    ids = draw(shape([[4.5, 3.5], [4.5, 5.5]], shape_type="circle"))
    rows, columns = np.nonzero(ids)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (1, 5, 2, 6)
    assert (ids[1, 2], ids[3, 4]) == (0, 3)


def test_a_thin_line_does_not_vanish_and_shapes_on_the_border_are_inside(draw):
    assert (draw(shape([[0, 2.2], [7.9, 2.2], [7.9, 2.4], [0, 2.4]]))[2] == 3).all()
    assert (draw(shape([[0, 0], [8, 0], [8, 6], [0, 6]])) == 3).all()


def test_later_shapes_lie_on_top_and_background_cuts_a_hole(draw):
    hole = shape([[2, 2], [2, 2]], "Background", "rectangle")
    ids = draw(shape(SQUARE, "B-line"), hole)
    assert ids[2, 2] == 0
    assert np.count_nonzero(ids == 2) == 8
    assert set(np.unique(draw(shape(SQUARE, "B-line"), shape(SQUARE)))) == {0, 3}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (shape(SQUARE, "rib"), "'rib' is no class of scheme 'sparse'; one of background, A-line"),
        (shape(SQUARE, 3), "3 is no class"),
        (shape([[1, 1], [9, 1], [3, 3]]), r"reaches \(9, 1\), outside of the image, which is 8"),
        *(
            (shape([[1, 1], corner, [3, 3]]), "outside of the image")
            for corner in ([3, 6.01], [-0.5, 1], [1e300, 1], [10**400, 1])
        ),
        (shape([[2, 3], [2, 6]], shape_type="circle"), "outside of the image"),
        (shape([[1, 1], [2, 2]]), "has 2 points; a polygon has three"),
        (shape(SQUARE, shape_type="rectangle"), "a rectangle has two corners"),
        (shape(SQUARE, shape_type="circle"), "a circle has centre and edge"),
        (shape(SQUARE, shape_type="linestrip"), "a shape of type 'linestrip'; draw it as one of"),
        (shape(SQUARE, shape_type=["polygon"]), "a shape of type"),
        *((shape([[1, 1], bad, [3, 3]]), "not all") for bad in ([3], ["3", 1], [True, 1])),
        *((shape(points), "not all") for points in ("1,1", None)),
        ("pleura", "'shapes' is not a list of objects"),
        ({"imageHeight": 8, "imageWidth": 6}, "drawn on 8 x 6 pixels, but the image has 6 x 8"),
        ({"imageHeight": None}, "drawn on None x 8"),
        ({"imageHeight": "6"}, "drawn on '6' x 8"),
        ({"shapes": {}}, "'shapes' is not a list"),
        ({"shapes": []}, "the image has no annotation; if it truly shows nothing"),
    ],
)
def test_a_shape_or_file_that_does_not_fit_is_refused_in_one_line(content, reason, draw):
    fields = content if "points" not in content and content != "pleura" else {}
    with pytest.raises(SourceError, match=rf"^a\.json: .*{reason}") as caught:
        draw(shape(SQUARE) if fields else content, **fields)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 250


UNREADABLE = "not a readable JSON file"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"shapes": [NaN]}', "NaN is no JSON number"),
        ('{"shapes": [-Infinity]}', "-Infinity is no JSON number"),
        ("[]", "holds a list, not an object"),
        ("[" * 100_000, UNREADABLE),
        ('{"a":' * 100_000 + "1" + "}" * 100_000, UNREADABLE),
        ('{"imageHeight": ' + "9" * 5000 + "}", UNREADABLE),
        *((text, UNREADABLE) for text in ("", "<html>", "\udcff")),
    ],
    ids=range(9),
)
def test_a_file_that_is_not_proper_json_is_refused_in_one_line(text, reason, tmp_path):
    (tmp_path / "a.json").write_text(text, errors="surrogateescape")
    with pytest.raises(SourceError, match=rf"^a\.json: .*{reason}") as caught:
        polygons.read_json(tmp_path / "a.json", "a.json")
    assert len(str(caught.value)) < 250


def test_a_large_file_many_values_and_a_pipe_are_refused(tmp_path):
    (tmp_path / "large").touch()
    os.truncate(tmp_path / "large", polygons.MAX_BYTES + 1)
    (tmp_path / "many").write_text('{"shapes": [' + "0," * polygons.MAX_VALUES + "0]}")
    os.mkfifo(tmp_path / "pipe")
    reasons = {"large": "larger than 64 MB", "many": "more than 10000000", "pipe": "is not a file"}
    for name, reason in reasons.items():
        with pytest.raises(SourceError, match=reason):
            polygons.read_json(tmp_path / name, name)


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
