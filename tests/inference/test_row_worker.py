from dataclasses import replace
from pathlib import Path

import pytest

from lus_ray.cli.predict import _predict_here, _predict_on_cluster
from lus_ray.errors import LusError
from lus_ray.inference.clip_inputs import find_inputs

pytestmark = [pytest.mark.ray, pytest.mark.full, pytest.mark.usefixtures("ray_cluster")]
OPTIONS = {"uncertainty": False, "allow_text": False}


def test_a_cluster_gives_the_table_of_one_process_in_the_same_order(runs, models, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"no image")
    clips = find_inputs([tmp_path / "bad.png", runs / "clips"]).clips
    here = list(_predict_here(clips, models, OPTIONS))
    there = list(_predict_on_cluster("auto", clips, models, OPTIONS))
    assert [row["clip"] for row in there] == [row["clip"] for row in here]
    for own, other in zip(here, there, strict=True):
        assert own == pytest.approx(other, abs=2e-6)


def test_a_machine_without_the_models_is_named_in_one_line(runs, models):
    clips = find_inputs([runs / "clips"]).clips[:1]
    lost = tuple(replace(model, folder=Path("/nowhere") / model.arm) for model in models)
    with pytest.raises(LusError, match="a folder that all machines share"):
        list(_predict_on_cluster("auto", clips, lost, OPTIONS))
