import numpy as np
import pytest

from lus_ray.evaluation.schema import ExampleClip
from lus_ray.report import clip_timeline
from lus_ray.report.clip_timeline import draw_timeline
from tests.evaluation.frame_run import FRAMES, write_frame_cell
from tests.evaluation.run_folders import compute, write_run
from tests.figures.svg import texts

STILL = np.array([[0.1, 0.2, 0.3, 0.4]])


def draw_first(out, *, target="as it is", supervision="frames"):
    write_run(out, [FRAMES], supervision=supervision)
    write_frame_cell(out, FRAMES, 0, target=target)
    computed = compute(out, num_draws=10)
    clips = computed.contents.clips
    assert len(clips) == 8
    [timeline] = clip_timeline.draw_timelines(computed.run, clips[:1], computed.contents.neutral)
    return timeline


@pytest.mark.slow
def test_true_frame_scores_are_drawn_where_they_exist(tmp_path):
    full = draw_first(tmp_path / "full")
    weak = draw_first(tmp_path / "weak", supervision="weak")
    draw_first(tmp_path / "unscored", target=None)
    assert len(weak) < len(full)


def test_a_caption_names_clip_truth_raters_and_arms():
    known = {"clip": "a/b", "patient": "a", "arm": "cnn", "fold": 3}
    scores = {"max-argmax": 3, "uninorm": None}
    assert clip_timeline.caption(
        ExampleClip(**known, severity=2, raters=(2, 1), scores=scores)
    ) == (
        "a/b (true score 2; raters 2, 1). Frame model cnn, fold 3. "
        "Clip scores: a max-argmax 3, b uninorm –."
    )
    bare = ExampleClip(**known, severity=None, raters=(), scores={})
    assert clip_timeline.caption(bare) == "a/b (not annotated). Frame model cnn, fold 3."


def test_only_known_scores_have_a_column():
    assert not {"true", "rated", "neutral"} & set(texts(draw_timeline(STILL)))
    known = {"severity": 1, "raters": [1, 1], "scores": [0, None]}
    shown = texts(draw_timeline(STILL, neutral=[None, [0, 0, 0.5, 1]], **known))
    assert {"true", "rated", "a", "b", "neutral", "score", "frame"} <= set(shown)


def test_time_is_in_seconds_where_the_rate_is_known():
    assert "time, s" in texts(draw_timeline(np.repeat(STILL, 30, axis=0), fps=25.0))


@pytest.mark.parametrize("num_frames", [1, 2_000])
def test_timelines_of_any_length_are_reproducible_and_small(num_frames):
    probability = np.random.default_rng(0).dirichlet(np.ones(4), num_frames)
    known = {"frame_severity": np.zeros(num_frames, np.int64), "title": "a & b"}
    timeline = draw_timeline(probability, **known)
    assert timeline == draw_timeline(probability, **known)
    assert len(timeline) < 120_000
    assert "a & b" in texts(timeline)
