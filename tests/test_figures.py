"""Figures: the same bytes for the same numbers, and nothing from outside."""

import base64
import io
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from lus_ray import figures
from lus_ray.metrics.calibration import reliability

CURVE = (np.array([0.0, 0.5, 1.0]), np.array([0.0, 0.8, 1.0]))
FRAME = np.arange(30 * 20, dtype=np.uint8).reshape(30, 20)
SQUARE = np.array([[0.1, 0.1], [0.6, 0.1], [0.6, 0.6], [0.1, 0.6]])


def every_figure() -> dict[str, str]:
    rng = np.random.default_rng(0)
    curve = reliability(rng.random(50), rng.random(50) < 0.5)
    return {
        "confusion": figures.confusion(np.eye(3), ("a", "b<c>", "$d"), title="A & <b> $x$"),
        "roc": figures.roc([CURVE, (np.zeros(0), np.zeros(0))], title="severity 0"),
        "reliability": figures.reliability([curve, None], title="all"),
        "training": figures.training(
            {0: {"loss": [1.0, 0.5], "score": [0.1, 0.2]}, 1: {"loss": [2.0]}},
            left="loss",
            right="score",
            title="e2e",
        ),
        "bars": figures.bars({"a": 1.0, "b": 0.0}, label="minutes"),
        "looks": figures.looks(FRAME, quads=[SQUARE], heat=FRAME / 255.0, crops=[FRAME], title="x"),
    }


@pytest.mark.parametrize("name", ["confusion", "roc", "reliability", "training", "bars", "looks"])
def test_a_figure_is_well_formed_and_drawn_alike_twice(name: str) -> None:
    one, two = every_figure()[name], every_figure()[name]
    assert ElementTree.fromstring(one).tag.endswith("svg")
    assert one == two
    assert "<dc:date>" not in one


def test_a_confusion_matrix_shows_its_counts_and_names_as_they_are() -> None:
    texts = ElementTree.fromstring(every_figure()["confusion"]).itertext()
    shown = {text.strip() for text in texts}
    assert {"A & <b> $x$", "b<c>", "$d", "predicted", "1", "0"} <= shown


def test_long_class_names_stand_at_the_rows_with_their_place() -> None:
    svg = figures.confusion(np.eye(2), ("healthy", "cardiogenic oedema"), title="x")
    assert "cardiogenic oedema  2" in svg


def test_a_text_is_cut_with_an_ellipsis() -> None:
    assert figures.shortened("severity, of all", 10) == "severity…"
    assert figures.shortened("severity", 10) == "severity"


def images(svg: str) -> list[np.ndarray]:
    """Pixels of the pictures inside an SVG."""
    packed = re.findall(r'href="data:image/png;base64,([^"]*)"', svg)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(text)))) for text in packed]


def lines(svg: str, number: int) -> int:
    """How many paths have the colour of this place in `LINES`."""
    return svg.count(f"stroke: {figures.LINES[number][0]}")


def test_a_crop_is_framed_as_its_outline_is_and_a_box_comes_next() -> None:
    svg = figures.looks(FRAME, quads=[SQUARE, SQUARE / 2], crops=[FRAME, FRAME], title="x")
    assert len(images(svg)) == 3
    assert lines(svg, 0) == lines(svg, 1) == 1 + 4  # the outline and four sides of the frame
    boxed = figures.looks(FRAME, quads=[SQUARE], box=(0.2, 0.2, 0.5, 0.9), title="x")
    assert (lines(boxed, 0), lines(boxed, 1), lines(boxed, 2)) == (1, 1, 0)


def test_a_frame_keeps_its_grey_where_there_is_no_heat_and_warms_where_there_is() -> None:
    heat = np.zeros((30, 20))
    heat[:, 10:] = 1.0
    [plain], [warm] = (images(figures.looks(FRAME, heat=h, title="x")) for h in (None, heat))
    assert np.array_equal(plain[..., 0], FRAME)
    assert np.array_equal(plain[:, :10], warm[:, :10])
    assert (warm[0, 10:, 0] > warm[0, 10:, 2]).all()


def test_a_large_frame_is_thinned_out() -> None:
    [image] = images(figures.looks(np.zeros((600, 800), np.uint8), title="x"))
    assert max(image.shape) <= figures.MAX_SIDE
    assert image.shape[1] / image.shape[0] == pytest.approx(800 / 600, rel=0.02)


def test_a_crop_far_outside_does_not_move_the_frame() -> None:
    near, far = (figures.looks(FRAME, quads=[SQUARE * k], title="x") for k in (1, 50))
    places = [re.findall(r"<image [^>]*?(?:x|transform)=\"[^\"]*\"", svg) for svg in (near, far)]
    assert places[0] == places[1] != []
