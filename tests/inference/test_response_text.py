"""What `lus predict` prints: the warning first, kinds by their full names, cards at the end."""

from dataclasses import replace

import numpy as np
import pytest

from lus_ray.clip import frames_of
from lus_ray.data import store
from lus_ray.inference.response import wrap_frames
from lus_ray.inference.response_text import format_response


@pytest.fixture(scope="module")
def response(local, runs):
    row = next(store.read(runs / "clips"))
    return local.predict(wrap_frames(frames_of(row)))


@pytest.fixture(scope="module")
def lines(response):
    return format_response(response).splitlines()


def test_the_first_line_says_that_the_models_saw_synthetic_clips_only(lines, response):
    assert lines[0] == (
        "WARNING: These models saw synthetic clips only (smoke size). "
        "Their answers about a real patient mean nothing."
    )
    assert lines[1] == "store: 4 frames of 64 x 64"
    assert lines[-1] == response.notice
    real = format_response(replace(response, banner=None)).splitlines()
    assert real == lines[1:]


def test_experts_stand_below_their_summary_under_their_full_names(lines):
    start = next(n for n, line in enumerate(lines) if line.startswith("No model of severity"))
    assert lines[start].endswith("beat the baseline on validation; nothing is summarised.")
    assert lines[start + 1].startswith("  not in the summary")
    assert lines[start + 2].startswith("    decision tree: ")
    assert " on biomarkers, " in lines[start + 2]
    assert " on cross-fitted, " in lines[start + 2]
    assert not any("DT" in line for line in lines)


def test_every_other_prediction_is_a_line(lines, response):
    best = int(np.argmax(response.clip_scores[0].probability))
    assert any(line.startswith(f"clip score {best} (") for line in lines)
    assert f"frame scores: {''.join(map(str, response.frames.score))}" in lines
    signs = next(line for line in lines if line.startswith("lung signs (probability): "))
    assert "the network did not beat chance" in signs


def test_models_in_use_show_their_cards(lines):
    shown = lines[lines.index("models:") + 1 : -1]
    assert shown[0].startswith("  lung signs: TSM network. Trained on ")
    assert all("phantom clips" in line and " patients" in line for line in shown)
    assert not any("decision tree" in line for line in shown)
