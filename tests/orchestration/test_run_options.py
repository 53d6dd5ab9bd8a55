"""From the words of a command to an experiment: arms, settings, searches, splits."""

import json
import shlex
import subprocess
from pathlib import Path

import pyarrow as pa
import pytest
import torch
from safetensors.torch import save_file

from experiments import dense_labels, video_scores
from experiments.biomarkers import EXPERIMENT
from experiments.marker_segmentation import EXPERIMENT as MARKERS
from lus_ray.data import store
from lus_ray.errors import InputError
from lus_ray.folds import gate
from lus_ray.orchestration import run_options
from lus_ray.runs import supervision
from lus_ray.training import checkpoint

FIRST = "MLP on biomarkers, severity"


def names(experiment):
    return [arm.name for arm in experiment.arms]


def test_arms_are_named_with_commas_even_where_a_name_holds_one():
    chosen = run_options.apply_options(
        EXPERIMENT, "smoke", arms=f"prior, severity,{FIRST},e2e disease"
    )
    assert set(names(chosen)) == {
        "intensity", "prior, severity", "biomarkers", FIRST, "e2e disease"
    }  # fmt: skip


def test_patterns_choose_arms_and_inputs_come_along_in_the_order_of_the_table():
    chosen = run_options.apply_options(EXPERIMENT, "smoke", arms="NN on cross-fitted*")
    assert names(chosen)[:2] == ["biomarkers", "biomarkers cross-fitted"]
    assert len(chosen.arms) == 5


def test_a_setting_reaches_every_arm_or_one():
    every = run_options.apply_options(EXPERIMENT, "smoke", settings=["arm.recipe.epochs=7"])
    assert {arm.recipe.epochs for arm in every.arms if arm.recipe} == {7}
    one = run_options.apply_options(EXPERIMENT, "smoke", settings=["e2e disease.recipe.lr=0.25"])
    assert one.arm("e2e disease").recipe.lr == 0.25
    assert one.arm("e2e severity").recipe.lr != 0.25


def test_a_task_argument_can_be_set():
    chosen = run_options.apply_options(EXPERIMENT, "smoke", settings=["arm.task.fits=5"])
    assert chosen.arm(FIRST).task().fits == 5


@pytest.mark.parametrize(
    ("setting", "changed"),
    [
        ("unet, augmented.task.centred=false", {"unet, augmented"}),
        ("arm.task.centred=false", {arm.name for arm in MARKERS.arms if not arm.members}),
    ],
)
def test_what_is_set_of_an_arm_is_set_wherever_it_is_a_member(setting, changed):
    chosen = run_options.apply_options(MARKERS, "smoke", settings=[setting])
    made = {arm.name: {"task": checkpoint.describe(arm.task)} for arm in chosen.arms}
    centred = {name: about["task"]["arguments"].get("centred") for name, about in made.items()}
    assert {name for name, said in centred.items() if said is False} >= changed
    together = [arm for arm in chosen.arms if arm.members]
    assert {name for arm in together for name in arm.members} & changed
    for arm in together:
        described = made[arm.name]["task"]["arguments"]["members"]
        assert described == [made[name] for name in arm.members], arm.name


def test_what_is_set_of_an_ensemble_leaves_its_members_as_they_are():
    chosen = run_options.apply_options(
        MARKERS, "smoke", settings=["ensemble.task.boost=[1, 1, 3, 3, 3]"]
    )
    assert chosen.arm("ensemble").task().boost == (1, 1, 3, 3, 3)
    assert chosen.arm("ensemble, boosted").task().boost == (1, 1, 2, 2, 2)
    assert not any(member.boost for member in chosen.arm("ensemble").task().net)


@pytest.mark.parametrize("setting", ["epochs=3", "arm.recipe.epochs", "arm.recipe.colour=blue"])
def test_a_setting_that_makes_no_sense_is_refused(setting):
    with pytest.raises(InputError, match="--set"):
        run_options.apply_options(EXPERIMENT, "smoke", settings=[setting])


def test_samples_turn_searches_on():
    chosen = run_options.apply_options(EXPERIMENT, "smoke", samples=4)
    assert chosen.arm("e2e severity").search.samples == 4
    assert EXPERIMENT.arm("e2e severity").search.samples == 0


def test_official_splits_stand_in_for_the_dealt_ones(phantom_store, tmp_path):
    index = store.read_index(phantom_store)
    patients = sorted(set(index["patient"].to_pylist()))
    plan = {"number": 0, "train": patients[:12], "val": patients[12:18], "test": patients[18:]}
    path = tmp_path / "splits.json"
    path.write_text(json.dumps({"folds": [plan]}))
    chosen = run_options.apply_options(EXPERIMENT, "smoke", splits=path)
    folds = chosen.folds.assign(index, seed=0)
    gate(folds, index)
    assert folds[0].test == tuple(patients[18:])


def test_arms_without_any_label_are_left_out_with_what_needs_them(phantom_store):
    index = store.read_index(phantom_store)
    for column in ("sf_ratio", "biomarkers"):
        place = index.schema.get_field_index(column)
        nothing = pa.nulls(index.num_rows, index.schema.field(column).type)
        index = index.set_column(place, column, nothing)
    kept, skipped = supervision.select_arms(EXPERIMENT, index)
    assert not any("biomarkers" in name or "sf_ratio" in name for name in names(kept))
    assert "e2e severity" in names(kept)
    assert set(skipped) == {"no clip has biomarkers", "no clip has sf_ratio"}
    assert {name for few in skipped.values() for name in few} == set(names(EXPERIMENT)) - set(
        names(kept)
    )
    assert "NN on biomarkers, severity" in skipped["no clip has biomarkers"]
    assert kept.claims == EXPERIMENT.claims


@pytest.mark.slow
def test_phantoms_whose_writing_was_interrupted_are_made_again(tmp_path):
    said = []
    data = tmp_path / "phantom"
    data.mkdir()
    (data / "store.json").write_text('{"schema": 1, "shards": [], "sources": {}}')
    for _ in range(2):
        assert run_options.make_phantom_store(EXPERIMENT, "smoke", tmp_path, said.append) == data
    assert len(said) == 2
    assert store.read_index(data).num_rows == 48


def test_the_command_that_makes_a_run_again_is_kept_for_a_shell_in_any_folder(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my clips").mkdir()
    words = {
        "data": Path("my clips"), "arms": "sifa covid→cap,$(id)", "folds": None,
        "settings": ("arm.recipe.epochs=3", "e2e severity.recipe.oversample=it's"), "samples": 4,
        "weights": "resnet18-imagenet", "weak": True,
    }  # fmt: skip
    command = run_options.format_command("biomarkers", "laptop", words)
    assert "→" in command
    assert shlex.split(command) == [
        "lus", "run", "biomarkers", "--size", "laptop", "--data", str(tmp_path / "my clips"),
        "--arms", "sifa covid→cap,$(id)", "--samples", "4", "--weights", "resnet18-imagenet",
        "--weak", "--set", "arm.recipe.epochs=3",
        "--set", "e2e severity.recipe.oversample=it's",
    ]  # fmt: skip
    echoed = subprocess.run(["sh", "-c", f"echo {command}"], capture_output=True, text=True)
    assert echoed.stdout.split() == " ".join(shlex.split(command)).split()


def test_a_store_at_a_uri_stays_as_it_is_in_the_command():
    command = run_options.format_command("biomarkers", "full", {"data": "s3://bucket/clips"})
    assert command == "lus run biomarkers --size full --data s3://bucket/clips"


def test_weights_go_to_the_arms_whose_network_takes_them(tmp_path):
    arm = EXPERIMENT.at("smoke").arm("biomarkers")
    checkpoint.save(tmp_path / "c", arm.task(), checkpoint.describe(arm.task), seed=0)
    chosen = run_options.apply_options(EXPERIMENT, "smoke", weights=str(tmp_path / "c"))
    assert [arm.name for arm in chosen.arms if arm.weights == str(tmp_path / "c")] == [
        "biomarkers", "e2e severity", "e2e sf_ratio", "e2e disease", "biomarkers cross-fitted"
    ]  # fmt: skip
    few = run_options.apply_options(
        EXPERIMENT, "smoke", weights=str(tmp_path / "c"), arms="e2e disease"
    )
    assert [arm.weights for arm in few.arms] == [str(tmp_path / "c")]


def test_neither_a_plain_baseline_nor_another_network_takes_the_weights_of_a_unet(tmp_path):
    arm = dense_labels.EXPERIMENT.at("smoke").arm("dense")
    checkpoint.save(tmp_path / "c", arm.task(), checkpoint.describe(arm.task), seed=0)
    chosen = run_options.apply_options(
        dense_labels.EXPERIMENT, "smoke", weights=str(tmp_path / "c")
    )
    assert [arm.name for arm in chosen.arms if arm.weights] == [
        "dense", "sparse", "dense, random images", "sparse, random images"
    ]  # fmt: skip


def test_a_pooling_of_scores_takes_no_file_and_a_frame_network_takes_its_own(tmp_path):
    arm = video_scores.EXPERIMENT.at("smoke").arm("frames")
    save_file(arm.task().net.state_dict(), tmp_path / "w.safetensors")
    path = str(tmp_path / "w.safetensors")
    chosen = run_options.apply_options(video_scores.EXPERIMENT, "smoke", weights=path)
    begun = [arm for arm in chosen.arms if arm.weights]
    assert {type(arm.task()).__name__ for arm in begun} == {"FrameScore"}
    assert "frames" in [arm.name for arm in begun]


@pytest.mark.parametrize(
    ("arms", "content", "said"),
    [
        ("e2e severity", {"x": torch.zeros(1)}, "lacks tensors that TSM needs"),
        ("e2e severity", None, "no such file; give .safetensors"),
        ("prior, severity", {"x": torch.zeros(1)}, "none of these arms trains a network"),
    ],
)
def test_weights_that_no_arm_takes_are_refused_in_one_line(tmp_path, arms, content, said):
    folder = tmp_path / "weights"
    folder.mkdir()
    path = folder
    if content is not None:
        path = folder / "w.safetensors"
        save_file(content, path)
    with pytest.raises(InputError, match="--weights: no arm can start from them: ") as caught:
        run_options.apply_options(EXPERIMENT, "smoke", weights=str(path), arms=arms)
    assert said in str(caught.value)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)
