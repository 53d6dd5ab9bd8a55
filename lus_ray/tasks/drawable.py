"""Tasks whose example images a cell draws; apart, as drawing imports matplotlib."""

from lus_ray.tasks.clip_classification import ClipNetwork
from lus_ray.tasks.frame_diagnosis import FrameDiagnosis
from lus_ray.tasks.frame_score import FrameScore
from lus_ray.tasks.segmentation import Segmentation

Drawable = FrameScore | FrameDiagnosis | Segmentation | ClipNetwork
