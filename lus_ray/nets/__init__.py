"""Networks, one per file. A checkpoint names its network by this list and nothing else.

Those of clips share one contract: `net(frames)` gives logits (B, K) of grey frames (B, T, H, W)
in [0, 1]; `net.features(frames)` the vector (B, `net.num_features`) before the last layer;
`net.head(features)` the logits of that vector. A ResNet has the same for images (N, 3, H, W).
"""

from lus_ray.nets.i3d import I3D
from lus_ray.nets.resnet import resnet18, resnet50
from lus_ray.nets.tsm import TSM

__all__ = ["I3D", "TSM", "resnet18", "resnet50"]
