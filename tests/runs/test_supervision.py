"""Arms that the labels of a store can train, weak labels, and the arms of published studies."""

from dataclasses import replace

import numpy as np
import pytest

from experiments import dense_labels, frame_scores, reverse_transfer, video_scores
from experiments.marker_segmentation import EXPERIMENT as MARKERS
from experiments.marker_segmentation import LAPTOP
from lus_ray.clip import make_row
from lus_ray.data import store
from lus_ray.data.ingest.pipeline import ingest
from lus_ray.errors import ArmError, InputError, SchemaError
from lus_ray.experiment import Recipe, Rows, Size
from lus_ray.nets import FrameCNN, PositionPrior, ReleasedDeepLab
from lus_ray.orchestration import run_options
from lus_ray.runs import manifest, supervision
from lus_ray.runs.plan import RunRequest
from lus_ray.runs.prepare import prepare
from lus_ray.training import checkpoint

FRAMES, VIDEOS = frame_scores.EXPERIMENT, video_scores.EXPERIMENT
DENSE, REVERSE = dense_labels.EXPERIMENT, reverse_transfer.EXPERIMENT


def write_store(folder, *clips):
    """A store of clips given as columns, with one frame where they have no frame scores."""
    with store.Writer(folder, "t") as writer:
        for number, columns in enumerate(clips):
            pixels = np.full((columns.pop("num_frames", 1), 4, 4), number, np.uint8)
            masks = None if columns.get("mask_scheme") is None else np.zeros_like(pixels)
            names = {"clip": f"t/{number}", "patient": f"t/p{number}", "source": "t"}
            writer.add(make_row(pixels, **names, masks=masks, **columns))
    return store.read_index(folder)


def scored(folder, *clips):
    """The index of clips given as (number of frames, score of the clip, scores of its frames)."""
    keys = ("num_frames", "severity", "frame_severity")
    return write_store(folder, *(dict(zip(keys, clip, strict=True)) for clip in clips))


def masked(folder, *schemes, disease=None):
    return write_store(folder, *({"mask_scheme": s, "disease": disease} for s in schemes))


def names(experiment):
    return [arm.name for arm in experiment.arms]


def test_frames_without_a_score_get_that_of_their_clip_and_the_data_count_as_other(tmp_path):
    index = scored(tmp_path, (3, 2, None), (2, 1, [0, 1]), (4, None, None), (5, 0, None))
    weak = supervision.apply_weak_labels(index, tmp_path)
    assert weak["frame_severity"].to_pylist() == [[2] * 3, [0, 1], None, [0] * 5]
    assert weak.schema.equals(index.schema)
    assert weak.drop_columns("frame_severity").equals(index.drop_columns("frame_severity"))
    assert store.fingerprint(weak) != store.fingerprint(index)


@pytest.mark.parametrize("clip", [(3, None, None), (2, 1, [0, 1]), (2, None, [0, 1])])
def test_weak_labels_need_a_clip_score_and_frames_without_one(tmp_path, clip):
    index = scored(tmp_path, clip)
    with pytest.raises(SchemaError, match=r"^--weak gives frames the score of their clip[^\n]*$"):
        supervision.apply_weak_labels(index, tmp_path)


def test_an_experiment_on_frames_suggests_weak_labels_where_they_help(tmp_path):
    index = scored(tmp_path, (3, 2, None), (3, 1, None))
    with pytest.raises(
        SchemaError, match=r"^[^\n]*no clip has frame_severity; --weak gives[^\n]*$"
    ):
        supervision.select_arms(FRAMES, index)
    weak = supervision.apply_weak_labels(index, tmp_path)
    assert supervision.select_arms(FRAMES, weak) == (FRAMES, {})


@pytest.mark.parametrize(
    ("experiment", "clip", "reason"),
    [
        (VIDEOS, {"num_frames": 3}, "nothing to learn from"),
        (VIDEOS, {"severity": 1}, "no clip has frame_severity"),  # arms on clips read those
        (DENSE, {"mask_scheme": "markers"}, "no clip has dense masks"),
        (DENSE, {"mask_scheme": "bline"}, "no clip has dense masks"),
        (DENSE, {}, "no clip has dense masks"),
    ],
)
def test_an_experiment_without_its_labels_is_refused_in_one_line(
    tmp_path, experiment, clip, reason
):
    with pytest.raises(SchemaError, match=reason) as caught:
        supervision.select_arms(experiment, write_store(tmp_path, dict(clip)))
    assert "\n" not in str(caught.value)
    assert ("--weak" in str(caught.value)) == ("severity" in clip)


def test_arms_with_overlapping_patients_need_clips_that_have_frame_scores_alone(tmp_path):
    index = scored(tmp_path / "a", (2, 1, [0, 1]), (2, 2, [2, 2]))
    kept, skipped = supervision.select_arms(VIDEOS, index)
    ((reason, arms),) = skipped.items()
    assert "severity" in reason
    assert set(arms) == {n for n in names(VIDEOS) if n.endswith("patients overlap")}
    assert set(names(kept)) | set(arms) == set(names(VIDEOS))
    assert not kept.gaps
    index = scored(tmp_path / "b", (2, 1, None), (2, 2, None), (2, None, None))
    weak = supervision.apply_weak_labels(index, tmp_path / "b")
    kept, skipped = supervision.select_arms(VIDEOS, weak)
    assert not any(arm.rows.overlap for arm in kept.arms)
    assert "frames, patients overlap" in {name for arms in skipped.values() for name in arms}
    index = scored(tmp_path / "c", (2, 1, [0, 1]), (2, None, [2, 2]))
    assert supervision.select_arms(VIDEOS, index) == (VIDEOS, {})


def test_dense_masks_train_every_arm_and_sparse_ones_the_sparse_arms(tmp_path):
    index = masked(tmp_path / "dense", None, "dense")
    assert supervision.select_arms(DENSE, index) == (DENSE, {})
    kept, skipped = supervision.select_arms(DENSE, masked(tmp_path / "sparse", "sparse"))
    assert names(kept) == ["place, sparse", "sparse", "sparse, random images"]
    assert [*skipped] == ["no clip has dense masks"]
    assert "dense, collapsed" in skipped["no clip has dense masks"]
    assert [gap.clean for gap in kept.gaps] == ["sparse"]


def test_diseases_train_diagnoses_and_masks_train_segmenters(tmp_path):
    index = masked(tmp_path / "diseases", None, disease="healthy")
    kept, skipped = supervision.select_arms(REVERSE, index)
    assert {"none", "none, random clips"} < set(names(kept))
    assert {gap.clean for gap in kept.gaps} == {"none"}
    for scheme in ("dense", "sparse"):
        assert set(skipped[f"no clip has {scheme} masks"]) == {
            scheme, f"{scheme}, random images", f"from {scheme}", f"from {scheme}, random clips",
        }  # fmt: skip
    kept, skipped = supervision.select_arms(REVERSE, masked(tmp_path / "masks", "dense"))
    assert [arm.name for arm in kept.arms if arm.label] == [
        "dense", "sparse", "dense, random images", "sparse, random images",
    ]  # fmt: skip
    assert set(skipped) == {"no clip has diagnosis"}


def test_a_size_changes_the_network_inside_a_task_and_only_arguments_that_it_has():
    small = FRAMES.at("smoke")
    assert {a.task.keywords["net"].keywords["width"] for a in small.arms if a.recipe} == {8}
    net = small.arm("reg-stn-sord, fixed scale").task.keywords["net"]
    assert net.keywords == {"transform": "fixed scale", "width": 8}
    assert FRAMES.arm("cnn-sord").task.keywords["net"] is FrameCNN
    odd = replace(FRAMES, sizes={"odd": Size(net={"width": 16, "depth": 3}, recipe={"epochs": 1})})
    assert odd.at("odd").arm("cnn-sord").task.keywords["net"].keywords == {"width": 16}


@pytest.mark.parametrize("size", ["smoke", "laptop"])
def test_a_size_keeps_published_recipes_of_videos_and_shrinks_the_others(size):
    small = VIDEOS.at(size)
    for arm, before in zip(small.arms, VIDEOS.arms, strict=True):
        assert (arm.recipe == before.recipe) == (arm.label == "severity"), arm.name
        if arm.label != "severity":
            assert arm.recipe.epochs == small.arm("frames").recipe.epochs
    assert small.arm("uninorm").recipe == Recipe(30, 0, 1e-2, select="loss")


def test_a_size_that_leaves_an_arm_out_leaves_its_gap_out():
    excluded = "uninorm, patients overlap"
    size = Size(leave_out=(excluded,), task={"fits": 1})
    few = replace(VIDEOS, sizes={"few": size}).at("few")
    assert excluded not in names(few)
    assert {gap.clean for gap in few.gaps} == {"max-argmax", "argmax-mean", "uninorm, float32"}
    with pytest.raises(ArmError, match=f"no arm '{excluded}'"):
        few.arm(excluded)


@pytest.fixture
def weak_only(tmp_path):
    """A store of phantom clips with a score of the clip and none of the frames."""
    folder = tmp_path / "clips"
    ingest("phantom", None, folder, patients=6, clips=1, frames=3, size=64, masks="none",
           video_labels=1)  # fmt: skip
    rows = [{**row, "frames": [f.as_py() for f in row["frames"]]} for row in store.read(folder)]
    with (
        store.stage_source(folder, "phantom") as work,
        store.Writer(work.folder, "phantom") as writer,
    ):
        for row in rows:
            writer.add({**row, "frame_severity": None})
    return folder


def test_a_weak_run_is_recorded_and_resumes_as_a_weak_run_only(weak_only, tmp_path):
    def request(weak):
        options = {"arms": "prior on intensity", "folds": "0", "weak": weak, "notify": print}
        return run_options.build_request(
            "frame_scores", size="smoke", out=tmp_path / "run", data=weak_only, **options
        )

    for _ in range(2):
        plan = prepare(request(weak=True))
        assert {len(row["frame_severity"]) for row in plan.rows} == {3}
    record = manifest.read(tmp_path / "run")
    assert record.supervision == "weak"
    assert record.commands[0].endswith(" --weak")
    with pytest.raises(SchemaError, match="--weak gives every frame the score of its clip"):
        prepare(request(weak=False))


def test_scores_of_frames_are_no_remedy_where_a_study_needs_masks(weak_only):
    with pytest.raises(SchemaError, match=r"no clip has markers masks$"):
        supervision.select_arms(MARKERS, store.read_index(weak_only))


def test_a_run_on_scored_frames_never_resumes_a_weak_run(tmp_path):
    clips = [(2, n, [0, 1] if n % 2 else None) for n in (0, 1, 2, 3, 0, 1, 2, 3)]
    scored(tmp_path / "clips", *clips)
    prior = FRAMES.at("smoke").only(("prior on intensity",))
    request = RunRequest(prior, data=tmp_path / "clips", out=tmp_path / "run", size="smoke")
    prepare(replace(request, weak=True))
    with pytest.raises(InputError, match="holds a run with supervision 'weak', not 'frames'"):
        prepare(request)


@pytest.mark.parametrize("size", ["smoke", "laptop"])
def test_a_size_changes_the_networks_of_members_as_those_of_their_arms(size):
    small = MARKERS.at(size)
    ensemble = small.arm("ensemble")
    members = ensemble.task.keywords["members"]
    for name, member in zip(ensemble.members, members, strict=True):
        assert checkpoint.describe(member) == checkpoint.describe(small.arm(name).task)
    prior = small.arm("place").task.keywords["net"]
    assert prior is not PositionPrior
    assert "width" not in prior.keywords
    (deep,) = (m.keywords["net"] for m in members if m.keywords["net"].func is ReleasedDeepLab)
    assert size == "smoke" or deep.keywords["width"] == LAPTOP.net["width"]


def test_published_marker_arms_also_train_on_validation_and_their_twins_do_not():
    assert MARKERS.folds.shares == (0.55, 0.15, 0.3)
    trained = [arm for arm in MARKERS.arms if arm.recipe is not None]
    for arm in trained:
        is_twin = arm.name.endswith("validated")
        expected = ("best", Rows()) if is_twin else ("last", Rows(with_val=True))
        assert (arm.recipe.select, arm.rows) == expected, arm.name
        if is_twin:
            published = MARKERS.arm(arm.name.removesuffix(", validated"))
            assert replace(published, name=arm.name, rows=arm.rows, recipe=arm.recipe) == arm
            assert replace(arm.recipe, select="last") == published.recipe
    for arm in MARKERS.arms:
        assert all(MARKERS.arm(name).rows == arm.rows for name in arm.members), arm.name
    names = ("ensemble", "ensemble, validated", "ensemble, canonical")
    ensembles = [MARKERS.arm(name) for name in names]
    networks = [name for ensemble in ensembles for name in ensemble.members]
    assert {arm.name for arm in trained} == {"place", "unet", *networks}


@pytest.mark.slow
def test_boosts_are_those_of_the_released_code_and_plain_arms_have_none():
    boosts = {arm.name: arm.task().boost for arm in MARKERS.arms}
    assert {name: boost for name, boost in boosts.items() if boost} == {
        "unet, boosted": (1, 1, 5, 3.5, 1),
        "unet, augmented, boosted": (1, 1, 5, 3.5, 1),
        "deeplab, augmented, boosted": (1, 1, 8, 8, 1),
        "ensemble, boosted": (1, 1, 2, 2, 2),
    }


def test_members_come_before_their_ensemble_and_are_skipped_with_it():
    ensemble = MARKERS.arm("ensemble")
    assert ensemble.inputs == ensemble.members
    assert names(MARKERS.only(("ensemble",))) == [*ensemble.members, "ensemble"]
    assert "ensemble" not in names(MARKERS.without({"deeplab, augmented"}))
    with pytest.raises(ArmError, match="list them before it"):
        MARKERS.with_arms((ensemble, *(MARKERS.arm(name) for name in ensemble.members)))
