"""Every control passes, and fails where the method is broken on purpose."""

from pathlib import Path

import pytest

from lus_ray.api.controls import run_control
from lus_ray.orchestration.control_plan import find_control
from lus_ray.orchestration.studies import list_studies

STUDIES = sorted(set(list_studies()) - {"classify"})


@pytest.mark.ray
@pytest.mark.full
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("study", STUDIES)
def test_control_passes_and_can_fail(study: str, tmp_path: Path) -> None:
    result = run_control(study, out=tmp_path / "control")
    assert result.works, [check for check in result.checks if not check.passes]
    for number, way in enumerate(find_control(study).broken):
        broken = run_control(study, out=tmp_path / f"broken{number}", broken=way)
        assert not broken.works, way
