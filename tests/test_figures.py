"""Figures: the same bytes for the same numbers, and nothing from outside."""

from xml.etree import ElementTree

import numpy as np
import pytest

from lus_ray import figures
from lus_ray.metrics.calibration import reliability

CURVE = (np.array([0.0, 0.5, 1.0]), np.array([0.0, 0.8, 1.0]))


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
    }


@pytest.mark.parametrize("name", ["confusion", "roc", "reliability", "training", "bars"])
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
