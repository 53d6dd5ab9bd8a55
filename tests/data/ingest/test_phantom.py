import itertools
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from lus_ray import clip
from lus_ray.data.ingest import phantom
from lus_ray.data.ledger import Ledger
from lus_ray.errors import InputError

SMALL = {"patients": 4, "clips": 2, "frames": 5, "size": 72}
ONE = SMALL | {"patients": 1}
SCHEMES = tuple(clip.MASK_SCHEMES)
DENSE = {name: k for k, name in enumerate(clip.MASK_SCHEMES["dense"])}


def biomarkers(row):
    return dict(zip(clip.BIOMARKERS, row["biomarkers"], strict=True))


@pytest.fixture(scope="module")
def cohort():
    """Two small clips of each patient of the default cohort, both domains."""
    return list(phantom.clips(clips=2, frames=4, size=64, domain="A,B"))


@pytest.fixture(scope="module")
def small():
    return list(phantom.clips(**SMALL))


def test_a_seed_determines_every_byte_whatever_else_is_made(small):
    options = SMALL | {"patients": 2, "clips": 1, "domain": "A,B"}
    few, another = (list(phantom.clips(**options, seed=seed)) for seed in (0, 6))
    many = {row["clip"]: row for row in small}
    for row in few[:2]:
        assert clip.make_row(**row) == clip.make_row(**many[row["clip"]])
    assert not np.array_equal(few[0]["frames"], another[0]["frames"])


@given(frames=st.integers(1, 12), size=st.integers(64, 100))
@settings(max_examples=6)
def test_labels_of_a_clip_do_not_depend_on_frames_and_pixels(small, frames, size):
    row = next(iter(phantom.clips(**ONE | {"clips": 1, "frames": frames, "size": size})))
    for name in ("severity", "raters", "biomarkers", "sf_ratio", "disease", "probe"):
        assert row[name] == small[0][name]


@given(
    seed=st.integers(0, 2**31 - 1),
    domain=st.sampled_from(["A", "B"]),
    probe=st.sampled_from([None, "convex", "linear"]),
    masks=st.sampled_from([*SCHEMES, "none"]),
    difficulty=st.floats(0, 1),
)
@settings(max_examples=10)
def test_every_row_fits_the_schema(seed, domain, probe, masks, difficulty):
    options = {"seed": seed, "domain": domain, "probe": probe, "masks": masks}
    for row in phantom.clips(**ONE, **options, difficulty=difficulty):
        made = clip.make_row(**row)
        assert (made["masks"] is None) == (masks == "none")
        assert made["mask_scheme"] == (None if masks == "none" else masks)
        assert probe in (None, made["probe"])


def test_rows_are_sorted_by_patient_and_name_the_zone():
    options = ONE | {"clips": 7, "frames": 1, "size": 64, "domain": "B,A"}
    rows = [row for seed in (0, 1) for row in phantom.clips(**options, seed=seed)]
    assert len({row["clip"] for row in rows}) == 2 * 2 * 7
    patients = [row["patient"] for row in rows[:14]]
    assert patients == sorted(patients)
    zones = [row["clip"].rpartition("-")[2] for row in rows[:7]]
    assert zones == ["R1", "R2", "R3", "L1", "L2", "L3", "R1_2"]


@pytest.mark.slow
def test_the_default_cohort_has_every_class(cohort):
    for domain in ("A", "B"):
        rows = [row for row in cohort if row["domain"] == domain]
        assert {row["severity"] for row in rows} == {0, 1, 2, 3}
        assert {clip.sf_class(row["sf_ratio"]) for row in rows} == {0, 1, 2, 3}
        assert {row["disease"] for row in rows} == set(clip.DISEASES)
        assert {row["probe"] for row in rows} == {"convex", "linear"}


def test_grades_change_by_one_within_some_clips_and_the_worst_frame_grades_the_clip(cohort):
    changing = [row for row in cohort if len(set(row["frame_severity"])) > 1]
    assert 0.2 < len(changing) / len(cohort) < 0.6
    for row in cohort:
        assert max(row["frame_severity"]) == row["severity"]
        assert max(abs(a - b) for a, b in itertools.pairwise(row["frame_severity"])) <= 1


def test_dense_masks_agree_with_biomarkers_and_grades(cohort):
    thirds = clip.BIOMARKER_GROUPS["pleural location"]
    unhealthy = [DENSE["unhealthy region"], DENSE["B-line"]]
    for row in cohort:
        present, masks = biomarkers(row), row["masks"]
        assert (masks == DENSE["A-line"]).any() != present["A-lines: none"], row["clip"]
        assert (masks == DENSE["B-line"]).any() != present["B-lines: none"], row["clip"]
        sick = np.isin(masks, unhealthy).any(axis=(1, 2))
        assert (sick == (np.array(row["frame_severity"]) > 0)).all(), row["clip"]
        pleura = np.isin(masks, [DENSE["healthy pleura"], DENSE["unhealthy pleura"]])
        assert pleura.any(axis=(1, 2)).all(), row["clip"]
        if present["effusion: none"]:  # else the lung surface lies below the end of the wall
            depth = np.nonzero(pleura)[1].mean() / row["frames"].shape[1]
            assert present[f"pleural location: {thirds[int(3 * depth)]}"] == 1, row["clip"]


@pytest.mark.slow
def test_the_highest_marker_in_a_mask_is_the_grade_of_its_frame():
    options = {"patients": 14, "clips": 1, "frames": 4, "size": 64, "masks": "markers"}
    for row in phantom.clips(**options, domain="A,B"):
        assert [int(mask.max()) - 1 for mask in row["masks"]] == row["frame_severity"], row["clip"]


def test_sparse_and_b_line_masks_are_the_dense_ones_with_classes_merged(small):
    sparse, bline = (phantom.clips(**SMALL, masks=scheme) for scheme in ("sparse", "bline"))
    merged = np.array([0, 1, 2, 3, 3, 0, 0])
    for whole, few, line in zip(small, sparse, bline, strict=True):
        assert np.array_equal(merged[whole["masks"]], few["masks"])
        # the pleural line covers the upper end of a B-line
        assert (line["masks"][few["masks"] == 2] == 1).all()
        assert np.isin(few["masks"][line["masks"] == 1], [2, 3]).all()


@pytest.mark.parametrize("scanners", ["same", "varied"])
def test_a_b_line_is_brighter_than_the_lung_beside_it(scanners):
    brighter = []
    for row in phantom.clips(patients=8, clips=2, frames=1, size=96, scanners=scanners):
        lines, lung = (row["masks"][0] == DENSE[name] for name in ("B-line", "healthy region"))
        brighter += [
            grey[line].mean() > grey[other].mean()
            for grey, line, other in zip(row["frames"][0], lines, lung, strict=True)
            if line.any() and other.any()
        ]
    assert len(brighter) > 100
    assert np.mean(brighter) > 0.75


@pytest.mark.slow
def test_a_bright_depth_shows_a_sick_lung_only_where_all_patients_have_the_same_scanner():
    def separation(scanners):
        options = {"patients": 84, "clips": 1, "frames": 1, "size": 64, "masks": "none"}
        rows = list(phantom.clips(**options, scanners=scanners))
        depth = [row["frames"][0, 42:].mean() / row["frames"].mean() for row in rows]
        return roc_auc_score([row["severity"] >= 2 for row in rows], depth)

    assert separation("same") > 0.65
    assert separation("varied") == pytest.approx(0.5, abs=0.1)


def test_neighbouring_frames_are_alike_but_not_equal(small):
    first, second, *_ = small[0]["frames"].astype(float)
    assert 0.85 < np.corrcoef(first.ravel(), second.ravel())[0, 1] < 0.999
    assert np.abs(first - second).mean() > 0.5


def test_domain_b_is_brighter_of_coarser_grain_and_has_unsteady_masks():
    grey, grain = {}, {}
    for domain in ("A", "B"):
        options = {"patients": 8, "clips": 1, "frames": 2, "size": 128, "scanners": "same"}
        rows = phantom.clips(**options, masks="none", domain=domain, probe="convex")
        pixels = np.stack([row["frames"] for row in rows]).astype(float)
        flicker = pixels[:, 1] - pixels[:, 0]
        grey[domain] = pixels.mean()
        grain[domain] = np.abs(np.diff(flicker, axis=2)).mean() / np.abs(flicker).mean()
    assert grey["B"] > 1.1 * grey["A"]
    assert grain["B"] < 0.9 * grain["A"]
    assert phantom.ACQUISITIONS["A"].jitter_mm == 0 < phantom.ACQUISITIONS["B"].jitter_mm


def test_difficulty_makes_fainter_findings_in_more_and_less_even_haze():
    easy, hard = (
        phantom.sample_appearance(phantom.ACQUISITIONS["A"], difficulty, np.random.default_rng(0))
        for difficulty in (0.0, 1.0)
    )
    assert hard.contrast < easy.contrast
    assert (hard.haze, hard.streaks) > (easy.haze, easy.streaks)
    assert hard.streaks > easy.streaks


@pytest.mark.slow
def test_a_planted_gain_makes_sick_lungs_bright():
    def correlation(confounder):
        options = {"patients": 40, "clips": 1, "frames": 1, "size": 64, "confounder": confounder}
        rows = phantom.clips(**options, masks="none")
        pairs = [(row["frames"].mean(), row["severity"]) for row in rows]
        return np.corrcoef(np.transpose(pairs))[0, 1]

    assert correlation("gain") > correlation(None) + 0.2


def test_the_ledger_notes_that_the_clips_are_synthetic():
    ledger = Ledger()
    for options in ({"seed": 7}, {"video_labels": 0.25}):
        phantom.clips(None, ledger, **options)
    whole, part = ledger.entries
    assert (whole.action, whole.item) == ("noted", "all clips")
    assert "synthetic: seed 7," in whole.reason
    assert ["share" in entry.reason for entry in (whole, part)] == [False, True]
    assert "clip scores on a share of 0.25" in part.reason


@pytest.mark.slow
def test_some_clips_have_scores_and_nothing_else_changes():
    options = SMALL | {"clips": 5, "frames": 1, "size": 64}
    whole, part, none = (
        list(phantom.clips(**options, video_labels=share)) for share in (1.0, 0.4, 0.0)
    )
    for scored, row, bare in zip(whole, part, none, strict=True):
        unscored = clip.make_row(**scored | {"severity": None, "raters": None})
        expected = unscored if row["severity"] is None else clip.make_row(**scored)
        assert clip.make_row(**row) == expected
        assert clip.make_row(**bare) == unscored
    names = [row["clip"] for row in part if row["severity"] is not None]
    assert [sum(name.startswith(row["patient"]) for name in names) for row in part] == [2] * 20
    assert len({name.rpartition("-")[2] for name in names}) > 2


@given(
    seed=st.integers(0, 2**31 - 1),
    num_clips=st.integers(1, 12),
    shares=st.tuples(st.floats(0, 1), st.floats(0, 1)).map(sorted),
)
def test_a_larger_share_of_scores_keeps_those_of_a_smaller(seed, num_clips, shares):
    few, many = (
        phantom.select_scored_clips(seed, "A", 0, num_clips=num_clips, share=share)
        for share in shares
    )
    low = shares[0]
    assert few <= many <= set(range(num_clips))
    assert bool(few) == (low > 0)
    assert len(few) == round(low * num_clips) or (len(few) == 1 and low * num_clips <= 0.5)


def test_every_clip_number_is_scored_about_equally_often():
    select = partial(phantom.select_scored_clips, 0, "A", num_clips=4, share=0.25)
    numbers = [number for index in range(400) for number in select(index)]
    assert len(numbers) == 400
    assert np.bincount(numbers) == pytest.approx([100] * 4, abs=30)


NAN = float("nan")
BAD = [("patients", 0), ("clips", 100), ("frames", 2.5), ("size", 32), ("seed", -1)]
BAD += [("difficulty", 1.5), ("difficulty", NAN), ("domain", "C"), ("domain", "")]
BAD += [("video_labels", share) for share in (-0.1, 1.1, NAN)]
BAD += [("probe", "phased"), ("masks", "boxes"), ("confounder", "age")]


@pytest.mark.parametrize(("option", "value"), BAD)
@pytest.mark.usefixtures("unchecked")
def test_a_bad_option_is_refused_at_once_in_one_line(option, value):
    with pytest.raises(InputError, match=rf"^[^\n]*{option.replace('_', '-')}[^\n]*$"):
        phantom.clips(**{option: value})
