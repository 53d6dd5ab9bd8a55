"""What a store can teach: weak supervision by choice, and arms left out with the reason."""

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner

from experiments import (
    dense_labels,
    frame_scores,
    marker_segmentation,
    reverse_transfer,
    video_scores,
)
from lus_ray import cli
from lus_ray.clip import make_row
from lus_ray.data import store
from lus_ray.errors import ArmError, SchemaError
from lus_ray.experiment import Recipe, Rows, Size
from lus_ray.nets import FrameCNN, PositionPrior, ReleasedDeepLab
from lus_ray.runs import supervision
from lus_ray.training import checkpoint

FRAMES, VIDEOS = frame_scores.EXPERIMENT, video_scores.EXPERIMENT
DENSE, REVERSE = dense_labels.EXPERIMENT, reverse_transfer.EXPERIMENT


def clips(folder, *rows):
    """A store of clips given as (number of frames, score of the clip, scores of its frames)."""
    with store.Writer(folder, "t") as writer:
        for number, (num_frames, severity, frame_severity) in enumerate(rows):
            writer.add(
                make_row(
                    np.zeros((num_frames, 4, 4), np.uint8), clip=f"t/{number}",
                    patient=f"t/p{number}", source="t",
                    severity=severity, frame_severity=frame_severity,
                )
            )  # fmt: skip
    return folder


def names(experiment):
    return [arm.name for arm in experiment.arms]


def test_frames_without_a_score_carry_that_of_their_clip_and_others_keep_their_own(tmp_path):
    folder = clips(tmp_path, (3, 2, None), (2, 1, [0, 1]), (4, None, None), (5, 0, None))
    index = store.read_index(folder)
    weak = supervision.apply_weak_labels(index, folder)
    assert weak["frame_severity"].to_pylist() == [[2] * 3, [0, 1], None, [0] * 5]
    assert weak.schema.equals(index.schema)
    assert weak.drop_columns("frame_severity").equals(index.drop_columns("frame_severity"))


def test_weak_scores_are_another_fingerprint(tmp_path):
    folder = clips(tmp_path, (3, 2, None))
    index = store.read_index(folder)
    weak = supervision.apply_weak_labels(index, folder)
    assert store.fingerprint(weak) != store.fingerprint(index)


@pytest.mark.parametrize("row", [(3, None, None), (2, 1, [0, 1]), (2, None, [0, 1])])
def test_weak_scores_are_refused_where_no_clip_has_one_to_give(tmp_path, row):
    folder = clips(tmp_path, row)
    with pytest.raises(SchemaError, match="--weak gives frames the score of their clip") as caught:
        supervision.apply_weak_labels(store.read_index(folder), folder)
    assert "\n" not in str(caught.value)


def test_an_experiment_of_frames_on_clips_with_clip_scores_only_names_the_way_out(tmp_path):
    folder = clips(tmp_path, (3, 2, None), (3, 1, None))
    index = store.read_index(folder)
    with pytest.raises(SchemaError, match="no clip has frame_severity; --weak gives") as caught:
        supervision.select_arms(FRAMES, index)
    assert "\n" not in str(caught.value)
    weak = supervision.apply_weak_labels(index, folder)
    assert supervision.select_arms(FRAMES, weak) == (FRAMES, {})


def test_where_nothing_has_any_score_there_is_no_way_out_to_name(tmp_path):
    folder = clips(tmp_path, (3, None, None))
    with pytest.raises(SchemaError, match="nothing to learn from") as caught:
        supervision.select_arms(VIDEOS, store.read_index(folder))
    assert "--weak" not in str(caught.value)


def test_where_patients_cannot_overlap_the_arms_that_ask_for_it_are_left_out(tmp_path):
    folder = clips(tmp_path, (2, 1, [0, 1]), (2, 2, [2, 2]))
    kept, skipped = supervision.select_arms(VIDEOS, store.read_index(folder))
    (reason,) = skipped
    assert "severity" in reason
    assert set(skipped[reason]) == {n for n in names(VIDEOS) if n.endswith("patients overlap")}
    assert not kept.gaps
    assert set(names(kept)) | set(skipped[reason]) == set(names(VIDEOS))


def test_clips_that_have_no_score_at_all_let_no_patients_overlap(tmp_path):
    folder = clips(tmp_path, (2, 1, None), (2, 2, None), (2, None, None))
    weak = supervision.apply_weak_labels(store.read_index(folder), folder)
    kept, skipped = supervision.select_arms(VIDEOS, weak)
    assert not any(arm.rows.overlap for arm in kept.arms)
    assert "frames, patients overlap" in {name for few in skipped.values() for name in few}


def test_where_some_clips_have_frame_scores_alone_every_arm_is_kept(tmp_path):
    folder = clips(tmp_path, (2, 1, [0, 1]), (2, None, [2, 2]))
    kept, skipped = supervision.select_arms(VIDEOS, store.read_index(folder))
    assert kept == VIDEOS
    assert skipped == {}


def test_an_arm_that_needs_one_that_is_left_out_goes_with_it_for_its_reason(tmp_path):
    folder = clips(tmp_path, (2, 1, [0, 1]))
    index = store.read_index(folder)
    place = index.schema.get_field_index("frame_severity")
    nothing = pa.nulls(1, index.schema.field("frame_severity").type)
    index = index.set_column(place, "frame_severity", nothing)
    with pytest.raises(SchemaError):  # all that is left has an earlier arm that is not
        supervision.select_arms(VIDEOS, index)


def test_a_size_changes_the_network_inside_a_task_and_only_what_it_takes():
    small = FRAMES.at("smoke")
    widths = {arm.task.keywords["net"].keywords["width"] for arm in small.arms if arm.recipe}
    assert widths == {8}
    net = small.arm("reg-stn-sord, fixed scale").task.keywords["net"]
    assert net.keywords == {"transform": "fixed scale", "width": 8}
    assert FRAMES.arm("cnn-sord").task.keywords["net"] is FrameCNN
    odd = replace(FRAMES, sizes={"odd": Size(net={"width": 16, "depth": 3}, recipe={"epochs": 1})})
    assert odd.at("odd").arm("cnn-sord").task.keywords["net"].keywords == {"width": 16}


def test_arms_named_as_published_keep_their_recipe_and_others_shrink():
    for size in ("smoke", "laptop"):
        small = VIDEOS.at(size)
        for arm, before in zip(small.arms, VIDEOS.arms, strict=True):
            if arm.label == "severity":
                assert arm.recipe == before.recipe
            else:
                assert arm.recipe != before.recipe
                assert arm.recipe.epochs == small.arm("frames").recipe.epochs
    assert VIDEOS.at("smoke").arm("uninorm").recipe == Recipe(30, 0, 1e-2, select="loss")


def test_a_size_that_leaves_an_arm_out_leaves_its_gap_out():
    chosen = replace(
        VIDEOS, sizes={"few": Size(leave_out=("uninorm, patients overlap",), task={"fits": 1})}
    )
    few = chosen.at("few")
    assert "uninorm, patients overlap" not in names(few)
    assert {gap.clean for gap in few.gaps} == {"max-argmax", "argmax-mean"}
    with pytest.raises(ArmError, match="no arm 'uninorm, patients overlap'"):
        few.arm("uninorm, patients overlap")


def command(*words):
    """A command in this process; what it wrote, and how it ended."""
    return CliRunner().invoke(cli.main, [str(word) for word in words])


def phantom(folder, share, *more):
    done = command("ingest", "phantom", folder, "--patients", 6, "--clips", 2, "--frames", 3,
               "--size", 64, "--masks", "none", "--video-labels", share, *more)  # fmt: skip
    assert done.exit_code == 0, done.output
    return folder


@pytest.mark.parametrize(("share", "scored"), [(0, 0), (0.5, 6), (1, 12)])
def test_a_share_of_phantom_clips_has_a_score_of_the_clip(tmp_path, share, scored):
    index = store.read_index(phantom(tmp_path / "s", share))
    assert index.num_rows - index["severity"].null_count == scored
    assert index["frame_severity"].null_count == 0


def test_a_share_above_one_is_refused(tmp_path):
    done = command("ingest", "phantom", tmp_path / "s", "--video-labels", 1.5)
    assert done.exit_code == 2
    assert "video_labels is 1.5" in done.stderr


def test_weak_labels_of_a_store_that_has_better_ones_are_refused(tmp_path):
    data = phantom(tmp_path / "s", 1)
    done = command(
        "run", "frame_scores", "--smoke", "--weak", "--data", data, "--out", tmp_path / "o"
    )
    assert done.exit_code == 2
    assert done.stderr.count("\n") == 1
    assert "--weak" in done.stderr


def without_frame_scores(folder):
    """The phantom store as real sources are: scores of clips, none of frames."""
    rows = [{**row, "frames": [f.as_py() for f in row["frames"]]} for row in store.read(folder)]
    with (
        store.stage_source(folder, "phantom") as work,
        store.Writer(work.folder, "phantom") as writer,
    ):
        for row in rows:
            writer.add({**row, "frame_severity": None})
    return folder


def test_a_run_on_clip_scores_says_that_weak_is_the_way(tmp_path):
    data = without_frame_scores(phantom(tmp_path / "s", 1))
    done = command("run", "frame_scores", "--smoke", "--data", data, "--out", tmp_path / "o")
    assert done.exit_code == 2
    assert done.stderr.count("\n") == 1
    assert "--weak gives every frame the score of its clip" in done.stderr


@pytest.mark.ray
@pytest.mark.slow
def test_a_weak_run_is_recorded_as_one_and_goes_on_as_one_only(tmp_path, lus):
    data = without_frame_scores(phantom(tmp_path / "s", 1))
    words = ["run", "frame_scores", "--smoke", "--data", data, "--out", tmp_path / "o",
             "--arms", "prior on intensity", "--folds", "0"]  # fmt: skip
    done = lus(*words, "--weak")
    assert done.returncode == 0, done.stderr
    about = json.loads((tmp_path / "o" / "experiment.json").read_text())
    assert about["supervision"] == "weak"
    assert about["commands"][0].endswith(" --weak")
    again = lus(*words)
    assert again.returncode == 2
    assert len(again.stderr.strip().splitlines()) == 1


def with_masks(folder, *schemes, disease=None):
    """A store of clips with masks of these schemes, or none where it is None."""
    with store.Writer(folder, "t") as writer:
        for number, scheme in enumerate(schemes):
            pixels = np.zeros((1, 4, 4), np.uint8)
            writer.add(
                make_row(
                    pixels, clip=f"t/{number}", patient=f"t/p{number}", source="t",
                    masks=None if scheme is None else pixels, mask_scheme=scheme, disease=disease,
                )
            )  # fmt: skip
    return store.read_index(folder)


def test_dense_masks_teach_every_arm_of_masks(tmp_path):
    index = with_masks(tmp_path, None, "dense")
    assert supervision.select_arms(DENSE, index) == (DENSE, {})


def test_sparse_masks_teach_the_sparse_arms_and_leave_the_dense_ones_out(tmp_path):
    kept, skipped = supervision.select_arms(DENSE, with_masks(tmp_path, "sparse"))
    assert names(kept) == ["place, sparse", "sparse", "sparse, random images"]
    (reason,) = skipped
    assert reason == "no clip has dense masks"
    assert "dense, collapsed" in skipped[reason]
    assert [gap.clean for gap in kept.gaps] == ["sparse"]


@pytest.mark.parametrize("schemes", [("markers",), ("bline",), (None, None)])
def test_masks_of_which_no_class_can_be_read_teach_nothing_in_one_line(tmp_path, schemes):
    with pytest.raises(SchemaError, match="no clip has dense masks") as caught:
        supervision.select_arms(DENSE, with_masks(tmp_path, *schemes))
    assert "\n" not in str(caught.value)


def test_diagnoses_are_taught_by_diseases_and_do_without_masks(tmp_path):
    kept, skipped = supervision.select_arms(REVERSE, with_masks(tmp_path, None, disease="healthy"))
    assert {"none", "none, random clips"} < set(names(kept))
    assert {gap.clean for gap in kept.gaps} == {"none"}
    for scheme in ("dense", "sparse"):
        assert set(skipped[f"no clip has {scheme} masks"]) == {
            scheme, f"{scheme}, random images", f"from {scheme}", f"from {scheme}, random clips",
        }  # fmt: skip


def test_masks_without_a_disease_teach_the_segmenters_alone(tmp_path):
    kept, skipped = supervision.select_arms(REVERSE, with_masks(tmp_path, "dense"))
    assert [arm.name for arm in kept.arms if arm.label] == [
        "dense", "sparse", "dense, random images", "sparse, random images",
    ]  # fmt: skip
    assert set(skipped) == {"no clip has diagnosis"}


def test_a_size_changes_the_networks_of_members_as_those_of_their_arms():
    for size in ("smoke", "laptop"):
        small = marker_segmentation.EXPERIMENT.at(size)
        ensemble = small.arm("ensemble")
        joined = ensemble.task.keywords["members"]
        for name, member in zip(ensemble.members, joined, strict=True):
            assert checkpoint.describe(member) == checkpoint.describe(small.arm(name).task)
    place = small.arm("place").task.keywords["net"]
    assert place is not PositionPrior
    assert "width" not in place.keywords
    (deep,) = (m.keywords["net"] for m in joined if m.keywords["net"].func is ReleasedDeepLab)
    assert deep.keywords["width"] == marker_segmentation.LAPTOP.net["width"]


def test_published_marker_arms_learn_from_all_that_is_not_tested_and_their_twins_choose_apart():
    markers = marker_segmentation.EXPERIMENT
    assert markers.folds.shares == (0.55, 0.15, 0.3)
    learning = [arm for arm in markers.arms if arm.recipe is not None]
    for arm in learning:
        apart = arm.name.endswith("validated")
        expected = ("best", Rows()) if apart else ("last", Rows(with_val=True))
        assert (arm.recipe.select, arm.rows) == expected, arm.name
        if apart:
            twin = markers.arm(arm.name.removesuffix(", validated"))
            assert replace(twin, name=arm.name, rows=arm.rows, recipe=arm.recipe) == arm
            assert replace(arm.recipe, select="last") == twin.recipe
    for arm in markers.arms:
        assert all(markers.arm(name).rows == arm.rows for name in arm.members), arm.name
    ensembles = (markers.arm("ensemble"), markers.arm("ensemble, validated"))
    networks = [name for ensemble in ensembles for name in ensemble.members]
    assert {arm.name for arm in learning} == {"place", "unet", *networks}


def test_boosts_are_those_of_the_released_code_and_plain_arms_have_none():
    boosts = {arm.name: arm.task().boost for arm in marker_segmentation.EXPERIMENT.arms}
    assert {name: boost for name, boost in boosts.items() if boost} == {
        "unet, boosted": (1, 1, 5, 3.5, 1),
        "unet, augmented, boosted": (1, 1, 5, 3.5, 1),
        "deeplab, augmented, boosted": (1, 1, 8, 8, 1),
        "ensemble, boosted": (1, 1, 2, 2, 2),
    }


def test_members_are_finished_first_and_left_out_together():
    markers = marker_segmentation.EXPERIMENT
    ensemble = markers.arm("ensemble")
    assert ensemble.inputs == ensemble.members
    assert names(markers.only(("ensemble",))) == [*ensemble.members, "ensemble"]
    assert "ensemble" not in names(markers.without({"deeplab, augmented"}))
    with pytest.raises(ArmError, match="list them before it"):
        markers.with_arms((ensemble, *(markers.arm(name) for name in ensemble.members)))
