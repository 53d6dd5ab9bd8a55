"""Strips: clips chosen without looking at who is right, and drawn with all that is known."""

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from lus_ray.evaluation import report_json, results
from lus_ray.report import clip_timeline
from lus_ray.report.clip_timeline import draw_timeline
from tests.evaluation.frame_run import FRAMES, LEAKY, write_frame_cell, write_frame_run
from tests.evaluation.run_folders import write_run

STILL = np.array([[0.1, 0.2, 0.3, 0.4]])


def texts(svg: str) -> set[str]:
    return {(text or "").strip() for text in ElementTree.fromstring(svg).itertext()}


def test_two_clips_of_each_true_score_and_of_different_patients_are_chosen(tmp_path: Path) -> None:
    found, _ = report_json.compute(results.read(write_frame_run(tmp_path)), num_draws=10)
    chosen = found.clips
    assert [fact.severity for fact in chosen] == [0, 0, 1, 1, 2, 2, 3, 3]
    assert all(a.patient != b.patient for a, b in zip(chosen[::2], chosen[1::2], strict=True))
    assert {(fact.arm, fact.fold) for fact in chosen} == {("frames", 0)}
    assert list(chosen[0].scores) == ["max-argmax", "uninorm"]


def test_who_is_right_does_not_choose_the_clips(tmp_path: Path) -> None:
    def chosen(out: Path, skill: float) -> list[str]:
        write_run(out, [FRAMES])
        write_frame_cell(out, FRAMES, 0, skill=skill)
        found, _ = report_json.compute(results.read(out), num_draws=10)
        return [fact.clip for fact in found.clips]

    assert chosen(tmp_path / "good", 5.0) == chosen(tmp_path / "bad", 0.2)


def test_a_leaky_frame_arm_is_drawn_only_where_there_is_no_other(tmp_path: Path) -> None:
    write_run(tmp_path, [LEAKY])
    write_frame_cell(tmp_path, LEAKY, 1)
    found, _ = report_json.compute(results.read(tmp_path), num_draws=10)
    assert {(fact.arm, fact.fold) for fact in found.clips} == {(LEAKY.name, 1)}


def test_clips_without_any_frame_score_are_drawn_too(tmp_path: Path) -> None:
    write_run(tmp_path, [FRAMES])
    write_frame_cell(tmp_path, FRAMES, 0, target=None)
    run = results.read(tmp_path)
    found, _ = report_json.compute(run, num_draws=10)
    assert len(clip_timeline.draw_timelines(run, found.clips, found.neutral)) == 8


def test_a_run_without_frame_arms_has_no_strips(tmp_path: Path) -> None:
    write_run(tmp_path, [])
    found, _ = report_json.compute(results.read(tmp_path), num_draws=10)
    assert found.clips == []


def test_weak_supervision_draws_no_true_frame_scores(tmp_path: Path) -> None:
    def drawn(out: Path, supervision: str) -> str:
        run = results.read(write_frame_run(out, folds=[0], supervision=supervision))
        found, _ = report_json.compute(run, num_draws=10)
        return clip_timeline.draw_timelines(run, found.clips, found.neutral)[0]

    assert len(drawn(tmp_path / "weak", "weak")) < len(drawn(tmp_path / "frames", "frames"))


def test_a_caption_names_clip_truth_raters_and_arms() -> None:
    fact = {
        "clip": "a/b", "severity": 2, "raters": [2, 1], "arm": "cnn", "fold": 3,
        "scores": {"max-argmax": 3, "uninorm": None},
    }  # fmt: skip
    assert clip_timeline.caption(fact) == (
        "a/b (true score 2; raters 2, 1). Frame model cnn, fold 3. "
        "Clip scores: a max-argmax 3, b uninorm –."
    )
    fact |= {"severity": None, "raters": [], "scores": {}}
    assert clip_timeline.caption(fact) == "a/b (not annotated). Frame model cnn, fold 3."


def test_only_what_is_known_has_a_column() -> None:
    assert {"true", "rated", "neutral"} & texts(draw_timeline(STILL)) == set()
    shown = texts(
        draw_timeline(
            STILL, severity=1, raters=[1, 1], scores=[0, None], neutral=[None, [0, 0, 0.5, 1]]
        )
    )
    assert {"true", "rated", "a", "b", "neutral", "score", "frame"} <= shown


def test_time_is_in_seconds_where_the_rate_is_known() -> None:
    assert "time, s" in texts(draw_timeline(np.repeat(STILL, 30, axis=0), fps=25.0))


@pytest.mark.parametrize("num_frames", [1, 2, 599, 10_000])
def test_strips_of_any_length_are_alike_twice_and_small(num_frames: int) -> None:
    probability = np.random.default_rng(0).dirichlet(np.ones(4), num_frames)
    severity = probability.argmax(axis=1)[:1].repeat(num_frames)
    one, two = (
        draw_timeline(probability, frame_severity=severity, title="a & b") for _ in range(2)
    )
    assert one == two
    assert len(one) < 120_000
    assert "a & b" in texts(one)
