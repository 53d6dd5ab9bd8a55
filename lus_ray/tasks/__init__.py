"""One learning problem per file; a checkpoint names one of these and nothing else."""

from lus_ray.tasks.expert import Expert
from lus_ray.tasks.frame_score import FrameScore
from lus_ray.tasks.intensity import Intensity
from lus_ray.tasks.network import Biomarkers, ClipLabel
from lus_ray.tasks.video_score import VideoScore

__all__ = ["Biomarkers", "ClipLabel", "Expert", "FrameScore", "Intensity", "VideoScore"]
