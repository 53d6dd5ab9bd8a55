import numpy as np
import pytest

from lus_ray.data.phantom.scanner import Scanner, sample_scanner
from tests.data.phantom.scenes import make_patient

ECHO = np.full((50, 40), 0.1, np.float32)


def grey(scanner, echo=ECHO, gain_db=0.0):
    return scanner.compress(scanner.receive(echo), gain_db)


def test_a_fainter_echo_is_darker_and_no_echo_is_black():
    loud, soft, none = (grey(Scanner(), ECHO * np.float32(k)).mean() for k in (1, 0.5, 0))
    assert loud > soft > none == 0


def test_a_slider_of_the_time_gain_compensation_brightens_its_depth_alone():
    level = grey(Scanner(tgc_db=(0, 0, 12, 0, 0))) / grey(Scanner())
    assert level[[0, -1]] == pytest.approx(1)
    assert level.mean(axis=1).argmax() == pytest.approx(25, abs=1)


@pytest.mark.parametrize("brightness", [0.1, 0.3])
def test_the_gain_gives_the_first_frame_its_brightness(brightness):
    scanner = Scanner(brightness=brightness)
    for echo in (ECHO, ECHO * np.float32(0.01)):
        gain_db = scanner.choose_gain(scanner.receive(echo), 5.0)
        assert grey(scanner, echo, gain_db).mean() == pytest.approx(brightness, abs=0.01)


def test_scanners_vary_between_patients_and_their_compensation_between_clips():
    def sample(index, number):
        return sample_scanner(make_patient(index), "A", seed=0, number=number, scanners="varied")

    first, again, other = sample(0, 0), sample(0, 1), sample(1, 0)
    assert first == sample(0, 0)
    assert first.dynamic_range_db == again.dynamic_range_db != other.dynamic_range_db
    assert first.tgc_db != again.tgc_db


def test_the_same_scanner_has_the_gain_of_the_patient():
    scanner = sample_scanner(make_patient(), "A", seed=0, number=0, scanners="same")
    assert scanner == Scanner()
    assert scanner.choose_gain(scanner.receive(ECHO), 5.0) == 5.0
