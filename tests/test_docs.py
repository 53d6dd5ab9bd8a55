"""Commands in the documents parse, links exist, examples run."""

import re
import shlex
from pathlib import Path

import click
import pytest
import torch

from lus_ray import study_files
from lus_ray.cli import main
from lus_ray.errors import CheckpointError
from lus_ray.experiment import Experiment
from lus_ray.orchestration.run_options import find_experiment
from lus_ray.predictor import Predictor
from tests.inference.fixture_runs import train_run

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("[!.]*/**/*.md"), *ROOT.glob(".github/*.md")])
COMMAND = re.compile(r"^(?:    | *- run: )((?:[A-Z_]+=\S+ )?(?:lus|make) .*)$", re.MULTILINE)
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def commands() -> list[tuple[str, str]]:
    """Each `lus` and `make` command of the documents, with continued lines joined."""
    texts = ((path.name, path.read_text().replace("\\\n", " ")) for path in DOCUMENTS)
    return [(name, line) for name, text in texts for line in COMMAND.findall(text)]


def test_the_documents_name_commands():
    assert len({line for _, line in commands()}) > 30


@pytest.mark.parametrize(("document", "line"), sorted(set(commands())))
def test_a_command_of_the_documents_is_accepted(document, line):
    program, *words = shlex.split(line.replace("s3://", "/"), comments=True)
    if program == "make":
        assert set(words) <= TARGETS
        return
    command: click.Command = main
    context = click.Context(main, info_name="lus")
    while isinstance(command, click.Group):
        command = command.commands[words.pop(0)]
    command.make_context("lus", words, parent=context)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_and_paths_of_a_document_exist(document):
    text = document.read_text()
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", text)
    local = [target for target in targets if "://" not in target]
    assert [target for target in local if not (document.parent / target).exists()] == []
    named = re.findall(r"`((?:lus_ray|serve|experiments|tests)/[\w./]+)`", text)
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_the_readme_is_read_in_two_minutes():
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 170
    assert len(text.split()) <= 1500


def test_the_code_map_names_every_package():
    text = (ROOT / "lus_ray" / "README.md").read_text()
    folders = [path.parent for path in (ROOT / "lus_ray").glob("*/__init__.py")]
    assert [folder.name for folder in folders if f"`{folder.name}/`" not in text] == []


def test_the_worked_examples_run(tmp_path):
    text = (ROOT / "lus_ray" / "README.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    network, source, study = ({"__name__": "example"} for _ in range(3))
    for block, names in zip(blocks[:3], (network, source, study), strict=True):
        exec(compile(block, "README.md", "exec"), names)  # noqa: S102  (our own document)
    net = network["SmallCNN"](5)
    assert net(torch.rand(2, 3, 32, 40)).shape == (2, 5)
    assert isinstance(study["EXPERIMENT"].at("smoke"), Experiment)
    (tmp_path / "p1_L1.mp4").touch()
    assert [row["zone"] for row in source["clips"](tmp_path, None)] == ["L1"]


@pytest.mark.slow
def test_the_worked_study_of_ones_own_trains_and_its_checkpoint_needs_the_file(
    tmp_path, phantom_store, monkeypatch
):
    text = (ROOT / "lus_ray" / "README.md").read_text()
    *_, example = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (tmp_path / "my_study.py").write_text(example)
    experiment = find_experiment(str(tmp_path / "my_study.py")).at("smoke")
    out = train_run(experiment, phantom_store, tmp_path / "run")
    checkpoint = out / "cells" / "one-convolution" / "fold0" / "checkpoint"
    assert type(Predictor(checkpoint).task.net).__name__ == "OneConvolution"
    monkeypatch.setattr(study_files, "_loaded", {})  # as in a new process
    with pytest.raises(CheckpointError, match="give that file with --study"):
        Predictor(checkpoint)
