"""Figures: the same bytes for the same numbers, and nothing from outside."""

import base64
import io
import re
from itertools import combinations
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from lus_ray import figures
from lus_ray.metrics.calibration import reliability

CURVE = (np.array([0.0, 0.5, 1.0]), np.array([0.0, 0.8, 1.0]))
FRAME = np.arange(30 * 20, dtype=np.uint8).reshape(30, 20)
MASK = np.zeros((30, 20), np.uint8)
MASK[10:, 5:15] = 2
SQUARE = np.array([[0.1, 0.1], [0.6, 0.1], [0.6, 0.6], [0.1, 0.6]])


def every_figure() -> dict[str, str]:
    rng = np.random.default_rng(0)
    curve = reliability(rng.random(50), rng.random(50) < 0.5)
    return {
        "confusion": figures.draw_confusion(np.eye(3), ("a", "b<c>", "$d"), title="A & <b> $x$"),
        "roc": figures.draw_roc([CURVE, (np.zeros(0), np.zeros(0))], title="severity 0"),
        "reliability": figures.draw_reliability([curve, None], title="all"),
        "training": figures.draw_training(
            {0: {"loss": [1.0, 0.5], "score": [0.1, 0.2]}, 1: {"loss": [2.0]}},
            left="loss",
            right="score",
            title="e2e",
        ),
        "bars": figures.draw_bars({"a": 1.0, "b": 0.0}, label="minutes"),
        "percent": figures.draw_confusion(
            np.array([[3.0, 1.0], [0.0, 0.0]]), ("background", "B-line"), title="x", percent=True
        ),
        "masks": figures.draw_masks(
            FRAME,
            masks=[("expert & <b>", MASK), ("predicted", MASK)],
            classes=("background", "A-line", "B-line", "pleura"),
            uncertainty=[("A-line", FRAME / 5000.0)],
            title="x",
        ),
        "looks": figures.draw_attention(
            FRAME, quads=[SQUARE], heat=FRAME / 255.0, crops=[FRAME], title="x"
        ),
        "outlines": figures.draw_segmentations(
            FRAME, MASK == 2, {"unet & <b>": MASK == 2, "sifa": MASK == 0}, title="x"
        ),
        "translations": figures.draw_translations([[("covid frame", FRAME), ("as cap", FRAME)]]),
    }


NAMES = [
    "confusion", "percent", "roc", "reliability", "training", "bars", "looks", "masks",
    "outlines", "translations",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
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
    svg = figures.draw_confusion(np.eye(2), ("healthy", "cardiogenic oedema"), title="x")
    assert "cardiogenic oedema  2" in svg


def test_pixels_are_told_in_percent_of_their_class_and_an_absent_class_in_none() -> None:
    texts = [t.strip() for t in ElementTree.fromstring(every_figure()["percent"]).itertext()]
    assert [t for t in texts if t and t[0].isdigit()] == ["75.0", "25.0"]
    assert texts.count("background") == texts.count("B-line") == 2


def test_a_text_is_cut_with_an_ellipsis() -> None:
    assert figures.shorten("severity, of all", 10) == "severity…"
    assert figures.shorten("severity", 10) == "severity"


def images(svg: str) -> list[np.ndarray]:
    """Pixels of the pictures inside an SVG."""
    packed = re.findall(r'href="data:image/png;base64,([^"]*)"', svg)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(text)))) for text in packed]


def lines(svg: str, number: int) -> int:
    """How many paths have the colour of this place in `LINES`."""
    return svg.count(f"stroke: {figures.LINES[number][0]}")


def test_a_crop_is_framed_as_its_outline_is_and_a_box_comes_next() -> None:
    svg = figures.draw_attention(FRAME, quads=[SQUARE, SQUARE / 2], crops=[FRAME, FRAME], title="x")
    assert len(images(svg)) == 3
    assert lines(svg, 0) == lines(svg, 1) == 1 + 4  # the outline and four sides of the frame
    boxed = figures.draw_attention(FRAME, quads=[SQUARE], box=(0.2, 0.2, 0.5, 0.9), title="x")
    assert (lines(boxed, 0), lines(boxed, 1), lines(boxed, 2)) == (1, 1, 0)


def test_a_frame_keeps_its_grey_where_there_is_no_heat_and_warms_where_there_is() -> None:
    heat = np.zeros((30, 20))
    heat[:, 10:] = 1.0
    [plain], [warm] = (
        images(figures.draw_attention(FRAME, heat=h, title="x")) for h in (None, heat)
    )
    assert np.array_equal(plain[..., 0], FRAME)
    assert np.array_equal(plain[:, :10], warm[:, :10])
    assert (warm[0, 10:, 0] > warm[0, 10:, 2]).all()


def test_a_large_frame_is_thinned_out() -> None:
    [image] = images(figures.draw_attention(np.zeros((600, 800), np.uint8), title="x"))
    assert max(image.shape) <= figures.MAX_SIDE
    assert image.shape[1] / image.shape[0] == pytest.approx(800 / 600, rel=0.02)


def test_a_crop_far_outside_does_not_move_the_frame() -> None:
    near, far = (figures.draw_attention(FRAME, quads=[SQUARE * k], title="x") for k in (1, 50))
    places = [re.findall(r"<image [^>]*?(?:x|transform)=\"[^\"]*\"", svg) for svg in (near, far)]
    assert places[0] == places[1] != []


def outlined(**settings: Any) -> str:
    known = {"masks": [("expert", MASK)], "classes": ("background", "A-line", "B-line", "pleura")}
    return figures.draw_masks(**{"frame": FRAME, **known, **settings})


def colour(k: int) -> np.ndarray:
    return 255 * np.array(to_rgb(figures.CLASS_COLOURS[k - 1]))


def test_a_class_has_its_colour_and_background_is_a_darker_frame() -> None:
    image, mask = images(outlined())
    assert np.array_equal(image[..., 0], FRAME)
    off = np.abs(mask[..., :3].astype(float) - colour(2)).max(axis=-1)
    assert (off[MASK == 2] <= 0.15 * 255 + 1).all()
    clear = mask[MASK == 0]
    assert (clear[:, 0] == clear[:, 2]).all()
    assert clear[:, 0].max() < 0.6 * FRAME.max()


def test_the_legend_names_the_classes_that_occur_and_no_other() -> None:
    texts = {text.strip() for text in ElementTree.fromstring(outlined()).itertext()}
    assert {"image", "expert", "B-line"} <= texts
    assert not {"background", "A-line", "pleura"} & texts
    empty = outlined(masks=[("expert", np.zeros_like(MASK))])
    assert "B-line" not in empty


def test_uncertainty_is_drawn_to_one_scale() -> None:
    maps = [("A-line", np.full(FRAME.shape, value)) for value in (0.0, 0.15, 0.9)]
    svg = outlined(uncertainty=maps)
    _, _, low, high, beyond = images(svg)
    assert (low[..., :3] < 10).all()
    assert np.array_equal(high, beyond)
    texts = [text.strip() for text in ElementTree.fromstring(svg).itertext()]
    assert texts.count("0.15") == 1
    assert "0.15" not in outlined()


def test_a_mask_is_thinned_out_as_its_frame_is() -> None:
    frame, mask = np.zeros((700, 350), np.uint8), np.zeros((700, 350), np.uint8)
    mask[:, 100:] = 1
    image, drawn = images(outlined(masks=[("expert", mask)], frame=frame))
    assert image.shape == drawn.shape == (234, 117, 4)
    assert (drawn[:, :, 2] > 100).sum() == (mask[::3, ::3] == 1).sum()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"masks": [("expert", MASK[:9])]}, r"expert: \(9, 20\) over a frame of \(30, 20\)"),
        ({"uncertainty": [("a", np.zeros((2, 2)))]}, r"a: \(2, 2\) over a frame"),
        ({"classes": ("background", "A-line")}, "class 2 of a mask is none of the 2 classes"),
    ],
)
def test_layers_that_do_not_fit_are_refused(
    unchecked: None, change: dict[str, Any], reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        outlined(**change)


SEEN_BY = {
    "all colours": np.eye(3),
    "no red": np.array([[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]]),
    "no green": np.array([[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]]),
    "no blue": np.array([[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]]),
}
"""What is left of linear red, green and blue (Machado et al. 2009, severity 1)."""


@pytest.mark.parametrize("matrix", SEEN_BY.values(), ids=SEEN_BY)
def test_colours_of_classes_are_told_apart_by_colour_blind_readers(matrix: np.ndarray) -> None:
    seen = [lab(matrix @ linear(name)) for name in figures.CLASS_COLOURS]
    apart = [np.linalg.norm(one - other) for one, other in combinations(seen, 2)]
    assert min(apart) > 25


def linear(name: str) -> np.ndarray:
    """Linear red, green and blue of an sRGB colour."""
    value = np.array(to_rgb(name))
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    """CIELAB of a linear colour under D65, where a distance of 2 is just seen."""
    to_xyz = np.array([[0.412, 0.358, 0.180], [0.213, 0.715, 0.072], [0.019, 0.119, 0.950]])
    x, y, z = np.cbrt(to_xyz @ rgb.clip(0.01, 1) / to_xyz.sum(axis=1))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])
