from functools import partial

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from lus_ray.evaluation import external, results
from lus_ray.evaluation.external import EXTERNAL, decisions, validation
from lus_ray.metrics.calibration import log_loss
from tests.evaluation.diagnosis_run import write_diagnosis_run
from tests.evaluation.external import external_run
from tests.evaluation.external.external_run import NET, PRIOR, write_external
from tests.evaluation.frame_run import write_frame_run
from tests.evaluation.mask_run import write_mask_run
from tests.evaluation.run_folders import arm, compute
from tests.evaluation.test_training_seeds import repeat


def named(entries, name):
    return next(own for own in entries if own.name == name)


def pooled(out, name):
    run = results.read(out)
    cells = [cell for (own, _), cell in sorted(run.cells.items()) if own == name]
    target = np.concatenate([cell.target for cell in cells])
    return target, np.concatenate([cell.probability for cell in cells]), cells


def test_metrics_of_both_sides_are_those_of_their_reports(reports, measured):
    sides = [own.row("net") for own in reports]
    own = named(measured.shifts, "net")
    assert (own.num_internal, own.num_external) == (12, 30)
    for metric in ("auc", "accuracy"):
        shift = own.metrics[metric]
        assert (shift.internal.value, shift.external.value) == tuple(s.mean[metric] for s in sides)
        assert shift.internal.interval == sides[0].interval[metric]
        assert shift.difference.value == shift.external.value - shift.internal.value
        low, high = shift.difference.interval
        widths = [np.diff(s.interval[metric])[0] for s in sides]
        assert max(widths) * 0.7 < high - low < sum(widths) * 1.2


def test_an_arm_whose_internal_score_is_too_high_says_why(measured):
    assert named(measured.shifts, "split by clip").leak == "clips split at random"
    assert named(measured.shifts, "net").leak == ""


def test_a_model_that_is_too_confident_is_calibrated_on_patients_it_never_saw(folders, measured):
    own = named(measured.calibration, "net")
    assert [t.fold for t in own.temperatures] == [0, 1]
    assert all(1 < t.value < 3 for t in own.temperatures)
    before, after = own.external.before, own.external.after
    target, probability, _ = pooled(folders[1], "net")
    assert before.log_loss.value == pytest.approx(log_loss(target, probability).mean())
    assert after.log_loss.value < before.log_loss.value
    assert after.calibration_error.value < before.calibration_error.value
    assert sum(number for *_, number in before.curve) == len(target)


def test_yes_no_labels_are_calibrated_and_have_no_sets_and_no_decisions(measured):
    own = named(measured.calibration, "signs")
    assert all(t.value == pytest.approx(2, rel=0.2) for t in own.temperatures)
    assert "biomarkers" not in {entry.label for entry in (*measured.sets, *measured.decisions)}


@pytest.mark.parametrize(
    ("name", "reason"), [("on refit", validation.TRAINED_ON), ("split by clip", validation.LEAKS)]
)
def test_validation_clips_that_a_model_trained_on_calibrate_nothing(measured, name, reason):
    own, sets = named(measured.calibration, name), named(measured.sets, name)
    assert (own.reason, sets.reason) == (reason, reason)
    assert (own.temperatures, own.external.after, sets.external) == ((), None, ())
    assert own.external.before.log_loss.value > 0


def test_four_validation_patients_allow_sets_of_eighty_percent_and_not_of_ninety(measured):
    own = named(measured.sets, "net")
    assert own.num_calibration == 4
    ninety, eighty = own.external
    assert (ninety.level, ninety.coverage.value, ninety.size.value) == (0.9, 1, 4)
    assert eighty.level == 0.8
    assert 0.7 < eighty.coverage.value < 1
    assert eighty.size.value < 4
    constant = named(measured.sets, "class prior").external[1]
    assert (constant.coverage.value, constant.size.value, constant.empty.value) == (1, 4, 0)


def test_classes_that_external_clips_lack_are_named_and_no_rank_is_shown_first(tmp_path):
    lacking = ("0", "1", "2")
    folders = write_external(tmp_path, entries=(PRIOR, NET), num_clips=2, lacking=lacking)
    found = external.measure(*folders, num_draws=5)
    assert found.notes == (
        "No external clip is annotated with severity 0, 1, 2: averages over classes cover fewer "
        "classes than on internal clips.",
    )
    assert found.metrics == {"severity": "accuracy"}
    own = named(found.shifts, "net").metrics["auc"]
    assert own.external.value is None
    assert "all 90 clips have class 3" in own.external.reason


def test_grades_ask_for_each_grade_or_worse_and_names_for_each_name(measured):
    asked = [own.question for own in measured.decisions]
    assert asked == ["severity 1, 2 or 3", "severity 2 or 3", "severity 3"]
    names = decisions.ask("disease", ("healthy", "covid"), ordered=False)
    assert names == [("disease healthy", [0]), ("disease covid", [1])]


def test_a_label_of_ones_own_is_ordered_where_its_run_says_so(tmp_path):
    label = {"name": "burden", "classes": ["0", "1", "2", "3"], "ordered": True}
    entries = [arm("net", label="burden")]
    folders = write_external(tmp_path, entries=entries, num_clips=1, label=label)
    found = external.measure(*folders, num_draws=5)
    assert [own.question for own in found.decisions][-1] == "burden 3"
    assert len(found.decisions) == 3


def test_a_decision_curve_starts_at_the_prevalence_for_every_arm(measured):
    for curve in measured.decisions:
        share = curve.num_positive / curve.num_clips
        assert curve.treat_all[0] == pytest.approx(share, abs=0.02)
        assert {own.name for own in curve.arms} == set(measured.main["severity"])
        for own in curve.arms:
            assert own.low[0] <= own.value[0] <= own.high[0]
            assert own.value[0] == pytest.approx(share, abs=0.02)


def test_three_patients_are_too_few_for_any_interval(tmp_path, monkeypatch):
    monkeypatch.setattr(external_run, "EXTERNAL", external_run.EXTERNAL[:3])
    found = external.measure(*write_external(tmp_path, entries=[NET], num_clips=1), num_draws=5)
    assert {low for curve in found.decisions for low in curve.arms[0].low} == {None}
    assert named(found.calibration, "net").external.before.brier.interval == (None, None)


def test_the_run_and_not_the_external_clips_chooses_the_main_arms(reports, measured):
    assert measured.main["severity"] == reports[0].contents.highlights["severity"]


def test_results_survive_their_json(measured):
    assert EXTERNAL.validate_json(EXTERNAL.dump_json(measured)) == measured


@pytest.mark.parametrize(
    "write",
    [
        partial(write_frame_run, folds=(0,)),
        partial(write_mask_run, folds=(0,)),
        write_diagnosis_run,
    ],
    ids=["frames", "masks", "diagnosis"],
)
def test_a_run_against_itself_has_no_shift_whatever_its_labels(write, tmp_path):
    out = write(tmp_path / "run")
    found = external.measure(out, out, num_draws=20)
    assert {own.label for own in found.shifts} == set(found.labels)
    shifts = [own for entry in found.shifts for own in entry.metrics.values()]
    known = [own.difference for own in shifts if own.difference.value is not None]
    assert known
    assert all(own.value == 0 and own.interval[0] <= 0 <= own.interval[1] for own in known)
    assert not any("masks" in own.label for own in found.calibration)
    assert {own.label for own in found.sets} <= {"severity", "diagnosis"}
    assert all(own.reason in (validation.NO_CLIPS, validation.LEAKS) for own in found.calibration)


@pytest.mark.full
def test_several_seeds_are_averaged_as_in_the_report(tmp_path):
    out = repeat(write_diagnosis_run(tmp_path / "run"))
    own = named(external.measure(out, out, num_draws=20).shifts, "from dense").metrics["accuracy"]
    row = compute(out, num_draws=20).row("from dense")
    assert own.internal.value == row.mean["accuracy"]
    assert own.internal.interval == row.interval["accuracy"]


def test_subgroups_are_scored_on_their_own_clips(folders, measured):
    own = named(measured.subgroups, "net")
    assert own.metrics == ("auc", "accuracy")
    assert own.unknown == ("bmi", "probe", "zone", "device")
    sex, age, site = own.columns
    assert [g.group for g in sex.groups] == ["female", "male"]
    assert [(g.group, g.num_patients) for g in age.groups] == [
        ("< 40", 10), ("40-64", 13), ("≥ 65", 7),
    ]  # fmt: skip
    assert [(g.group, g.num_patients, g.is_ranked) for g in site.groups] == [
        ("large", 14, True), ("small", 3, False), ("not known", 13, False),
    ]  # fmt: skip
    _, _, cells = pooled(folders[1], "net")
    by_fold = []
    for cell in cells:
        female = np.array([int(name[-2:]) % 2 == 0 for name in cell.patients])
        probability, target = cell.probability[female], cell.target[female]
        auc = roc_auc_score(
            target, probability / probability.sum(axis=1, keepdims=True),
            multi_class="ovo", average="weighted",
        )  # fmt: skip
        by_fold.append(auc)
    assert sex.groups[0].metrics["auc"].value == pytest.approx(np.mean(by_fold))


def test_the_gap_is_between_ranked_groups_alone(measured):
    sex, age, site = named(measured.subgroups, "net").columns
    values = {g.group: g.metrics["auc"].value for g in sex.groups}
    assert sex.gap.difference.value == pytest.approx(abs(values["female"] - values["male"]))
    assert {age.gap.best, age.gap.worst} == {"< 40", "40-64"}
    assert site.gap is None


def test_subgroups_of_the_test_patients_of_a_run_need_no_evaluation(folders, measured):
    (own,) = external.subgroups_of_run(folders[1], {"severity": ["net"]}, num_draws=5)
    other = named(measured.subgroups, "net")
    for column, known in zip(own.columns, other.columns, strict=True):
        pairs = zip(column.groups, known.groups, strict=True)
        assert all(a.metrics["auc"].value == b.metrics["auc"].value for a, b in pairs)
