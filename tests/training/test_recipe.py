"""Invalid settings are refused before anything runs, in one line."""

from dataclasses import replace

import pytest
from click.testing import CliRunner

from experiments.bline_adaptation import EXPERIMENT
from lus_ray.cli import main
from lus_ray.errors import ArmError
from lus_ray.orchestration import run_options
from lus_ray.training.recipe import Recipe

PLAIN = Recipe(epochs=3, batch=2, lr=0.1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 0}, "epochs is 0; .* 1"),
        ({"epochs": 2.5}, "epochs is 2.5; .*integer"),
        ({"workers": 0}, "workers is 0; .* 1"),
        ({"batch": -1}, "batch is -1; .* 0"),
        ({"copies": 7}, "copies is 7; .* 6"),
        ({"lr": "fast"}, "lr is 'fast'; .*number"),
        ({"lr": 0}, "lr is 0; .* 0"),
        ({"lr": float("nan")}, "lr is nan; .*finite"),
        ({"eps": -1}, "eps is -1; .* 0"),
        ({"warmup": 2}, "warmup is 2; .* 1"),
        ({"gpus": 1.5}, "gpus is 1.5; give a share from 0 to 1, or a whole number"),
        ({"cosine": 1}, "cosine is 1; .*boolean"),
        ({"plateau": "x"}, "plateau is 'x'; .*number"),
        ({"plateau": 1}, "plateau is 1; .* 1"),
        ({"milestones": 5}, "milestones is 5; .*Sequence"),
        ({"milestones": [2, 0]}, r"milestones\[1\] is 0; .* 1"),
        ({"select": "tset"}, "select is 'tset'; .*'best', 'last', 'loss' or 'test'"),
        ({"oversample": "x"}, "oversample is 'x'; .*'severity', 'sf_ratio'"),
        ({"l2": 0.1, "weight_decay": 0.2}, "weight_decay is 0.2; set it to 0 beside l2"),
        ({"plateau": 0.5, "cosine": True}, "plateau is 0.5; set it to null beside milestones, w"),
        ({"plateau": 0.5, "milestones": (2,)}, "plateau is 0.5; set it to null beside milestones"),
        ({"milestones": (2,), "cosine": True}, "milestones is .* empty beside warmup, cosine or d"),
        ({"milestones": (2,), "decay": 0.9}, "milestones is .* empty beside warmup, cosine or d"),
        ({"plateau": 0.5, "decay": 0.9}, "plateau is 0.5; set it to null beside milestones, w"),
        ({"decay": 0}, "decay is 0; .* 0"),
        ({"decay": 1.1}, "decay is 1.1; .* 1"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_an_invalid_setting_is_named(settings, message):
    for name, value in settings.items() if len(settings) > 1 else ():
        replace(PLAIN, **{name: value})  # only together they are invalid
    with pytest.raises(ArmError, match=f"^Recipe: {message}"):
        replace(PLAIN, **settings)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("epochs=0", "epochs is 0"),
        ("lr=NaN", "lr is nan"),
        ("milestones=[2, 0]", "milestones[1] is 0"),
        ("colour=blue", "--set arm.recipe.colour=blue: a recipe has no 'colour'; the nearest"),
        ("augment=null", "--set arm.recipe.augment=null: a recipe has no 'augment'; the near"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_an_invalid_setting_on_the_command_line_is_one_line(setting, message, tmp_path):
    words = ["run", "bline_adaptation", "--smoke", "--out", str(tmp_path / "run")]
    result = CliRunner().invoke(main, [*words, "--set", f"arm.recipe.{setting}"])
    assert result.exit_code == 2, result.output
    assert message in result.output
    assert len(result.output.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_valid_settings_reach_the_recipe_in_their_order():
    settings = [
        "decay=1",
        "epochs=1",
        "batch=0",
        "lr=1",
        "gpus=2",
        "select=loss",
        "oversample=markers",
    ]
    settings += ["milestones=[1, 3]", "milestones=[]", "cosine=true", "cosine=false", "plateau=0.5"]
    chosen = run_options.apply_options(
        EXPERIMENT, "smoke", settings=[f"arm.recipe.{s}" for s in settings]
    )
    recipe = chosen.arm("unet covid").recipe
    assert recipe == replace(
        EXPERIMENT.at("smoke").arm("unet covid").recipe, epochs=1, batch=0, lr=1, gpus=2,
        select="loss", oversample="markers", plateau=0.5, milestones=[],
    )  # fmt: skip
