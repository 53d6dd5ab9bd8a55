"""The list of what the papers show, in experiments/README.md, names arms that exist."""

import importlib
import re
from pathlib import Path

import pytest

GUIDE = Path(__file__).parents[1] / "experiments" / "README.md"
SECTION = "## Tables, figures and claims of the papers"


def read_items() -> list[tuple[str, str, str]]:
    text = GUIDE.read_text().partition(SECTION)[2].partition("\n## ")[0]
    lines = [line for line in text.splitlines() if line.startswith("|")][2:]
    return [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in lines]  # type: ignore[misc]


@pytest.mark.parametrize(("item", "study", "answer"), read_items())
def test_every_item_is_answered_by_arms_of_its_study(item: str, study: str, answer: str) -> None:
    assert item
    assert answer
    experiment = importlib.import_module(f"experiments.{study}").EXPERIMENT
    names = {arm.name for arm in experiment.arms}
    quoted = [
        name for name in re.findall("`([^`]+)`", answer) if not name.startswith(("lus ", "--"))
    ]
    assert set(quoted) <= names
    assert quoted or "lus report" in answer or answer.startswith("not answered: ")


def test_every_arm_with_published_values_is_in_the_list() -> None:
    listed = {
        (study, name)
        for _, study, answer in read_items()
        for name in re.findall("`([^`]+)`", answer)
    }
    for study in {study for _, study, _ in read_items()} - {"biomarkers"}:
        experiment = importlib.import_module(f"experiments.{study}").EXPERIMENT
        published = {name for name in experiment.published if "," not in name}
        own = {
            name
            for name in published
            if experiment.arm(name).label not in ("dense masks", "sparse masks")
        }
        assert {(study, name) for name in own} <= listed, study
