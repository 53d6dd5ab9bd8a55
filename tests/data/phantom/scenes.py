"""A healthy phantom lung, and one chest before one probe, for tests to change."""

from dataclasses import replace

import numpy as np

from lus_ray.data.phantom.anatomy import Appearance, Scene, SceneState
from lus_ray.data.phantom.findings import BLine, LungFindings
from lus_ray.data.phantom.patient import Patient, sample_patient
from lus_ray.data.phantom.transducer import make_linear_probe

NONE = {"white": 0.0, "effusion_mm": 0.0, "a_level": 0, "num_a_lines": 0, "sub_pleural": False}
NONE |= dict.fromkeys(("b_lines", "indents", "breaks", "consolidations"), ())
HEALTHY = LungFindings(a_width_mm=12, thickness_mm=0.7, **NONE)
B_LINE = BLine(x_mm=3, width_mm=2, strength=1, reach=1)
ONE_LINE = replace(HEALTHY, b_lines=(B_LINE,))


def make_patient(
    index: int = 0, seed: int = 0, domain: str = "A", confounder: str | None = None
) -> Patient:
    return sample_patient(
        seed=seed, domain=domain, index=index, difficulty=0.5, probe=None, confounder=confounder
    )


PATIENT = replace(make_patient(), probe="linear", fat_mm=5, pleura_mm=12, height_mm=48)


def make_state(contrast: float = 1.0, breath: float = 0.0, seed: int = 0) -> SceneState:
    probe = make_linear_probe(160, height_mm=PATIENT.height_mm, aperture_mm=48)
    appearance = Appearance(contrast=contrast, haze=1.0, streaks=0.1)
    scene = Scene(PATIENT, probe, appearance, np.random.default_rng(seed))
    return scene.at_breath(breath, glide_mm=2)
