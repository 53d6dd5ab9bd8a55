import re
from functools import partial
from itertools import combinations
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from lus_ray import figures
from lus_ray.metrics import calibration
from tests.figures.svg import COLOUR_VISION, images, perceived, texts

CURVE = (np.array([0.0, 0.5, 1.0]), np.array([0.0, 0.8, 1.0]))
RNG = np.random.default_rng(0)
BINS = calibration.histogram(RNG.random(50), RNG.random(50) < 0.5)
RELIABILITY = calibration.reliability_curve(BINS)
FRAME = np.arange(30 * 20, dtype=np.uint8).reshape(30, 20)
MASK = np.zeros((30, 20), np.uint8)
MASK[10:, 5:15] = 2
SQUARE = np.array([[0.1, 0.1], [0.6, 0.1], [0.6, 0.6], [0.1, 0.6]])
CLASSES = ("background", "A-line", "B-line", "pleura")
EPOCHS = {0: {"loss": [1.0, 0.5], "score": [0.1, 0.2]}, 1: {"loss": [2.0]}}
COUNTS = np.array([[3.0, 1.0], [0.0, 0.0]])
PIXELS = ("background", "B-line")

draw_attention = partial(figures.draw_attention, FRAME, title="x")
draw_percentages = partial(figures.draw_confusion, COUNTS, PIXELS, title="x", percent=True)
draw_counts = partial(figures.draw_confusion, np.eye(3), ("a", "b<c>", "$d"), title="A & <b> $x$")


def draw_masks(frame=FRAME, masks=(("expert", MASK),), classes=CLASSES, **settings):
    return figures.draw_masks(frame, masks=masks, classes=classes, **settings)


FIGURES = {
    "confusion": draw_counts,
    "percent": draw_percentages,
    "roc": lambda: figures.draw_roc([CURVE, (np.zeros(0), np.zeros(0))], title="severity 0"),
    "reliability": lambda: figures.draw_reliability([RELIABILITY, None], title="all"),
    "net benefit": lambda: figures.draw_net_benefit(
        np.array([0.1, 0.5, 0.9]),
        [np.array([[0.3, 0.2, 0.1], [0.2, np.nan, 0.0], [0.4, np.nan, 0.2]])],
        np.array([0.3, 0.0, -3.0]),
        title="severity 2 or 3",
    ),
    "training": lambda: figures.draw_training(EPOCHS, left="loss", right="score", title="e2e"),
    "masks": lambda: draw_masks(
        masks=[("expert & <b>", MASK), ("predicted", MASK)],
        uncertainty=[("A-line", FRAME / 5000.0)],
        title="x",
    ),
    "attention": lambda: draw_attention(quads=[SQUARE], heat=FRAME / 255.0, crops=[FRAME]),
    "segmentations": lambda: figures.draw_segmentations(
        FRAME, MASK == 2, {"unet & <b>": MASK == 2, "sifa": MASK == 0}, title="x"
    ),
    "translations": lambda: figures.draw_image_rows([[("covid", FRAME), ("as cap", FRAME)]]),
}


@pytest.mark.parametrize("draw", FIGURES.values(), ids=FIGURES)
def test_a_figure_is_well_formed_and_the_same_each_time(draw):
    svg = draw()
    assert ElementTree.fromstring(svg).tag.endswith("svg")
    assert svg == draw()
    assert "<dc:date>" not in svg


def test_a_confusion_matrix_shows_counts_and_names_and_numbers_long_ones():
    assert {"A & <b> $x$", "b<c>", "$d", "predicted", "1", "0"} <= set(texts(draw_counts()))
    svg = figures.draw_confusion(np.eye(2), ("healthy", "cardiogenic oedema"), title="x")
    assert "cardiogenic oedema  2" in svg
    assert figures.shorten("severity, of all", 10) == "severity…"


def test_pixels_are_in_percent_of_their_class_and_an_absent_class_is_empty():
    shown = texts(draw_percentages())
    assert [text for text in shown if text[0].isdigit()] == ["75.0", "25.0"]
    assert shown.count("background") == shown.count("B-line") == 2


def count_lines(svg, *numbers):
    return [svg.count(f"stroke: {figures.LINES[number][0]}") for number in numbers]


def test_a_crop_has_the_frame_of_its_quadrilateral_and_a_box_comes_next():
    svg = draw_attention(quads=[SQUARE, SQUARE / 2], crops=[FRAME, FRAME])
    assert len(images(svg)) == 3
    assert count_lines(svg, 0, 1) == [1 + 4, 1 + 4]  # the quadrilateral and four sides of a frame
    boxed = draw_attention(quads=[SQUARE], box=(0.2, 0.2, 0.5, 0.9))
    assert count_lines(boxed, 0, 1, 2) == [1, 1, 0]


def test_a_frame_stays_grey_without_heat_and_turns_warm_with_it():
    heat = np.zeros((30, 20))
    heat[:, 10:] = 1.0
    [plain], [warm] = (images(draw_attention(heat=h)) for h in (None, heat))
    assert np.array_equal(plain[..., 0], FRAME)
    assert np.array_equal(plain[:, :10], warm[:, :10])
    assert (warm[0, 10:, 0] > warm[0, 10:, 2]).all()


def test_a_crop_far_outside_does_not_move_the_frame():
    near, far = (draw_attention(quads=[SQUARE * k]) for k in (1, 50))
    position = r"<image [^>]*?(?:x|transform)=\"[^\"]*\""
    assert re.findall(position, near) == re.findall(position, far) != []


def test_a_class_has_its_colour_and_background_is_a_darker_frame():
    image, mask = images(draw_masks())
    assert np.array_equal(image[..., 0], FRAME)
    colour = 255 * np.array(to_rgb(figures.CLASS_COLOURS[1]))
    difference = np.abs(mask[..., :3].astype(float) - colour).max(axis=-1)
    assert (difference[MASK == 2] <= 0.15 * 255 + 1).all()
    clear = mask[MASK == 0]
    assert (clear[:, 0] == clear[:, 2]).all()
    assert clear[:, 0].max() < 0.6 * FRAME.max()


def test_the_legend_names_only_classes_that_occur():
    shown = set(texts(draw_masks()))
    assert {"image", "expert", "B-line"} <= shown
    assert not {"background", "A-line", "pleura"} & shown
    assert "B-line" not in draw_masks(masks=[("expert", np.zeros_like(MASK))])


def test_maps_of_uncertainty_share_one_scale():
    maps = [("A-line", np.full(FRAME.shape, value)) for value in (0.0, 0.15, 0.9)]
    svg = draw_masks(uncertainty=maps)
    _, _, low, high, beyond = images(svg)
    assert (low[..., :3] < 10).all()
    assert np.array_equal(high, beyond)
    assert texts(svg).count("0.15") == 1
    assert "0.15" not in draw_masks()


def test_a_large_frame_and_its_mask_are_thinned_out_alike():
    frame, mask = np.zeros((700, 350), np.uint8), np.zeros((700, 350), np.uint8)
    mask[:, 100:] = 1
    image, overlay = images(draw_masks(masks=[("expert", mask)], frame=frame))
    assert image.shape == overlay.shape == (234, 117, 4)
    assert (overlay[:, :, 2] > 100).sum() == (mask[::3, ::3] == 1).sum()
    [image] = images(figures.draw_attention(np.zeros((600, 800), np.uint8), title="x"))
    assert image.shape[:2] == (150, 200)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"masks": [("expert", MASK[:9])]}, r"expert: \(9, 20\) over a frame of \(30, 20\)"),
        ({"uncertainty": [("a", np.zeros((2, 2)))]}, r"a: \(2, 2\) over a frame"),
        ({"classes": CLASSES[:2]}, "class 2 of a mask is none of the 2 classes"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_layers_that_do_not_fit_are_refused(changes, reason):
    with pytest.raises(ValueError, match=reason):
        draw_masks(**changes)


@pytest.mark.parametrize("vision", COLOUR_VISION.values(), ids=COLOUR_VISION)
def test_colour_blind_readers_distinguish_classes_expert_and_arm(vision):
    classes = [perceived(name, vision) for name in figures.CLASS_COLOURS]
    assert min(np.linalg.norm(a - b) for a, b in combinations(classes, 2)) > 25
    expert, arm = (perceived(colour, vision) for colour, _ in (figures.EXPERT, figures.ARM))
    assert np.linalg.norm(expert - arm) > 60
    assert figures.EXPERT[1] != figures.ARM[1]
