import numpy as np
import pytest

from lus_ray.clip import sf_class
from tests.data.phantom.scenes import make_patient


def test_each_round_of_seven_patients_has_all_seven_diseases():
    rounds = [{make_patient(7 * k + i).disease for i in range(7)} for k in range(3)]
    assert all(len(diseases) == 7 for diseases in rounds)


def test_saturation_follows_the_burden_but_not_alone():
    patients = [make_patient(index) for index in range(300)]
    link = np.corrcoef([p.burden for p in patients], [p.sf_ratio for p in patients])[0, 1]
    assert -0.92 < link < -0.6
    assert {sf_class(p.sf_ratio) for p in patients} == {0, 1, 2, 3}


@pytest.mark.parametrize(
    ("confounder", "trait"),
    [("gain", "gain_db"), ("fat", "fat_mm"), ("depth", "height_mm"), ("probe", "probe")],
)
def test_a_planted_confounder_follows_the_burden(confounder, trait):
    def link(planted):
        patients = [make_patient(index, confounder=planted) for index in range(300)]
        values = [getattr(p, trait) for p in patients]
        numbers = [float(v == "linear") if trait == "probe" else v for v in values]
        return np.corrcoef(np.argsort(np.argsort(numbers)), [p.burden for p in patients])[0, 1]

    assert abs(link(None)) < 0.15
    assert link(confounder) > 0.4
