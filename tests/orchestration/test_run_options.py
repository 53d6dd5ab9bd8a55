"""From the options of a command to an experiment: arms, settings, searches, splits, weights."""

import json
import shlex
import subprocess
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
import torch
from safetensors.torch import save_file

from experiments import dense_labels, frame_scores, video_scores
from experiments.biomarkers import EXPERIMENT
from experiments.marker_segmentation import EXPERIMENT as MARKERS
from lus_ray.data import store
from lus_ray.errors import InputError
from lus_ray.folds import gate, rotating, round_robin
from lus_ray.orchestration import run_options
from lus_ray.orchestration.studies import default_out
from lus_ray.runs import supervision
from lus_ray.training import checkpoint

MLP = "MLP on biomarkers, severity"
CLIPS = {"patients": 6, "clips": 1, "frames": 2, "size": 64, "masks": "none"}
PHANTOM = replace(EXPERIMENT, sizes={"smoke": replace(EXPERIMENT.sizes["smoke"], phantom=CLIPS)})


def apply(experiment=EXPERIMENT, **options):
    return run_options.apply_options(experiment, "smoke", **options)


def names(experiment):
    return [arm.name for arm in experiment.arms]


def test_arms_are_selected_by_names_with_commas_and_by_patterns_with_their_inputs():
    chosen = apply(arms=f"prior, severity,{MLP},e2e disease")
    assert set(names(chosen)) == {"intensity", "prior, severity", "biomarkers", MLP, "e2e disease"}
    chosen = apply(arms="NN on cross-fitted*")
    assert names(chosen)[:2] == ["biomarkers", "biomarkers cross-fitted"]
    assert len(chosen.arms) == 5
    chosen = apply(arms="prior*,*disease")  # not the one arm that both match as one pattern
    assert {"prior, severity", "prior, disease", "e2e disease"} <= set(names(chosen))


def test_a_setting_changes_every_arm_or_one():
    chosen = apply(settings=["arm.recipe.epochs=7", "arm.task.fits=5"])
    assert {arm.recipe.epochs for arm in chosen.arms if arm.recipe} == {7}
    assert chosen.arm(MLP).task().fits == 5
    chosen = apply(settings=["e2e disease.recipe.lr=0.25"])
    assert chosen.arm("e2e disease").recipe.lr == 0.25
    assert chosen.arm("e2e severity").recipe.lr != 0.25


@pytest.mark.parametrize(
    ("setting", "changed"),
    [
        ("unet, augmented.task.centred=false", {"unet, augmented"}),
        ("arm.task.centred=false", {arm.name for arm in MARKERS.arms if not arm.members}),
    ],
)
def test_a_setting_of_an_arm_changes_it_wherever_it_is_a_member(setting, changed):
    chosen = apply(MARKERS, settings=[setting])
    tasks = {arm.name: {"task": checkpoint.describe(arm.task)} for arm in chosen.arms}
    arguments = {name: task["task"]["arguments"] for name, task in tasks.items()}
    assert {name for name, bound in arguments.items() if bound.get("centred") is False} >= changed
    ensembles = [arm for arm in chosen.arms if arm.members]
    assert {name for arm in ensembles for name in arm.members} & changed
    for arm in ensembles:
        assert arguments[arm.name]["members"] == [tasks[name] for name in arm.members], arm.name


def test_a_setting_of_an_ensemble_does_not_change_its_members():
    chosen = apply(MARKERS, settings=["ensemble.task.boost=[1, 1, 3, 3, 3]"])
    assert chosen.arm("ensemble").task().boost == (1, 1, 3, 3, 3)
    assert chosen.arm("ensemble, boosted").task().boost == (1, 1, 2, 2, 2)
    assert not any(member.boost for member in chosen.arm("ensemble").task().net)


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    """The index of six phantom patients."""
    out = tmp_path_factory.mktemp("phantom")
    return store.read_index(run_options.make_phantom_store(PHANTOM, "smoke", out, print))


def test_a_study_names_the_published_split_of_24_and_11_patients():
    chosen = run_options.apply_options(frame_scores.EXPERIMENT, "full", splits="published")
    columns = {"patient": [f"p{n:02d}" for n in range(35)], "severity": [n % 4 for n in range(35)]}
    index = pa.table({**columns, "group": columns["patient"]})
    (fold,) = chosen.folds.assign(index, seed=0)
    assert (len(fold.train), len(fold.val), len(fold.test)) == (24, 0, 11)
    assert len(chosen.folds.numbers()) == 1
    with pytest.raises(InputError, match=r"did you mean .published.\?$"):
        run_options.apply_options(frame_scores.EXPERIMENT, "full", splits="publised")


def test_a_splits_file_replaces_the_folds(index, tmp_path):
    patients = sorted(set(index["patient"].to_pylist()))
    fold = {"number": 0, "train": patients[:3], "val": patients[3:4], "test": patients[4:]}
    path = tmp_path / "splits.json"
    path.write_text(json.dumps({"folds": [fold]}))
    folds = apply(splits=path).folds.assign(index, seed=0)
    gate(folds, index)
    assert folds[0].test == tuple(patients[4:])


def test_arms_without_a_label_are_skipped_with_those_that_need_them(index):
    for column in ("sf_ratio", "biomarkers"):
        empty = pa.nulls(index.num_rows, index.schema.field(column).type)
        index = index.set_column(index.column_names.index(column), column, empty)
    kept, skipped = supervision.select_arms(EXPERIMENT, index)
    assert not any("biomarkers" in name or "sf_ratio" in name for name in names(kept))
    assert "e2e severity" in names(kept)
    assert set(skipped) == {"no clip has biomarkers", "no clip has sf_ratio"}
    skipped_names = {name for arms in skipped.values() for name in arms}
    assert skipped_names == set(names(EXPERIMENT)) - set(names(kept))
    assert "NN on biomarkers, severity" in skipped["no clip has biomarkers"]
    assert kept.claims == EXPERIMENT.claims


def test_an_interrupted_phantom_store_is_made_again(tmp_path):
    notes, data = [], tmp_path / "phantom"
    data.mkdir()
    (data / "store.json").write_text('{"schema": 1, "shards": [], "sources": {}}')
    for _ in range(2):
        assert run_options.make_phantom_store(PHANTOM, "smoke", tmp_path, notes.append) == data
    assert len(notes) == 2
    assert store.read_index(data).num_rows == 6


def test_the_command_of_a_run_works_in_a_shell_in_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my clips").mkdir()
    options = {
        "data": Path("my clips"), "arms": "sifa covid→cap,$(id)", "folds": None,
        "settings": ("arm.recipe.epochs=3", "e2e severity.recipe.oversample=it's"),
        "samples": 4, "seeds": 3,
        "weights": "resnet18-imagenet", "weak": True,
    }  # fmt: skip
    command = run_options.format_command("biomarkers", "laptop", options)
    assert "→" in command
    assert shlex.split(command) == [
        "lus", "run", "biomarkers", "--size", "laptop", "--data", str(tmp_path / "my clips"),
        "--arms", "sifa covid→cap,$(id)", "--seeds", "3", "--samples", "4",
        "--weights", "resnet18-imagenet",
        "--weak", "--set", "arm.recipe.epochs=3",
        "--set", "e2e severity.recipe.oversample=it's",
    ]  # fmt: skip
    echoed = subprocess.run(["sh", "-c", f"echo {command}"], capture_output=True, text=True)
    assert echoed.stdout.split() == " ".join(shlex.split(command)).split()
    command = run_options.format_command("biomarkers", "full", {"data": "s3://bucket/clips"})
    assert command == "lus run biomarkers --size full --data s3://bucket/clips"


BIOMARKER_NETS = ["biomarkers", "e2e severity", "e2e sf_ratio", "e2e disease",
                  "biomarkers cross-fitted"]  # fmt: skip
SEGMENTERS = ["dense", "sparse", "dense, random images", "sparse, random images"]


@pytest.mark.parametrize(
    ("experiment", "arm", "arms", "initialised"),
    [
        (EXPERIMENT, "biomarkers", None, BIOMARKER_NETS),
        (EXPERIMENT, "biomarkers", "e2e disease", ["e2e disease"]),
        (dense_labels.EXPERIMENT, "dense", None, SEGMENTERS),
    ],
)
def test_weights_initialise_the_arms_whose_network_matches(
    tmp_path, experiment, arm, arms, initialised
):
    trained = experiment.at("smoke").arm(arm)
    checkpoint.save(tmp_path / "c", trained.task(), checkpoint.describe(trained.task), seed=0)
    weights = str(tmp_path / "c")
    chosen = apply(experiment, weights=weights, arms=arms)
    assert [arm.name for arm in chosen.arms if arm.weights == weights] == initialised


def test_weights_of_a_frame_network_initialise_frame_networks_alone(tmp_path):
    path = tmp_path / "w.safetensors"
    save_file(video_scores.EXPERIMENT.at("smoke").arm("frames").task().net.state_dict(), path)
    chosen = apply(video_scores.EXPERIMENT, weights=str(path))
    initialised = {arm.name: type(arm.task()).__name__ for arm in chosen.arms if arm.weights}
    assert set(initialised.values()) == {"FrameScore"}
    assert "frames" in initialised


@pytest.mark.parametrize(
    ("arms", "content", "reason"),
    [
        ("e2e severity", {"x": torch.zeros(1)}, "lacks tensors that TSM needs"),
        ("e2e severity", None, "no such file; give .safetensors"),
        ("prior, severity", {"x": torch.zeros(1)}, "none of these arms trains a network"),
    ],
)
def test_weights_that_match_no_arm_are_refused_in_one_line(tmp_path, arms, content, reason):
    path = tmp_path
    if content is not None:
        path = tmp_path / "w.safetensors"
        save_file(content, path)
    with pytest.raises(InputError, match="--weights: no arm can start from them: ") as caught:
        apply(weights=str(path), arms=arms)
    message = str(caught.value)
    assert reason in message
    assert str(tmp_path) in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("options", "folder"),
    [
        (("biomarkers", "full"), "biomarkers-full"),
        (("./studies/my_study.py", "smoke"), "my_study-smoke"),
        (("classify", "smoke", "stage A/B"), "classify-stage A-B-smoke"),
    ],
)
def test_every_study_size_and_label_has_its_own_folder(options, folder):
    assert default_out(*options) == Path("runs") / folder


def test_the_published_folds_of_the_video_study_go_by_hospital():
    chosen = run_options.apply_options(video_scores.EXPERIMENT, "smoke", splits="published")
    assert chosen.folds == round_robin(5, by="site")
    assert video_scores.EXPERIMENT.at("smoke").folds == rotating(5)
