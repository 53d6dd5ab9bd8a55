import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lus_ray import clip
from lus_ray.data.ingest import phantom
from lus_ray.data.ledger import Ledger
from lus_ray.errors import InputError

SMALL = {"patients": 4, "clips": 2, "frames": 5, "size": 72}
SCHEMES = tuple(clip.MASK_SCHEMES)
DENSE = {name: k for k, name in enumerate(clip.MASK_SCHEMES["dense"])}


def answers(row):
    return dict(zip(clip.BIOMARKERS, row["biomarkers"], strict=True))


@pytest.fixture(scope="module")
def cohort():
    """The default cohort in small pictures, both domains."""
    return list(phantom.clips(frames=6, size=80, domain="A,B"))


def test_the_same_seed_gives_the_same_bytes():
    first, second = (clip.make_row(**next(phantom.clips(**SMALL, seed=5))) for _ in range(2))
    assert first == second


def test_another_seed_gives_another_clip():
    first, second = (next(phantom.clips(**SMALL, seed=seed))["frames"] for seed in (5, 6))
    assert not np.array_equal(first, second)


def test_a_clip_does_not_depend_on_how_many_are_made():
    few = list(phantom.clips(**(SMALL | {"patients": 2, "clips": 1}), seed=3))
    many = {row["clip"]: row for row in phantom.clips(**SMALL, seed=3, domain="B,A")}
    for row in few:
        assert clip.make_row(**row) == clip.make_row(**many[row["clip"]])


@given(frames=st.integers(1, 12), size=st.integers(64, 100))
@settings(max_examples=8, deadline=None)
def test_labels_of_a_clip_do_not_depend_on_frames_and_pixels(frames, size):
    kept = ("severity", "raters", "biomarkers", "sf_ratio", "disease", "probe")
    asked = SMALL | {"patients": 1, "clips": 1, "frames": frames, "size": size}
    row, usual = next(phantom.clips(**asked)), next(phantom.clips(**SMALL))
    assert [row[name] for name in kept] == [usual[name] for name in kept]


@given(
    seed=st.integers(0, 2**31 - 1),
    domain=st.sampled_from(["A", "B"]),
    probe=st.sampled_from([None, "convex", "linear"]),
    masks=st.sampled_from([*SCHEMES, "none"]),
    difficulty=st.floats(0, 1),
)
@settings(max_examples=12, deadline=None)
def test_every_row_fits_the_schema(seed, domain, probe, masks, difficulty):
    asked = SMALL | {"patients": 1}
    options = {"seed": seed, "domain": domain, "probe": probe, "masks": masks}
    for row in phantom.clips(**asked, **options, difficulty=difficulty):
        made = clip.make_row(**row)
        assert (made["masks"] is None) == (masks == "none")
        assert made["mask_scheme"] == (None if masks == "none" else masks)
        assert probe in (None, made["probe"])


def test_rows_come_sorted_by_patient_and_names_are_unique():
    rows = [
        (row["patient"], row["clip"])
        for seed in (0, 1)
        for row in phantom.clips(**(SMALL | {"frames": 1}), domain="A,B", seed=seed)
    ]
    assert len({name for _, name in rows}) == 2 * 2 * 4 * 2
    assert rows[:16] == sorted(rows[:16], key=lambda row: row[0])


def test_a_seventh_clip_is_a_second_look_at_the_first_zone():
    asked = SMALL | {"patients": 1, "clips": 7, "frames": 1}
    names = [row["clip"].rpartition("-")[2] for row in phantom.clips(**asked)]
    assert names == ["R1", "R2", "R3", "L1", "L2", "L3", "R1_2"]


@pytest.mark.parametrize("domain", ["A", "B"])
def test_the_default_cohort_holds_every_class(cohort, domain):
    rows = [row for row in cohort if row["domain"] == domain]
    assert {row["severity"] for row in rows} == {0, 1, 2, 3}
    assert {clip.sf_class(row["sf_ratio"]) for row in rows} == {0, 1, 2, 3}
    assert {row["disease"] for row in rows} == set(clip.DISEASES)
    assert {row["probe"] for row in rows} == {"convex", "linear"}


def test_some_clips_change_their_grade_by_one_and_the_worst_frame_names_the_clip(cohort):
    changing = [row for row in cohort if len(set(row["frame_severity"])) > 1]
    assert 0.2 < len(changing) / len(cohort) < 0.6
    for row in cohort:
        assert max(row["frame_severity"]) == row["severity"]
        steps = [abs(a - b) for a, b in itertools.pairwise(row["frame_severity"])]
        assert max(steps) <= 1


def test_lines_are_in_the_dense_masks_where_the_biomarkers_say_so(cohort):
    for row in cohort:
        said = answers(row)
        assert (row["masks"] == DENSE["A-line"]).any() != said["A-lines: none"], row["clip"]
        assert (row["masks"] == DENSE["B-line"]).any() != said["B-lines: none"], row["clip"]


def test_frames_of_grade_0_have_nothing_unhealthy_in_the_mask(cohort):
    unhealthy = [DENSE["unhealthy region"], DENSE["B-line"]]
    for row in cohort:
        for mask, grade in zip(row["masks"], row["frame_severity"], strict=True):
            assert np.isin(mask, unhealthy).any() == (grade > 0), row["clip"]


def test_the_pleura_lies_in_the_third_that_the_biomarkers_name(cohort):
    thirds = clip.BIOMARKER_GROUPS["pleural location"]
    for row in cohort:
        said = answers(row)
        pleura = np.isin(row["masks"], [DENSE["healthy pleura"], DENSE["unhealthy pleura"]])
        assert pleura.any(axis=(1, 2)).all(), row["clip"]
        if not said["effusion: none"]:
            continue  # the lung surface in the mask lies deeper than the wall's end
        place = np.nonzero(pleura)[1].mean() / row["frames"].shape[1]
        assert said[f"pleural location: {thirds[int(3 * place)]}"] == 1, row["clip"]


@pytest.mark.parametrize("domain", ["A", "B"])
def test_the_highest_marker_in_a_mask_is_the_grade_of_its_frame(domain):
    for row in phantom.clips(
        patients=14, clips=2, frames=4, size=72, masks="markers", domain=domain
    ):
        found = [int(mask.max()) - 1 for mask in row["masks"]]
        assert found == row["frame_severity"], row["clip"]


def test_sparse_and_b_line_masks_are_the_dense_ones_with_classes_joined():
    dense, sparse, bline = (
        list(phantom.clips(**SMALL, masks=m)) for m in SCHEMES if m != "markers"
    )
    joined = np.array([0, 1, 2, 3, 3, 0, 0])
    for whole, few, line in zip(dense, sparse, bline, strict=True):
        assert np.array_equal(joined[whole["masks"]], few["masks"])
        # the pleural line is drawn over the upper end of a B-line
        assert (line["masks"][few["masks"] == 2] == 1).all()
        assert np.isin(few["masks"][line["masks"] == 1], [2, 3]).all()


def test_a_b_line_is_brighter_than_the_lung_beside_it():
    brighter = []
    for row in phantom.clips(patients=8, clips=2, frames=2, size=96, masks="dense"):
        lines, lung = (row["masks"] == DENSE[name] for name in ("B-line", "healthy region"))
        if lines.any() and lung.any():
            brighter.append(row["frames"][lines].mean() > row["frames"][lung].mean())
    assert len(brighter) > 4
    assert np.mean(brighter) > 0.6


def test_neighbouring_frames_are_alike_but_not_equal():
    frames = next(phantom.clips(**SMALL))["frames"].astype(float)
    near, far = np.corrcoef(frames[0].ravel(), frames[1].ravel())[0, 1], frames[0] - frames[1]
    assert 0.85 < near < 0.999
    assert np.abs(far).mean() > 0.5


def test_domain_b_is_brighter_and_of_coarser_grain():
    grey, grain = {}, {}
    for domain in ("A", "B"):
        asked = {"patients": 8, "clips": 1, "frames": 2, "size": 128, "masks": "none"}
        rows = phantom.clips(**asked, domain=domain, probe="convex")
        pixels = np.stack([row["frames"] for row in rows]).astype(float)
        flicker = pixels[:, 1] - pixels[:, 0]
        grey[domain] = pixels.mean()
        grain[domain] = np.abs(np.diff(flicker, axis=2)).mean() / np.abs(flicker).mean()
    assert grey["B"] > 1.1 * grey["A"]
    assert grain["B"] < 0.9 * grain["A"]


def test_difficulty_means_fainter_signs_in_more_and_less_even_haze():
    taken = phantom.ACQUISITIONS["A"]
    easy, hard = (phantom.sample_appearance(taken, d, np.random.default_rng(0)) for d in (0.0, 1.0))
    assert hard.contrast < easy.contrast
    assert hard.haze > easy.haze
    assert hard.streaks > easy.streaks


def test_b_line_outlines_are_exact_in_domain_a_only():
    assert phantom.ACQUISITIONS["A"].jitter_mm == 0 < phantom.ACQUISITIONS["B"].jitter_mm


def test_difficulty_takes_the_contrast_from_b_lines():
    contrast = []
    for difficulty in (0.0, 1.0):
        row = next(
            row
            for row in phantom.clips(patients=9, clips=3, frames=1, size=96, difficulty=difficulty)
            if answers(row)["B-lines: few"] and (row["masks"] == DENSE["healthy region"]).any()
        )
        lines, lung = (row["masks"] == DENSE[name] for name in ("B-line", "healthy region"))
        contrast.append(row["frames"][lines].mean() / row["frames"][lung].mean())
    assert contrast[0] > contrast[1]


def test_a_planted_gain_makes_sick_lungs_bright():
    def correlation(confounder):
        rows = phantom.clips(
            patients=40, clips=1, frames=1, size=64, masks="none", confounder=confounder
        )
        pairs = [(row["frames"].mean(), row["severity"]) for row in rows]
        return np.corrcoef(np.transpose(pairs))[0, 1]

    assert correlation("gain") > correlation(None) + 0.2


def test_the_ledger_says_that_the_clips_are_synthetic():
    ledger = Ledger()
    phantom.clips(None, ledger, seed=7)
    assert [(entry.action, entry.item) for entry in ledger.entries] == [("noted", "all clips")]
    assert "seed 7" in ledger.entries[0].reason
    assert "share" not in ledger.entries[0].reason
    phantom.clips(None, ledger, video_labels=0.25)
    assert "clip scores on a share of 0.25" in ledger.entries[1].reason


def test_a_part_of_the_clips_has_scores_and_nothing_else_changes():
    asked = SMALL | {"clips": 5, "frames": 2}
    whole, part = (list(phantom.clips(**asked, video_labels=share)) for share in (1.0, 0.4))
    for one, other in zip(whole, part, strict=True):
        assert (other["severity"] is None) == (other["raters"] is None)
        kept = set(one) - ({"severity", "raters"} if other["severity"] is None else set())
        made, same = clip.make_row(**one), clip.make_row(**other)
        assert {name: made[name] for name in kept} == {name: same[name] for name in kept}
        assert made["sha256"] == same["sha256"]
        assert other["frame_severity"] is not None
    scored = [row["clip"] for row in part if row["severity"] is not None]
    assert [sum(name.startswith(row["patient"]) for name in scored) for row in part] == [2] * 20
    assert len({name.rpartition("-")[2] for name in scored}) > 2
    again = phantom.clips(**asked, video_labels=0.4)
    assert [row["clip"] for row in again if row["severity"] is not None] == scored


@given(
    seed=st.integers(0, 2**31 - 1),
    num_clips=st.integers(1, 12),
    low=st.floats(0, 1),
    high=st.floats(0, 1),
)
def test_a_larger_share_of_scores_keeps_those_of_a_smaller(seed, num_clips, low, high):
    low, high = sorted((low, high))
    few, many = (
        phantom.select_scored_clips(seed, "A", 0, num_clips=num_clips, share=share)
        for share in (low, high)
    )
    assert few <= many <= set(range(num_clips))
    assert bool(few) == (low > 0)
    assert len(few) == round(low * num_clips) or (len(few) == 1 and low * num_clips <= 0.5)


def test_every_clip_number_is_scored_about_equally_often():
    chosen = [
        number
        for index in range(400)
        for number in phantom.select_scored_clips(0, "A", index, num_clips=4, share=0.25)
    ]
    assert len(chosen) == 400
    assert np.bincount(chosen) == pytest.approx([100] * 4, abs=30)


def test_without_scores_only_frames_are_scored():
    rows = list(phantom.clips(**SMALL, video_labels=0))
    assert all(row["severity"] is row["raters"] is None for row in rows)
    assert all(len(row["frame_severity"]) == SMALL["frames"] for row in rows)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("patients", 0),
        ("clips", 100),
        ("frames", 2.5),
        ("size", 32),
        ("seed", -1),
        ("difficulty", 1.5),
        ("difficulty", float("nan")),
        ("video_labels", -0.1),
        ("video_labels", 1.1),
        ("video_labels", float("nan")),
        ("domain", "C"),
        ("domain", ""),
        ("probe", "phased"),
        ("masks", "boxes"),
        ("confounder", "age"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_a_bad_option_is_refused_at_once_in_one_line(option, value):
    with pytest.raises(InputError, match=option) as caught:
        phantom.clips(**{option: value})
    assert "\n" not in str(caught.value)
