"""The baselines of the uninorm do the same work; speed itself is not asserted."""

import json

import pytest
import torch

from lus_ray import bench
from lus_ray.bench import uninorm
from lus_ray.bench.measure import Comparison
from lus_ray.bench.report import BenchReport
from lus_ray.errors import InputError, LusError
from lus_ray.nets.uninorm import Uninorm

BASELINES = uninorm.PUBLISHED | uninorm.LEVELS


@pytest.fixture(scope="module")
def measured() -> dict[str, Comparison]:
    return uninorm.measure(1, num_clips=2, num_frames=5)


@pytest.mark.parametrize("name", BASELINES)
@pytest.mark.parametrize("num_frames", [1, 2, 7, 16])
def test_every_baseline_is_the_uninorm(name: str, num_frames: int):
    clips, neutral = uninorm.example(3, num_frames)
    clips, neutral = clips.clamp(0.01, 0.99), torch.tensor([0.2, 0.3, 0.5, 0.05]).double()
    expected = Uninorm(initial=neutral.tolist())(clips)
    torch.testing.assert_close(BASELINES[name](clips, neutral), expected.detach())


def test_the_example_has_clips_of_both_branches_between_zero_and_one():
    clips, neutral = uninorm.example(64, 300)
    has_below = (clips < neutral[:, None]).any(dim=-1)
    aggregated = Uninorm(initial=neutral.tolist())(clips)
    telling = (aggregated > 0.001) & (aggregated < 0.999)
    assert (has_below & telling).sum() > 50
    assert (~has_below & telling).sum() > 10


def test_unequal_work_gets_no_ratio():
    equal = (torch.tensor([0.5]), torch.tensor([1.0]))
    other = (torch.tensor([0.5]), torch.tensor([1.001]))
    uninorm.check_equal(equal, equal, "twin")
    with pytest.raises(LusError, match="gradients to the neutral elements of 'other' differ"):
        uninorm.check_equal(equal, other, "other")


def test_a_value_that_is_nan_is_unequal():
    broken = (torch.tensor([torch.nan]),)
    with pytest.raises(LusError, match="values of 'broken' differ"):
        uninorm.check_equal((torch.tensor([0.5]),), broken, "broken")


def test_every_baseline_is_measured(measured: dict[str, Comparison]):
    names = [{baseline.name for baseline in results.baselines} for results in measured.values()]
    assert names == [set(uninorm.PUBLISHED), set(uninorm.LEVELS), set(uninorm.LEVELS)]
    for results in measured.values():
        assert results.threads == 1
        assert results.wall_ms > 0
        assert all(
            baseline.low <= baseline.ratio <= baseline.high for baseline in results.baselines
        )


def test_a_report_is_a_table_and_plain_json(measured: dict[str, Comparison]):
    report = BenchReport("2026-01-02T03:04:05+00:00", {"uninorm": measured})
    lines = report.text().splitlines()
    assert lines[0].startswith("2026-01-02T03:04:05+00:00, ")
    assert len(lines) == 3 + 1 + 3 + 3
    contents = json.loads(json.dumps(report.contents()))
    assert contents["measures"]["uninorm"]["gradient to neutral"]["repeats"] == 1
    assert set(contents["machine"]) == {"cpus", "architecture"}
    assert set(contents["versions"]) == {"lus_ray", "python", "torch", "numpy"}


def test_an_unknown_measure_is_refused():
    with pytest.raises(InputError, match="no benchmark 'speed'; use reads, clips"):
        bench.run(["speed"])
