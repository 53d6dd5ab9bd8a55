"""Networks, one per file. A checkpoint names its network by this list.

Letters in all modules: B clips, N images, T frames, C channels, H rows, W columns, h and w those
of smaller maps, D features (`net.num_features`), K outputs.
Networks of clips: `net(frames)` gives logits (B, K) of grey frames (B, T, H, W) in [0, 1];
`net.features(frames)` the vector (B, D) before the last layer; `net.head(features)` the logits of
that vector. Networks of single frames have the same methods for images (N, 3, H, W). Aggregators
(`aggregator.py`) take the probabilities of every frame of a clip. Segmenters (`segmenter.py`) give
a logit for each class and pixel; `encoder.load_encoder` puts ImageNet weights into their
`net.encoder`. The generators and discriminators of SIFA (`patch_gan.py`) are not listed.
Why plain torch: no network of MONAI 1.6 computes the same, and importing it costs each process
2.6 s of CPU and 220 MB; tests compare ours with its losses and metrics.
"""

from lus_ray.nets.cnn import FrameCNN
from lus_ray.nets.crops import RandomCrops
from lus_ray.nets.deeplab import DeepLabV3Plus, ReleasedDeepLab
from lus_ray.nets.i3d import I3D
from lus_ray.nets.marker_unet import MarkerUNet
from lus_ray.nets.pairwise_uninorm import PairwiseUninorm
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
    "PairwiseUninorm",
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
