"""The scanner of a phantom patient: how echoes become grey, which differs from machine to machine.

Arrays are D depth samples by B beams. Where every machine showed the same echo in the same grey,
the brightness of an image alone would tell how sick the lung is.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float32
from scipy.ndimage import gaussian_filter

from lus_ray.data.phantom.patient import Domain, Patient, seeded_rng
from lus_ray.data.phantom.transducer import SOFTNESS, Samples

Scanners = Literal["varied", "same"]

DYNAMIC_RANGE_DB = 72.0

GREY_EXPONENT = 1.65
"""Bends the grey scale so that the dark end fades instead of ending, as in handheld scanners."""

USUAL_BRIGHTNESS, BRIGHTNESS_PER_DB = 0.2, 0.0167
"""Mean grey (0-1) that an operator chooses for a patient with the usual gain, and per dB of it."""

TGC_KNOTS = 5
"""Sliders of the time-gain compensation, from the skin to the deepest sample."""


@dataclass(frozen=True)
class Scanner:
    """Grey scale and speckle of one machine.

    `dynamic_range_db` below saturation is shown as grey 1-0; `grey_exponent` bends that scale.
    `grain`, `steady` and `softness` change those of the speckle; `smoothing`: deviation of the
    image filter in samples; `tgc_db`: the gain at each knot. With `brightness` the gain is that at
    which the first frame has this mean grey (0-1); without, it is that of the patient.
    """

    dynamic_range_db: float = DYNAMIC_RANGE_DB
    grey_exponent: float = GREY_EXPONENT
    grain: float = 1.0
    steady: float = 0.0
    softness: float = SOFTNESS
    smoothing: float = 0.0
    tgc_db: tuple[float, ...] = (0.0,) * TGC_KNOTS
    brightness: float | None = None

    def receive(self, echo: Samples) -> Samples:
        """Filtered echoes with time-gain compensation, as the logarithm (base 10) of amplitudes."""
        level = np.log10(np.maximum(echo, np.float32(1e-6)))
        if self.smoothing:
            level = gaussian_filter(level, self.smoothing, truncate=2.5)
        if any(self.tgc_db):
            knots = np.linspace(0, len(level) - 1, TGC_KNOTS)
            curve = np.interp(np.arange(len(level)), knots, self.tgc_db) / 20
            level = level + curve.astype(np.float32)[:, None]
        return level

    def compress(self, received: Samples, gain_db: float) -> Float32[np.ndarray, "D B"]:
        """Grey 0-1 of every sample."""
        level = received * np.float32(20 / self.dynamic_range_db)
        level += np.float32(1 + gain_db / self.dynamic_range_db)
        return np.clip(level, 0, 1) ** np.float32(self.grey_exponent)

    def choose_gain(self, received: Samples, usual_db: float) -> float:
        """The gain in dB for a clip whose first frame was received like this."""
        if self.brightness is None:
            return usual_db
        low, high = -40.0, 60.0
        while high - low > 0.1:
            middle = (low + high) / 2
            is_dark = self.compress(received, middle).mean() < self.brightness
            low, high = (middle, high) if is_dark else (low, middle)
        return low


def sample_scanner(
    patient: Patient, domain: Domain, *, seed: int, number: int, scanners: Scanners
) -> Scanner:
    """The scanner of a patient, with the time-gain compensation that clip `number` was made with.

    "same" is one machine with fixed settings for all; "varied" draws one for each patient. Its
    brightness follows the gain of the patient, so that a confounder planted there stays visible.
    """
    if scanners == "same":
        return Scanner()
    own = seeded_rng(seed, domain, 5, patient.index)
    of_clip = seeded_rng(seed, domain, 6, patient.index, number)
    tgc_db = own.uniform(-14, 14, TGC_KNOTS) + of_clip.uniform(-17, 17, TGC_KNOTS)
    return Scanner(
        dynamic_range_db=DYNAMIC_RANGE_DB + own.uniform(-20, 20),
        grey_exponent=GREY_EXPONENT * float(np.exp(own.uniform(-0.4, 0.4))),
        grain=float(np.exp(own.uniform(-0.5, 0.5))),
        steady=own.uniform(-0.2, 0.2),
        softness=SOFTNESS * float(np.exp(own.uniform(-0.7, 0.7))),
        smoothing=own.uniform(0, 0.7),
        tgc_db=tuple(tgc_db.tolist()),
        brightness=USUAL_BRIGHTNESS + BRIGHTNESS_PER_DB * patient.gain_db,
    )
