"""The record of a run: what may go on in a folder, and what no test patient may reach."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import optuna
import pytest

from lus_ray import folds
from lus_ray.data import store
from lus_ray.data.transforms.view import View
from lus_ray.errors import ArmError, FoldError, InputError, StoreError
from lus_ray.evaluation import results
from lus_ray.experiment import Arm, Experiment, Recipe, Rows, Search
from lus_ray.folds import fixed_test, rotating
from lus_ray.inference import model_selection
from lus_ray.monitoring import run_files
from lus_ray.nets import TSM
from lus_ray.runs import manifest
from lus_ray.runs import prepare as preparation
from lus_ray.runs.plan import RunRequest
from lus_ray.tasks import Biomarkers

VIEW = View(num_frames=4, height=16, width=16, num_samples=2)
SPACE = {"lr": optuna.distributions.FloatDistribution(1e-5, 1e-1, log=True)}
ARM = Arm(
    "signs",
    partial(Biomarkers, backbone=partial(TSM, width=8), view=VIEW),
    Recipe(epochs=1, batch=4, lr=1e-3),
    label="biomarkers",
    search=Search(SPACE, samples=2),
)
TURNS = Experiment(name="turns", title="Turns", folds=rotating(4), arms=(ARM,), metrics=("auc",))
FIXED = replace(TURNS, folds=fixed_test(parts=4, cv=3))

RECORD = {"experiment": "study", "arms": [{"name": "a", "recipe": None}]}


@pytest.mark.parametrize(
    "read", [manifest.read, results.read, run_files.read_plan, model_selection.neighbouring_runs]
)
@pytest.mark.parametrize(
    ("record", "said"),
    [
        ([], "the file: input should be a dictionary"),
        (None, "the file: input should be a dictionary"),
        ({}, "experiment: field required"),
        ({"experiment": "study"}, "arms: field required"),
        (RECORD | {"arms": {}}, "arms: input should be a valid list"),
        (RECORD | {"arms": ["a"]}, "arms.0: input should be a dictionary"),
        (RECORD | {"arms": [{"name": 5}]}, "arms.0.name: input should be a valid string"),
        (
            RECORD | {"arms": [{"name": "a", "rows": []}]},
            "arms.0.rows: input should be a dictionary",
        ),
        (RECORD | {"data": 5}, "data: input should be a valid dictionary"),
        (RECORD | {"published": {"a": {"auc": ["high", 0.1]}}}, "published.a.auc.0: input should"),
    ],
)
def test_what_is_no_record_is_refused_in_one_line_by_every_reader(tmp_path, read, record, said):
    (tmp_path / "experiment.json").write_text(json.dumps(record))
    with pytest.raises(StoreError) as caught:
        read(tmp_path)
    told = str(caught.value)
    assert told.startswith(f"{tmp_path / 'experiment.json'}: no record of a run ({said}")
    assert "\n" not in told


def test_a_record_is_read_as_it_is(tmp_path):
    (tmp_path / "experiment.json").write_text(json.dumps(RECORD))
    record = manifest.read(tmp_path)
    assert (record.experiment, record.arm("a").recipe) == ("study", None)


@pytest.mark.parametrize(
    ("text", "said"), [('{"experiment"', "not readable"), (None, "no such file; name a folder")]
)
def test_a_record_cut_short_or_gone_is_named(tmp_path, text, said):
    if text is not None:
        (tmp_path / "experiment.json").write_text(text)
    with pytest.raises(StoreError, match=rf"experiment\.json: {said}"):
        manifest.read(tmp_path)


def prepare(experiment: Experiment, data: Path, out: Path, *, index=None, **more):
    request = RunRequest(experiment, data=data, out=out, size="full", **more)
    return preparation.prepare(request, index=index)


def written(out: Path) -> dict:
    return json.loads((out / "experiment.json").read_text())


def test_where_every_patient_tests_once_each_fold_searches_for_itself(
    phantom_store, tmp_path, capsys
):
    work = prepare(TURNS, phantom_store, tmp_path)
    assert work.experiment.arm("signs").search.over == "fold"
    assert written(tmp_path)["arms"][0]["search"]["over"] == "fold"
    assert "note: folds test different patients" in capsys.readouterr().err
    # With the mean, the score of fold 0 would come from patients whom fold 1 tests.
    assert set(work.folds[0].val) & set(work.folds[1].test)


def test_where_all_folds_test_the_same_patients_a_search_is_over_their_mean(
    phantom_store, tmp_path, capsys
):
    work = prepare(FIXED, phantom_store, tmp_path)
    assert work.experiment.arm("signs").search.over == "mean"
    assert capsys.readouterr().err == ""


def test_without_samples_nothing_is_said_of_searches(phantom_store, tmp_path, capsys):
    arm = replace(ARM, search=Search(SPACE))
    prepare(replace(TURNS, arms=(arm,)), phantom_store, tmp_path)
    assert capsys.readouterr().err == ""


def test_folds_other_than_those_of_the_folder_are_refused(phantom_store, tmp_path):
    work = prepare(FIXED, phantom_store, tmp_path)
    prepare(FIXED, phantom_store, tmp_path)
    fold = work.folds[0]
    swapped = replace(fold, train=fold.val, val=fold.train)
    other = (swapped, *work.folds[1:])
    folds.write(other, tmp_path / "folds.json", protocol=FIXED.folds, seed=0)
    before = (tmp_path / "folds.json").read_bytes()
    with pytest.raises(InputError, match=r"folds\.json assigns patients .*another --out"):
        prepare(FIXED, phantom_store, tmp_path)
    assert (tmp_path / "folds.json").read_bytes() == before


@pytest.mark.parametrize("text", ["[]", "{}", '{"experiment": "turns"'])
def test_a_record_that_is_none_is_refused_in_one_line(phantom_store, tmp_path, text):
    (tmp_path / "experiment.json").write_text(text)
    with pytest.raises(StoreError, match=r"experiment\.json: ") as caught:
        prepare(TURNS, phantom_store, tmp_path)
    assert "\n" not in str(caught.value)


def test_every_command_that_made_a_part_is_kept_once(phantom_store, tmp_path):
    for command in ("lus run all", "lus run one --arms a", "lus run all"):
        prepare(TURNS, phantom_store, tmp_path, command=command)
    assert written(tmp_path)["commands"] == ["lus run all", "lus run one --arms a"]


def test_the_place_of_the_clips_is_kept_for_any_folder(phantom_store, tmp_path, monkeypatch):
    monkeypatch.chdir(phantom_store.parent)
    prepare(TURNS, Path(phantom_store.name), tmp_path)
    assert written(tmp_path)["data_path"] == str(phantom_store)


def test_a_fold_that_is_not_dealt_is_refused_before_anything_is_written(phantom_store, tmp_path):
    with pytest.raises(ArmError, match=r"no fold 7; there are \[0, 1, 2, 3\]"):
        prepare(TURNS, phantom_store, tmp_path, folds=(1, 7))
    assert not (tmp_path / "experiment.json").exists()


@pytest.fixture
def earlier(phantom_store, tmp_path) -> Path:
    """The run folder of an earlier experiment on the same clips."""
    prepare(TURNS, phantom_store, tmp_path / "earlier")
    return tmp_path / "earlier"


def beginning(experiment: Experiment, run: Path, fold: int = 0, arm: str = "signs") -> Experiment:
    """The experiment whose arm begins with a file in the cell of a run."""
    path = run / "cells" / arm / f"fold{fold}" / "checkpoint" / "weights.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"weights")
    return replace(experiment, arms=(replace(ARM, weights=str(path.parent)),))


def test_weights_that_have_seen_patients_of_another_fold_are_refused(
    phantom_store, tmp_path, earlier
):
    out = tmp_path / "out"
    experiment = beginning(TURNS, earlier, fold=2)
    with pytest.raises(
        FoldError, match=r"checkpoint: was trained on 'phantom/.*' and \d more, whom"
    ) as e:
        prepare(experiment, phantom_store, out)
    assert "whom fold 0 tests; run only --folds 2, or use weights of oth" in str(e.value)
    assert not (out / "experiment.json").exists()
    prepare(experiment, phantom_store, out, folds=(2,))
    with pytest.raises(FoldError, match="whom fold 3 tests; use weights of other patients"):
        prepare(experiment, phantom_store, out, folds=(3,))


def test_who_chose_the_epoch_was_seen_as_well(phantom_store, tmp_path, earlier):
    fold = folds.read(earlier / "folds.json")[0]
    path = tmp_path / "splits.json"
    dealt = {"number": 0, "train": fold.train, "val": fold.test, "test": fold.val}
    path.write_text(json.dumps({"folds": [dealt]}))
    experiment = beginning(replace(TURNS, folds=folds.official(path)), earlier)
    with pytest.raises(FoldError, match="was trained on"):
        prepare(experiment, phantom_store, tmp_path / "out")


def test_where_all_folds_test_the_same_patients_any_fold_gives_its_weights(phantom_store, tmp_path):
    prepare(FIXED, phantom_store, tmp_path / "earlier")
    experiment = beginning(FIXED, tmp_path / "earlier", fold=1)
    prepare(experiment, phantom_store, tmp_path / "out")
    assert written(tmp_path / "out")["arms"][0]["weights"]["name"] == "weights.safetensors"


@pytest.mark.parametrize(
    "leak", [{"rows": Rows(overlap=True)}, {"recipe": replace(ARM.recipe, select="test")}]
)
def test_an_arm_that_leaks_has_seen_who_tested_it(phantom_store, tmp_path, leak):
    leaky = replace(FIXED, arms=(replace(ARM, name="leaks!", **leak), ARM))
    prepare(leaky, phantom_store, tmp_path / "earlier")
    prepare(beginning(FIXED, tmp_path / "earlier"), phantom_store, tmp_path / "clean")
    experiment = beginning(FIXED, tmp_path / "earlier", arm="leaks")
    with pytest.raises(FoldError, match="was trained on"):
        prepare(experiment, phantom_store, tmp_path / "out")


def test_a_patient_whose_leak_group_was_seen_was_seen(phantom_store, tmp_path, earlier):
    first, second, *others = sorted(set(store.read_index(phantom_store)["patient"].to_pylist()))
    plan = [{"number": 0, "train": [first], "test": others[:1]}]
    (earlier / "folds.json").write_text(json.dumps({"folds": plan}))
    splits = tmp_path / "splits.json"
    splits.write_text(json.dumps({"folds": [{"number": 0, "train": others, "test": [second]}]}))
    experiment = beginning(replace(TURNS, folds=folds.official(splits)), earlier)
    prepare(experiment, phantom_store, tmp_path / "apart")

    index = store.read_index(phantom_store)
    groups = ["both" if p in (first, second) else p for p in index["patient"].to_pylist()]
    joined = index.set_column(index.column_names.index("group"), "group", [groups])
    with pytest.raises(FoldError, match=f"was trained on '{second}', whom fold 0 tests"):
        prepare(experiment, phantom_store, tmp_path, index=joined)


def test_weights_of_other_patients_or_outside_of_a_run_are_taken(phantom_store, tmp_path, earlier):
    plan = json.loads((earlier / "folds.json").read_text())
    named = json.dumps({"folds": plan["folds"]}).replace("phantom/", "elsewhere/")
    (earlier / "folds.json").write_text(named)
    prepare(beginning(TURNS, earlier), phantom_store, tmp_path / "other")
    loose = tmp_path / "weights.safetensors"
    loose.write_bytes(b"weights")
    arms = (replace(ARM, weights=str(loose)),)
    prepare(replace(TURNS, arms=arms), phantom_store, tmp_path / "loose")
