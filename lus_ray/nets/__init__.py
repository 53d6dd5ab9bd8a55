"""Networks, one per file. A checkpoint names its network by this list and nothing else.

Those of clips share one contract: `net(frames)` gives logits (B, K) of grey frames (B, T, H, W)
in [0, 1]; `net.features(frames)` the vector (B, `net.num_features`) before the last layer;
`net.head(features)` the logits of that vector. Those of single frames, and a ResNet, have the
same for images (N, 3, H, W). Aggregators take the probabilities of every frame of a clip; their
contract is `lus_ray.nets.aggregator`. Segmenters give a logit for each class and pixel; theirs is
`lus_ray.nets.segmenter`, and those with a `net.encoder` take weights of ImageNet through
`lus_ray.nets.encoder.load_encoder`. The generators and discriminators of SIFA belong to its task
and are not listed: `lus_ray.nets.patch_gan`.
Why plain torch: no network of MONAI 1.6 computes the same, and importing it costs each process
2.6 s of CPU and 220 MB; tests compare ours with its losses and metrics.
"""

from lus_ray.nets.cnn import FrameCNN
from lus_ray.nets.crops import RandomCrops
from lus_ray.nets.deeplab import DeepLabV3Plus, ReleasedDeepLab
from lus_ray.nets.i3d import I3D
from lus_ray.nets.marker_unet import MarkerUNet
from lus_ray.nets.pooling import ArgmaxMean, AttentionPool, MaxArgmax, MeanLogit
from lus_ray.nets.position_prior import PositionPrior
from lus_ray.nets.resnet import resnet18, resnet50
from lus_ray.nets.reverse_transfer import ReverseTransfer
from lus_ray.nets.sifa import SifaSegmenter
from lus_ray.nets.stn import STN, RegSTN
from lus_ray.nets.tsm import TSM
from lus_ray.nets.unet import UNet
from lus_ray.nets.unetpp import ReleasedUNetPlusPlus, UNetPlusPlus
from lus_ray.nets.uninorm import Uninorm

__all__ = [
    "I3D",
    "STN",
    "TSM",
    "ArgmaxMean",
    "AttentionPool",
    "DeepLabV3Plus",
    "FrameCNN",
    "MarkerUNet",
    "MaxArgmax",
    "MeanLogit",
    "PositionPrior",
    "RandomCrops",
    "RegSTN",
    "ReleasedDeepLab",
    "ReleasedUNetPlusPlus",
    "ReverseTransfer",
    "SifaSegmenter",
    "UNet",
    "UNetPlusPlus",
    "Uninorm",
    "resnet18",
    "resnet50",
]
