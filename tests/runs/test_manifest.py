"""The record of a run: what may resume in a folder, and which weights no fold may start from."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import optuna
import pytest

import lus_ray.folds as folds
from lus_ray.data import store
from lus_ray.data.transforms.view import View
from lus_ray.errors import ArmError, FoldError, InputError, StoreError
from lus_ray.evaluation import results
from lus_ray.experiment import Arm, Experiment, Recipe, Rows, Search
from lus_ray.folds import fixed_test, rotating
from lus_ray.inference import model_selection
from lus_ray.monitoring import run_files
from lus_ray.nets import TSM
from lus_ray.runs import leakage, manifest
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
ROTATING = Experiment("turns", "Turns", folds=rotating(4), arms=(ARM,), metrics=("auc",))
FIXED = replace(ROTATING, folds=fixed_test(parts=4, cv=3))
RECORD = {"experiment": "study", "arms": [{"name": "a", "recipe": None}]}
NO_DICTIONARY = "input should be a dictionary"


@pytest.mark.parametrize(
    "read", [manifest.read, results.read, run_files.read_plan, model_selection.neighbouring_runs]
)
@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ([], f"the file: {NO_DICTIONARY}"),
        (None, f"the file: {NO_DICTIONARY}"),
        ({}, "experiment: field required"),
        ({"experiment": "study"}, "arms: field required"),
        (RECORD | {"arms": {}}, "arms: input should be a valid list"),
        (RECORD | {"arms": ["a"]}, f"arms.0: {NO_DICTIONARY}"),
        (RECORD | {"arms": [{"name": 5}]}, "arms.0.name: input should be a valid string"),
        (RECORD | {"arms": [{"name": "a", "rows": []}]}, f"arms.0.rows: {NO_DICTIONARY}"),
        (RECORD | {"data": 5}, f"data: {NO_DICTIONARY}"),
        (RECORD | {"data": {"sources": {"a": 5}}}, "data.sources.a: input should be a valid dict"),
        (RECORD | {"published": {"a": {"auc": ["high", 0.1]}}}, "published.a.auc.0: input should"),
    ],
)
def test_every_reader_refuses_a_wrong_record_in_one_line(tmp_path, read, record, reason):
    (tmp_path / "experiment.json").write_text(json.dumps(record))
    message = rf"^{tmp_path}/experiment\.json: no record of a run \({reason}[^\n]*$"
    with pytest.raises(StoreError, match=message):
        read(tmp_path)


@pytest.mark.parametrize(
    ("text", "reason"), [('{"experiment"', "not readable"), (None, "no such file; name a folder")]
)
def test_an_incomplete_or_missing_record_is_named(tmp_path, text, reason):
    if text is not None:
        (tmp_path / "experiment.json").write_text(text)
    with pytest.raises(StoreError, match=rf"experiment\.json: {reason}"):
        manifest.read(tmp_path)


@pytest.fixture
def prepare(phantom_store):
    """`prepare(experiment, out)` prepares a run on the phantom clips."""

    def run(experiment: Experiment, out: Path, *, data=phantom_store, index=None, **options):
        request = RunRequest(experiment, data=data, out=out, size="full", **options)
        return preparation.prepare(request, index=index)

    return run


def record_of(out: Path) -> dict:
    return json.loads((out / "experiment.json").read_text())


@pytest.mark.slow
def test_only_where_folds_test_different_patients_every_fold_searches(prepare, tmp_path, capsys):
    plan = prepare(ROTATING, tmp_path)
    assert plan.experiment.arm("signs").search.over == "fold"
    assert record_of(tmp_path)["arms"][0]["search"]["over"] == "fold"
    assert "note: folds test different patients" in capsys.readouterr().err
    # With the mean, the score of fold 0 would come from patients whom fold 1 tests.
    assert set(plan.folds[0].val) & set(plan.folds[1].test)
    without = replace(ROTATING, arms=(replace(ARM, search=Search(SPACE)),))
    prepare(without, tmp_path / "without a search")
    assert prepare(FIXED, tmp_path / "fixed").experiment.arm("signs").search.over == "mean"
    assert capsys.readouterr().err == ""


def test_a_folder_with_other_folds_is_refused_and_stays_as_it_is(prepare, tmp_path):
    first, *others = prepare(FIXED, tmp_path).folds
    prepare(FIXED, tmp_path)
    swapped = replace(first, train=first.val, val=first.train)
    folds.write((swapped, *others), tmp_path / "folds.json", protocol=FIXED.folds, seed=0)
    before = (tmp_path / "folds.json").read_bytes()
    with pytest.raises(InputError, match=r"folds\.json assigns patients .*another --out"):
        prepare(FIXED, tmp_path)
    assert (tmp_path / "folds.json").read_bytes() == before


def test_a_run_does_not_start_over_a_damaged_record(prepare, tmp_path):
    (tmp_path / "experiment.json").write_text("{}")
    with pytest.raises(StoreError, match=r"experiment\.json: "):
        prepare(ROTATING, tmp_path)


@pytest.mark.parametrize(("batches", "refused"), [(0, False), (5, True)])
def test_a_record_without_a_new_setting_has_its_default(prepare, tmp_path, batches, refused):
    prepare(ROTATING, tmp_path)
    record = record_of(tmp_path)
    del record["arms"][0]["recipe"]["norm_batches"]
    (tmp_path / "experiment.json").write_text(json.dumps(record))
    changed = replace(ARM, recipe=replace(ARM.recipe, norm_batches=batches))
    again = replace(ROTATING, arms=(changed,))
    if refused:
        with pytest.raises(InputError, match="arm 'signs' was run with other settings"):
            prepare(again, tmp_path)
    else:
        assert prepare(again, tmp_path).cells


@pytest.mark.parametrize(
    ("recorded", "given", "refused"),
    [
        ({"workers": 1, "gpus": 0.5}, {}, False),  # of a version that named both
        ({"workers": None, "gpus": None}, {"workers": 2}, False),
        ({"workers": 1, "gpus": 0.0}, {"workers": 1, "gpus": 1.0}, False),
        ({"workers": 1, "gpus": 0.0}, {"workers": 2}, True),
    ],
)
def test_a_run_goes_on_wherever_the_planner_places_it(prepare, tmp_path, recorded, given, refused):
    prepare(FIXED, tmp_path)
    record = record_of(tmp_path)
    record["arms"][0]["recipe"] |= recorded
    (tmp_path / "experiment.json").write_text(json.dumps(record))
    again = replace(FIXED, arms=(replace(ARM, recipe=replace(ARM.recipe, **given)),))
    if refused:
        with pytest.raises(InputError, match="arm 'signs' was run with other settings"):
            prepare(again, tmp_path)
    else:
        assert prepare(again, tmp_path).cells


def test_every_command_of_a_run_is_recorded_once(prepare, tmp_path):
    for command in ("lus run all", "lus run one --arms a", "lus run all"):
        prepare(ROTATING, tmp_path, command=command)
    assert record_of(tmp_path)["commands"] == ["lus run all", "lus run one --arms a"]


def test_more_seeds_add_cells_and_fewer_are_refused(prepare, tmp_path):
    first = prepare(FIXED, tmp_path)
    finished = first.folder_of(first.cells[0])
    finished.predictions.parent.mkdir(parents=True)
    finished.predictions.touch()
    more = prepare(FIXED, tmp_path, seeds=2)
    assert [(cell.fold, cell.seed) for cell in more.unfinished_cells()] == [
        (1, 0), (2, 0), (0, 1), (1, 1), (2, 1),
    ]  # fmt: skip
    assert more.folds == first.folds
    assert prepare(FIXED, tmp_path).cells == more.cells
    with pytest.raises(InputError, match="a run with 2 seeds, not 1; leave out --seeds or"):
        prepare(FIXED, tmp_path, seeds=1)
    assert record_of(tmp_path)["seeds"] == 2


def test_the_path_of_the_clips_is_recorded_as_absolute(
    prepare, phantom_store, tmp_path, monkeypatch
):
    monkeypatch.chdir(phantom_store.parent)
    prepare(ROTATING, tmp_path, data=Path(phantom_store.name))
    assert record_of(tmp_path)["data_path"] == str(phantom_store)


def test_an_unknown_fold_is_refused_before_anything_is_written(prepare, tmp_path):
    with pytest.raises(ArmError, match=r"no fold 7; there are \[0, 1, 2, 3\]"):
        prepare(ROTATING, tmp_path, folds=(1, 7))
    assert not (tmp_path / "experiment.json").exists()


@pytest.fixture
def earlier(prepare, tmp_path) -> Path:
    """The run folder of an earlier experiment on the same clips."""
    prepare(ROTATING, tmp_path / "earlier")
    return tmp_path / "earlier"


def starting_from(
    run: Path, fold: int | str = 0, arm: str = "signs", experiment=ROTATING
) -> Experiment:
    """The experiment whose arm starts from weights in the cell of a run."""
    path = run / "cells" / arm / f"fold{fold}" / "checkpoint" / "weights.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"weights")
    return replace(experiment, arms=(replace(ARM, weights=str(path.parent)),))


def split_by(path: Path, **splits: list[str]) -> Experiment:
    """The experiment with one fold, which a splits file assigns."""
    path.write_text(json.dumps({"folds": [{"number": 0, **splits}]}))
    return replace(ROTATING, folds=folds.official(path))


@pytest.mark.parametrize("fold", [2, "2-seed1"])
def test_weights_trained_on_test_patients_are_refused(prepare, tmp_path, earlier, fold):
    out = tmp_path / "out"
    experiment = starting_from(earlier, fold=fold)
    message = r"checkpoint: was trained on 'phantom/.*' and \d more, whom fold 0 tests; "
    with pytest.raises(FoldError, match=message + "run only --folds 2, or use weights of oth"):
        prepare(experiment, out)
    assert not (out / "experiment.json").exists()
    prepare(experiment, out, folds=(2,))
    with pytest.raises(FoldError, match="whom fold 3 tests; use weights of other patients"):
        prepare(experiment, out, folds=(3,))


def test_patients_who_chose_the_epoch_of_weights_count_as_trained_on(prepare, tmp_path, earlier):
    fold = folds.read(earlier / "folds.json")[0]
    chosen = split_by(tmp_path / "s.json", train=fold.train, val=fold.test, test=fold.val)
    with pytest.raises(FoldError, match="was trained on"):
        prepare(starting_from(earlier, experiment=chosen), tmp_path / "out")


@pytest.mark.parametrize(
    "leak", [{"rows": Rows(overlap=True)}, {"recipe": replace(ARM.recipe, select="test")}]
)
def test_test_patients_of_an_arm_that_leaks_count_as_trained_on(prepare, tmp_path, leak):
    earlier = tmp_path / "earlier"
    prepare(replace(FIXED, arms=(replace(ARM, name="leaks!", **leak), ARM)), earlier)
    prepare(starting_from(earlier, fold=1, experiment=FIXED), tmp_path / "clean")
    assert record_of(tmp_path / "clean")["arms"][0]["weights"]["name"] == "weights.safetensors"
    with pytest.raises(FoldError, match="was trained on"):
        prepare(starting_from(earlier, arm="leaks", experiment=FIXED), tmp_path / "out")


def test_a_leak_group_counts_as_trained_on_with_one_of_its_patients(
    prepare, phantom_store, tmp_path, earlier
):
    index = store.read_index(phantom_store)
    first, second, *others = sorted(set(index["patient"].to_pylist()))
    split_by(earlier / "folds.json", train=[first], test=others[:1])
    chosen = split_by(tmp_path / "s.json", train=others[1:], val=others[:1], test=[second])
    experiment = starting_from(earlier, experiment=chosen)
    prepare(experiment, tmp_path / "apart")
    groups = ["both" if p in (first, second) else p for p in index["patient"].to_pylist()]
    joined = index.set_column(index.column_names.index("group"), "group", [groups])
    with pytest.raises(FoldError, match=f"was trained on '{second}', whom fold 0 tests"):
        prepare(experiment, tmp_path, index=joined)


def test_weights_of_other_patients_or_outside_of_a_run_are_accepted(prepare, tmp_path, earlier):
    path = earlier / "folds.json"
    plan = {"folds": json.loads(path.read_text())["folds"]}  # without the fingerprint of patients
    path.write_text(json.dumps(plan).replace("phantom/", "elsewhere/"))
    prepare(starting_from(earlier), tmp_path / "other")
    known = record_of(tmp_path / "other")["weights_patients"]
    assert known == sorted(leakage.patients_of_weights(starting_from(earlier)))
    assert all(name.startswith("elsewhere/") for name in known)
    third = starting_from(tmp_path / "other")
    assert set(leakage.patients_of_weights(third)) > set(known)
    loose = tmp_path / "weights.safetensors"
    loose.write_bytes(b"weights")
    prepare(replace(ROTATING, arms=(replace(ARM, weights=str(loose)),)), tmp_path / "loose")
