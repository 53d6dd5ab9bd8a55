"""One learning problem per file; a checkpoint names one of these and nothing else."""

from lus_ray.tasks.collapsed import Collapsed
from lus_ray.tasks.diagnosis import FrameDiagnosis
from lus_ray.tasks.ensemble import Ensemble
from lus_ray.tasks.expert import Expert
from lus_ray.tasks.frame_score import FrameScore
from lus_ray.tasks.intensity import Intensity
from lus_ray.tasks.matched import Matched
from lus_ray.tasks.network import Biomarkers, ClipLabel
from lus_ray.tasks.outline import Outline
from lus_ray.tasks.segmentation import Segmentation
from lus_ray.tasks.sifa import Sifa
from lus_ray.tasks.translated import Translated
from lus_ray.tasks.video_score import VideoScore

__all__ = [
    "Biomarkers",
    "ClipLabel",
    "Collapsed",
    "Ensemble",
    "Expert",
    "FrameDiagnosis",
    "FrameScore",
    "Intensity",
    "Matched",
    "Outline",
    "Segmentation",
    "Sifa",
    "Translated",
    "VideoScore",
]
