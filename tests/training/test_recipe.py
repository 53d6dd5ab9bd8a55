"""Recipes: settings that no training can have are refused before anything runs, in one line."""

from dataclasses import replace

import pytest
from click.testing import CliRunner

from experiments.bline_adaptation import EXPERIMENT
from experiments.frame_scores import balanced
from lus_ray.cli import main
from lus_ray.errors import ArmError
from lus_ray.orchestration import run_options
from lus_ray.training.recipe import Recipe

PLAIN = Recipe(epochs=3, batch=2, lr=0.1)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("epochs=0", "epochs is 0; it needs a whole number, 1 or more"),
        ("epochs=2.5", "epochs is 2.5; it needs a whole number, 1 or more"),
        ("epochs=true", "epochs is True; it needs a whole number, 1 or more"),
        ("workers=0", "workers is 0; it needs a whole number, 1 or more"),
        ("batch=-1", "batch is -1; it needs a whole number, 0 or more"),
        ("draws=many", "draws is many; it needs a whole number, 0 or more"),
        ("copies=7", "copies is 7; it needs a whole number, 1 to 6"),
        ("lr=fast", "lr is fast; it needs a number above 0"),
        ("lr=0", "lr is 0; it needs a number above 0"),
        ("lr=NaN", "lr is nan; it needs a number above 0"),
        ("eps=-1", "eps is -1; it needs a number, 0 or more"),
        ("warmup=2", "warmup is 2; it needs a share from 0 to 1"),
        ("gpus=1.5", "gpus is 1.5; it needs a share from 0 to 1, or a whole number"),
        ("cosine=1", "cosine is 1; it needs true or false"),
        ("plateau=x", "plateau is x; it needs a factor between 0 and 1, or null"),
        ("plateau=1", "plateau is 1; it needs a factor between 0 and 1, or null"),
        ("milestones=5", "milestones is 5; it needs a list of epochs, 1 or more each"),
        ("milestones=[2, 0]", "milestones is [2, 0]; it needs a list of epochs, 1 or more each"),
        ("select=tset", "select is tset; it needs one of best, last, loss, test"),
        ("oversample=x", "oversample is x; it needs one of severity, sf_ratio, disease, "),
        ("colour=blue", "--set arm.recipe.colour=blue: a recipe has ['batch', 'copies', "),
        ("augment=null", "--set arm.recipe.augment=null: a recipe has ['batch', 'copies', "),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("unchecked")
def test_a_setting_that_no_training_can_have_is_one_line_of_bad_input(setting, said, tmp_path):
    words = ["run", "bline_adaptation", "--smoke", "--out", str(tmp_path / "run")]
    found = CliRunner().invoke(main, [*words, "--set", f"arm.recipe.{setting}"])
    assert found.exit_code == 2, found.output
    assert said in found.output
    assert len(found.output.splitlines()) == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"l2": 0.1, "weight_decay": 0.2}, "weight_decay is 0.2; it needs 0 beside l2"),
        ({"plateau": 0.5, "cosine": True}, "plateau is 0.5; it needs null beside milestones, warm"),
        ({"plateau": 0.5, "warmup": 0.1}, "plateau is 0.5; it needs null beside milestones, warmu"),
        ({"plateau": 0.5, "milestones": (2,)}, "plateau is 0.5; it needs null beside milestones,"),
        ({"milestones": (2,), "cosine": True}, "milestones is .* empty beside warmup or cosine"),
    ],
)
def test_of_two_settings_that_exclude_each_other_none_is_dropped_in_silence(settings, said):
    for name, value in settings.items():
        replace(PLAIN, **{name: value})
    with pytest.raises(ArmError, match=said):
        replace(PLAIN, **settings)


def test_sound_settings_reach_the_recipe_and_one_rule_can_follow_another():
    settings = ["epochs=1", "batch=0", "lr=1", "gpus=2", "select=loss", "oversample=markers"]
    settings += ["milestones=[1, 3]", "milestones=[]", "cosine=true", "cosine=false", "plateau=0.5"]
    chosen = run_options.apply_options(
        EXPERIMENT, "smoke", settings=[f"arm.recipe.{s}" for s in settings]
    )
    recipe = chosen.arm("unet covid").recipe
    assert recipe == replace(
        EXPERIMENT.at("smoke").arm("unet covid").recipe, epochs=1, batch=0, lr=1, gpus=2,
        select="loss", oversample="markers", plateau=0.5, milestones=[],
    )  # fmt: skip


def test_a_published_recipe_with_another_rule_has_to_leave_its_own():
    with pytest.raises(ArmError, match=r"milestones is \(70,\); it needs to be empty"):
        replace(balanced, cosine=True)
    assert replace(balanced, cosine=True, milestones=()).cosine
