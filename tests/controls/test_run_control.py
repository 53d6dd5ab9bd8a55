"""`lus run STUDY --control`: the answer, its report, its exit code and what it refuses."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from lus_ray.api.controls import run_control
from lus_ray.cli import main
from lus_ray.control import Check, Score
from lus_ray.errors import ArmError, InputError
from lus_ray.orchestration import control_plan
from lus_ray.orchestration.studies import list_studies

OWN = Path(__file__).parent / "own_control.py"


def test_every_published_study_has_a_control() -> None:
    for study in set(list_studies()) - {"classify"}:
        control = control_plan.find_control(study)
        assert len(control.worlds) >= 2, study
        assert control.broken, study
        for world in (*control.worlds, *control.broken.values()):
            assert world.checks, (study, world.name)
            assert world.text.endswith("."), (study, world.name)


def test_a_check_names_arms_of_its_world() -> None:
    world = control_plan.find_control("dense_labels").worlds[0]
    with pytest.raises(ArmError, match="no arm 'spars'; did you mean 'sparse'"):
        replace(world, checks=(Check("text", Score("auc", "spars"), least=0.5),))


def test_a_check_has_a_bound_and_fails_without_a_value() -> None:
    with pytest.raises(ArmError, match="no bound"):
        Check("text", Score("auc", "arm"))
    check = Check("text", Score("auc", "arm"), least=0.5, most=0.9)
    assert check.passes(0.5)
    assert check.passes(0.9)
    assert not any(map(check.passes, (0.49, 0.91, float("nan"))))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["classify", "--control"], "--control: classify has none"),
        ([str(OWN), "--control", "--broken", "x"], "no such way to break it; known: 'no headroom'"),
        ([str(OWN), "--control", "--arms", "a"], "--arms is not for --control, which has its own"),
        (
            [str(OWN), "--control", "--size", "laptop"],
            "--size is not for --control, which has its own",
        ),
        ([str(OWN), "--broken", "no headroom"], "--broken is for --control"),
    ],
)
def test_what_a_control_refuses(arguments: list[str], message: str) -> None:
    result = CliRunner().invoke(main, ["run", *arguments])
    assert result.exit_code == 2
    assert message in result.output


def test_a_control_runs_into_a_folder() -> None:
    with pytest.raises(InputError, match="--out: a control runs into a folder"):
        run_control(OWN, out="s3://bucket/run")


@pytest.mark.ray
@pytest.mark.full
def test_a_control_says_whether_the_method_works(tmp_path: Path) -> None:
    arguments = ["run", str(OWN), "--control"]
    passed = CliRunner().invoke(main, [*arguments, "--out", str(tmp_path / "ok")])
    assert passed.exit_code == 0, passed.output
    assert "Method works: yes; 3 of 3 checks pass" in passed.output
    contents = json.loads((tmp_path / "ok" / "control.json").read_text())
    assert contents["works"]
    assert [w["name"] for w in contents["worlds"]] == ["one scanner", "no labels learned"]
    assert "Method works" in (tmp_path / "ok" / "control.html").read_text()
    assert (tmp_path / "ok" / "one-scanner" / "report.html").is_file()

    broken = [*arguments, "--broken", "no headroom", "--out", str(tmp_path / "no")]
    failed = CliRunner().invoke(main, broken)
    assert failed.exit_code == 1
    assert "Method works: no" in failed.output
    assert "fails in 1 of 1 checks" in failed.output
