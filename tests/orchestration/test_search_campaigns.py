"""Every study runs with `--samples 4` at smoke size, and its report shows what won."""

from dataclasses import replace

import pytest

from lus_ray import report
from lus_ray.arm_settings import apply_settings
from lus_ray.orchestration import campaign, run_options
from lus_ray.report import search_tables
from lus_ray.runs.cell import Cell
from lus_ray.runs.layout import RunFolder
from lus_ray.training import checkpoint
from tests.orchestration.test_search_samples import STUDIES

pytestmark = [pytest.mark.ray, pytest.mark.full, pytest.mark.timeout(1800)]


@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.parametrize("study", STUDIES)
def test_every_arm_is_searched_and_trained_with_what_won(study, tmp_path):
    request = run_options.build_request(
        study, size="smoke", out=tmp_path, samples=4, folds="0", notify=print
    )
    campaign.run(request)
    results = {own.arm: own for own in report.write(tmp_path).contents.searches}
    searched = [arm for arm in request.experiment.arms if arm.is_searched]
    assert set(results) == {arm.name for arm in searched}
    for arm in searched:
        result = results[arm.name]
        assert len(result.space) >= 2
        assert len(result.samples) == 4
        (chosen,) = (own for own in result.samples if own.is_chosen)
        assert chosen.score == max(own.score for own in result.samples if own.score is not None)
        if arm.crossfit:
            continue  # its inner models are not kept
        folder = RunFolder(tmp_path).cell(Cell(arm.name, 0))
        expected = apply_settings(replace(arm, search=None), chosen.settings)
        trained = checkpoint.read_description(folder.checkpoint)
        assert trained == checkpoint.describe(expected.task)
    assert search_tables.winner_table(list(results.values())).rows
