"""One learning problem per file; a checkpoint names one of these and nothing else."""

from lus_ray.tasks.binary_segmentation import BinarySegmentation
from lus_ray.tasks.biomarker_classifiers import BiomarkerClassifiers
from lus_ray.tasks.clip_classification import Biomarkers, ClipLabel
from lus_ray.tasks.ensemble import Ensemble
from lus_ray.tasks.frame_diagnosis import FrameDiagnosis
from lus_ray.tasks.frame_score import FrameScore
from lus_ray.tasks.grey_patches import GreyPatches
from lus_ray.tasks.intensity_features import IntensityFeatures
from lus_ray.tasks.matched_segmentation import MatchedSegmentation
from lus_ray.tasks.merged_classes import MergedClasses
from lus_ray.tasks.segmentation import Segmentation
from lus_ray.tasks.sifa import Sifa
from lus_ray.tasks.sklearn_expert import Expert
from lus_ray.tasks.translated_segmentation import TranslatedSegmentation
from lus_ray.tasks.video_score import VideoScore

__all__ = [
    "BinarySegmentation", "BiomarkerClassifiers", "Biomarkers", "ClipLabel", "Ensemble", "Expert",
    "FrameDiagnosis", "FrameScore", "GreyPatches", "IntensityFeatures", "MatchedSegmentation",
    "MergedClasses", "Segmentation", "Sifa", "TranslatedSegmentation", "VideoScore",
]  # fmt: skip
