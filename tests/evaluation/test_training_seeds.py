"""Reports of runs that trained every cell with several seeds, for every kind of prediction."""

import json
from functools import cache

import numpy as np
import pyarrow.parquet as pq
import pytest

from lus_ray.evaluation import comparisons, verdicts
from lus_ray.evaluation.raters import score_among_raters
from tests.evaluation.diagnosis_run import write_diagnosis_run
from tests.evaluation.domain_run import (
    CLAIM,
    SIFA,
    UNET,
    skilled_dice,
    write_domain_cell,
    write_domain_run,
)  # fmt: skip
from tests.evaluation.frame_run import write_frame_run
from tests.evaluation.mask_run import write_mask_run
from tests.evaluation.run_folders import arm, compute, write_cell, write_run

KEY = b"lus_ray.prediction"
SIGNS, PRIOR = arm("signs", label="biomarkers"), arm("prior", label="biomarkers", baseline=True)


def write_multilabel_run(out):
    write_run(out, [PRIOR, SIGNS])
    for fold in range(3):
        write_cell(out, PRIOR, fold, skill=0.0)
        write_cell(out, SIGNS, fold, skill=0.2, seed=5)
    return out


def as_seed(path, fold, seed):
    """Copy a prediction file as if this seed of this fold had made it."""
    table = pq.read_table(path)
    about = json.loads(table.schema.metadata[KEY]) | {"fold": fold, "seed": seed}
    target = path.with_name(f"fold{fold}-seed{seed}.parquet")
    pq.write_table(table.replace_schema_metadata({KEY: json.dumps(about).encode()}), target)


def repeat(out):
    """Give every fold a second seed: the predictions of the next fold for the same test clips."""
    for folder in (out / "predictions").iterdir():
        for fold in range(3):
            as_seed(folder / f"fold{(fold + 1) % 3}.parquet", fold, 1)
    record = json.loads((out / "experiment.json").read_text())
    (out / "experiment.json").write_text(json.dumps(record | {"seeds": 2}))
    return out


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """`runs(write)`: a run as its writer leaves it, and the same run with a second seed."""

    @cache
    def run(write):
        out = tmp_path_factory.mktemp("run")
        return compute(write(out), num_draws=20), compute(repeat(out), num_draws=20)

    return run


@pytest.mark.parametrize(
    ("write", "name"),
    [
        (write_frame_run, "frames"),
        (write_frame_run, "uninorm"),
        (write_diagnosis_run, "from dense"),
        (write_multilabel_run, "signs"),
        (write_mask_run, None),
    ],
)
def test_a_fold_counts_with_the_mean_of_its_seeds(runs, write, name):
    before, after = runs(write)
    name = name or next(n for n in before.arms if n not in before.run.at_random)
    old, new = before.row(name), after.row(name)
    metrics = [metric for metric, value in old.mean.items() if value is not None]
    assert len(metrics) > 2
    for metric in metrics:
        values = [fold.metrics[metric] for fold in old.folds]
        expected = [np.nanmean([values[k], values[(k + 1) % 3]]) for k in range(3)]
        assert [fold.metrics[metric] for fold in new.folds] == pytest.approx(expected)
        assert new.mean[metric] == pytest.approx(old.mean[metric])
        assert new.std[metric] == pytest.approx(np.std(expected))
        assert [own.metrics[metric] for own in new.folds[1].seeds] == [values[1], values[2]]
    assert new.confusion == (old.confusion and pytest.approx(np.array(old.confusion)))
    assert new.num_patients == old.num_patients
    for sign, scores in new.biomarkers.items():
        assert scores.num_judged == old.biomarkers[sign].num_judged
        assert scores.auc == pytest.approx(old.biomarkers[sign].auc)
    for own in new.interval.values():
        assert own[0] is None or own[0] <= own[1]


def test_the_report_names_the_number_of_seeds_and_says_what_intervals_include(runs):
    once, twice = (run.contents for run in runs(write_multilabel_run))
    assert once.seeds == 1
    assert "seed of the training is not included: one seed" in once.notes["interval"]
    assert "seed of the training is not included: one seed" in once.notes["verdict"]
    assert twice.seeds == 2
    for note in ("mean", "interval", "verdict", "std"):
        assert "2 training seeds" in twice.notes[note]


def test_an_unfinished_seed_is_missing_and_its_claims_are_not_tested(tmp_path):
    tree, prior = arm("tree"), arm("prior", baseline=True)
    claim = {"text": "", "metric": "accuracy", "better": "tree", "than": "prior"}
    write_run(tmp_path, [prior, tree], claims=[claim])
    for fold in range(3):
        write_cell(tmp_path, prior, fold, skill=0.0)
        write_cell(tmp_path, tree, fold, skill=0.3, seed=5)
    repeat(tmp_path)
    (tmp_path / "predictions/tree/fold2-seed1.parquet").unlink()
    computed = compute(tmp_path)
    assert [(c.arm, c.fold, c.seed) for c in computed.contents.missing] == [("tree", 2, 1)]
    (result,) = computed.contents.claims
    assert result.verdict == verdicts.NOT_TESTED
    assert result.reason == "tree: fold 2, seed 1 is not finished"
    difference = comparisons.compare(computed.arms["tree"], computed.arms["prior"], "accuracy")
    assert difference.folds == (0, 1, 2)  # of fold 2 the seed that both have
    assert difference.seed_dof == 2
    assert difference.interval[0] < difference.value < difference.interval[1]


def test_a_difference_is_that_of_the_same_seeds(runs):
    arms = runs(write_multilabel_run)[1].arms
    difference = comparisons.compare(arms["signs"], arms["prior"], "auc")
    own, other = ([s.scores["auc"] for f in (0, 1, 2) for s in arms[name].by_seed[f].values()]
                  for name in ("signs", "prior"))  # fmt: skip
    assert difference.value == pytest.approx(np.mean(np.subtract(own, other)))
    pairs = np.subtract(own, other).reshape(3, 2)
    assert difference.seed_error == pytest.approx(
        np.sqrt((pairs.var(axis=1, ddof=1) / 2).sum()) / 3
    )
    assert difference.seed_dof == 3
    equal = comparisons.compare(arms["signs"], arms["signs"], "auc")
    assert (equal.value, equal.interval, equal.seed_error) == (0, (0, 0), 0)


def test_raters_are_compared_with_every_seed(runs):
    one, both = (run.arms["uninorm"] for run in runs(write_frame_run))
    clips = sorted(one.cells[0].predicted)
    table = np.random.default_rng(0).integers(0, 4, (len(clips), 3))
    by_fold = [
        score_among_raters(
            table, clips, type(one)("", "", False, (), (), {0: one.cells[k]}), kind=""
        )
        for k in (0, 1)
    ]
    scored = score_among_raters(table, clips, both, kind="")
    assert scored.num_clips == len(clips)
    assert scored.accuracy == pytest.approx(np.mean([own.accuracy for own in by_fold]))


def test_an_image_of_a_domain_counts_with_the_mean_of_its_seeds(tmp_path):
    def shifted(name, patient, image):
        return max(0.0, skilled_dice(name, patient, image) - 0.2)

    arms = (UNET, SIFA)
    before = compute(write_domain_run(tmp_path / "a", arms=arms), num_draws=40)
    out = write_domain_run(tmp_path / "b", arms=arms, seeds=2)
    others = write_domain_run(tmp_path / "c", arms=arms, dice=shifted)
    for entry in arms:
        for fold in range(3):
            path = write_domain_cell(others, entry, fold, dice=shifted)
            target = out / path.relative_to(others)
            target.with_name("other.parquet").write_bytes(path.read_bytes())
            as_seed(target.with_name("other.parquet"), fold, 1)
            target.with_name("other.parquet").unlink()
    after = compute(out, num_draws=40)
    for old, new in zip(
        before.contents.domains[0].arms, after.contents.domains[0].arms, strict=True
    ):
        assert new.num_images == old.num_images
        seeds = [after.arms[new.name].by_seed[f][s].scores["dice_per_image, covid"]
                 for f in range(3) for s in (0, 1)]  # fmt: skip
        mean = after.row(new.name).mean["dice_per_image, covid"]
        assert mean == pytest.approx(np.mean(seeds))
        assert new.over_images["dice"].mean < old.over_images["dice"].mean
    (result,) = after.contents.claims
    assert (result.better, result.num_patients) == (CLAIM["better"], 6)
    assert after.contents.domains[0].tests["images"].raw[0][1] is not None
